# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from .arms import Arm, Study
from .records import append_record, config_hash, read_records
from .run import RESULT, load_config

RECORDS = "runs.jsonl"
LOG = "console.log"
#: What the lines of MMEngine's log that show progress hold.
PROGRESS = " - INFO - Epoch("
TAIL_LINES = 15


class Run(NamedTuple):
    """One training and test that is to be done."""

    arm: Arm
    seed: int
    work_dir: Path

    def __str__(self) -> str:
        return f"{self.arm.name}, seed {self.seed}"


class RunFailed(RuntimeError):
    """A run ended without a result."""


def compare(
    study: Study,
    out: str | Path,
    work_dir: str | Path | None = None,
    jobs: int = 1,
    report: Callable[[str], None] = print,
) -> list[Run]:
    """Train and test every arm with every seed, unless a record says that it is done.

    Each run is a process of its own, whose output goes to ``console.log`` in its folder. The runs
    go seed by seed, so that what is done when they are cut off can be compared. A run that was cut
    off goes on from its last checkpoint.

    Args:
        study: The arms.
        out: Folder of ``runs.jsonl``, one record per finished run.
        work_dir: Folder of the checkpoints and logs. Defaults to ``out``.
        jobs: How many runs at a time, >= 1.
        report: Called with MMEngine's lines of progress and one line per finished or failed run.

    Returns:
        The runs that failed.

    Raises:
        ValueError: If ``jobs`` is not positive.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be a positive number of processes, got {jobs}")
    records = Path(out) / RECORDS
    todo = list(pending_runs(study, read_records(records), Path(work_dir or out)))
    report(f"{len(todo)} runs to do, {jobs} at a time")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    failed = []
    with ThreadPoolExecutor(jobs) as executor:
        futures = {executor.submit(_execute, run, study, threads, report): run for run in todo}
        try:
            for future in as_completed(futures):
                run = futures[future]
                try:
                    record = future.result()
                except RunFailed as error:
                    failed.append(run)
                    report(f"{run}: FAILED, {error}")
                    continue
                append_record(records, dict(arm=run.arm.name, **record))
                report(
                    f"{run}: {study.metric} {record['value']:.4f} after {record['seconds']:.0f} s"
                )
        except KeyboardInterrupt:  # the processes have got it too
            executor.shutdown(cancel_futures=True)
            raise
    return failed


def pending_runs(study: Study, records: list[dict], work_dir: Path) -> Iterator[Run]:
    """Yield the runs of which there is no record: every arm's first seed, then the second, ...

    What lacks the study's metric or one of its tests is tested again, not trained again.
    """
    done = records_of(study, records)
    for index in range(max(len(arm.seeds) for arm in study.arms)):
        for arm in study.arms:
            if index >= len(arm.seeds):
                continue
            seed = arm.seeds[index]
            record = done[arm.name].get(seed)
            if record is None or not all(has_test(record, study, test) for test in study.tests):
                name = re.sub(r"\W+", "-", arm.name)
                yield Run(arm, seed, work_dir / f"{name}-{arm_hash(arm)}" / f"seed_{seed}")


def records_of(study: Study, records: Sequence[dict]) -> dict[str, dict[int, dict]]:
    """Return the records of a study by arm and seed, the latest of each.

    A record belongs to an arm, whatever the arm's name was, if it is of the same config with the
    same options, one of the arm's seeds and the study's metric.
    """
    found: dict[str, dict[int, dict]] = {}
    for arm in study.arms:
        own = (arm_hash(arm), study.metric)
        by_seed = {r["seed"]: r for r in records if (r["config_hash"], r["metric"]) == own}
        found[arm.name] = {seed: by_seed[seed] for seed in sorted(arm.seeds) if seed in by_seed}
    return found


def has_test(record: dict, study: Study, test: str) -> bool:
    """Whether a record holds a further test of a study, with the same options."""
    return record["tests"].get(test) == study.tests[test]


def arm_hash(arm: Arm) -> str:
    """Return what stands for an arm's config and options in records and names of folders."""
    return config_hash(load_config(arm.config, arm.options).to_dict())


def _execute(run: Run, study: Study, threads: int, report: Callable[[str], None]) -> dict:
    """Do a run in a process of its own; return its record."""
    run.work_dir.mkdir(parents=True, exist_ok=True)
    job = dict(
        config=run.arm.config,
        options=run.arm.options,
        seed=run.seed,
        work_dir=str(run.work_dir),
        metric=study.metric,
        tests=study.tests,
    )
    job_file = run.work_dir / "job.json"
    job_file.write_text(json.dumps(job), encoding="utf-8")
    log = run.work_dir / LOG
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = subprocess.Popen(
        [sys.executable, "-m", "sgpose.analysis.comparison.run", str(job_file)],
        env={"OMP_NUM_THREADS": str(threads), **os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None  # it is a pipe
    with log.open("a", encoding="utf-8") as file:
        for line in process.stdout:
            file.write(line)
            tail.append(line)
            if PROGRESS in line:
                report(f"[{run}] {line.partition(PROGRESS)[2].rstrip()}")
    result = run.work_dir / RESULT
    if process.wait() != 0 or not result.exists():
        raise RunFailed(f"exit status {process.returncode}, log in {log}:\n{''.join(tail)}")
    return json.loads(result.read_text(encoding="utf-8"))
