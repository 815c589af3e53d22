# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Train and test configs with several seeds and report how they differ from the first.

    compare.py A.py B.py --seeds 0 1 2 --out work_dirs/compare
    compare.py --study study.yml --out work_dirs/compare

What is done is kept in OUT/runs.jsonl and never trained again; what was cut off goes on from its
last checkpoint. The report is OUT/report.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from mmengine.config import DictAction

from sgpose.analysis.comparison import (
    Arm,
    Study,
    best_metric,
    compare,
    read_records,
    read_study,
    records_of,
    write_report,
)


def read_arguments(arguments: list[str]) -> tuple[Study, argparse.Namespace]:
    """Return the study that the command line describes, and its other arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", help="configs; the first is the baseline")
    parser.add_argument("--study", help="YAML file of arms, seeds and options")
    parser.add_argument("--out", default="work_dirs/compare", help="records and report")
    parser.add_argument("--work-dir", help="checkpoints and logs; OUT if not given")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--metric", help="test metric that is compared; by default the first config's save_best"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    parser.add_argument("--jobs", type=int, default=1, help="how many runs at a time")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    args = parser.parse_args(arguments)
    if bool(args.configs) == bool(args.study):
        parser.error("give either configs or --study")
    if args.study:
        return read_study(args.study), args
    names = [Path(config).stem for config in args.configs]
    if len(set(names)) != len(names):
        parser.error(f"the configs need different file names, which name the arms: got {names}")
    arms = [
        Arm(name, config, args.cfg_options, tuple(args.seeds))
        for name, config in zip(names, args.configs)
    ]
    return Study(tuple(arms), args.metric or best_metric(args.configs[0])), args


def main() -> None:
    study, args = read_arguments(sys.argv[1:])
    failed = []
    if not args.report_only:
        failed = compare(study, args.out, args.work_dir, args.jobs, report=_print)
    runs = records_of(study, read_records(Path(args.out) / "runs.jsonl"))
    given = [argument for argument in sys.argv[1:] if argument != "--report-only"]
    command = shlex.join(["python", "tools/compare.py", *given])
    _print(f"report: {write_report(study, runs, args.out, command)}")
    if failed:
        sys.exit(f"{len(failed)} runs failed; the others are in the report")


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
