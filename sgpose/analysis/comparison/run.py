# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Train and test one config with one seed: ``python -m sgpose.analysis.comparison.run JOB.json``.

The job says ``config``, ``options``, ``seed``, ``work_dir``, ``metric`` and ``tests``. A training
that was cut off goes on from its last checkpoint. The result is written to ``result.json`` in the
working folder when all is done.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner, find_latest_checkpoint

import sgpose

from ...engine.atomic_backend import AtomicBackend
from ..check_config import check_config
from ..data_sets import dataset_parts
from .arms import read_config
from .records import config_hash, git_state, read_curve, read_seconds, versions

RESULT = "result.json"


def load_config(config: str, options: dict) -> Config:
    """Read a config and set its options, dotted key to value, one after the other."""
    cfg = read_config(config)
    # MMEngine writes into what it is given, and parts of a YAML file can be one object: copied
    for key, value in json.loads(json.dumps(options)).items():
        cfg.merge_from_dict({key: value})
    return cfg


def run(job: dict) -> dict:
    """Train and test one config with one seed.

    Returns:
        The record: what was run, with which versions, and the metrics.

    Raises:
        KeyError: If the test reports no metric of the asked name.
        ValueError: Before anything is trained, if the config cannot be.
    """
    cfg = load_config(job["config"], job["options"])
    identity = config_hash(cfg.to_dict())
    cfg.work_dir = job["work_dir"]
    cfg.randomness = dict(cfg.get("randomness") or {}, seed=job["seed"])
    cfg.resume = find_latest_checkpoint(cfg.work_dir) is not None
    if cfg.resume:  # else MMEngine would resume what it is told to load
        cfg.load_from = None
    cfg.test_evaluator = _evaluators(cfg)
    if problems := check_config(cfg):
        raise ValueError("\n".join(problems))

    runner = Runner.from_cfg(cfg)
    runner.train()
    metrics = runner.test()
    for name, options in job["tests"].items():
        variant = load_config(job["config"], {**job["options"], **options})
        loop = dict(
            type="TestLoop",
            dataloader=variant.test_dataloader,
            evaluator=_evaluators(variant),
        )
        found = runner.build_test_loop(loop).run()
        metrics.update({f"{name}/{key}": value for key, value in found.items()})
    metrics = {name: float(value) for name, value in metrics.items()}
    if job["metric"] not in metrics:
        raise KeyError(
            f"the test reports no metric {job['metric']!r} but {sorted(metrics)}: name one of "
            "these with --metric"
        )
    return dict(
        config=job["config"],
        options=job["options"],
        config_hash=identity,
        seed=job["seed"],
        metric=job["metric"],
        tests=job["tests"],
        value=metrics[job["metric"]],
        metrics=metrics,
        curve=read_curve(cfg.work_dir, job["metric"]),
        epochs=runner.max_epochs,
        parameters=sum(p.numel() for p in runner.model.parameters()),
        seconds=read_seconds(cfg.work_dir),
        device=str(next(runner.model.parameters()).device),
        versions=versions(),
        git=git_state(Path(sgpose.__file__).parent),
    )


def _evaluators(cfg: Config) -> list:
    """Add the PCK of each keypoint to what a config's test evaluates.

    It needs annotated persons, which boxes of a detector are not.
    """
    given = cfg.test_evaluator
    evaluators = list(given) if isinstance(given, (list, tuple)) else [given]
    if any(part.get("bbox_file") for part in dataset_parts(cfg.test_dataloader.dataset)):
        return evaluators
    return [*evaluators, dict(type="PerKeypointPCK")]


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    AtomicBackend().put_text(json.dumps(run(job)), Path(job["work_dir"]) / RESULT)


if __name__ == "__main__":
    main()
