# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml
from mmengine.config import Config
from mmengine.utils import get_installed_path

STUDY_KEYS = {"arms", "seeds", "options", "metric", "tests"}
ARM_KEYS = {"config", "options", "seeds"}
#: The parts of a config that a further test builds anew.
TEST_PARTS = {"test_dataloader", "test_evaluator"}


@dataclass(frozen=True)
class Arm:
    """One of the compared configs.

    Args:
        name: Name in the report and of its folder.
        config: Path of the config, or ``package::path``, such as ``mmpose::body_2d_keypoint/...``.
        options: What differs from it, as in MMPose's ``--cfg-options``: dotted key to value.
        seeds: The seeds with which it is trained.
    """

    name: str
    config: str
    options: dict = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Study:
    """Arms that are compared with the first of them.

    Args:
        arms: The arms, the baseline first.
        metric: Name of the test metric, as MMPose's evaluator reports it.
        tests: Further tests of every trained arm: name to the options of ``test_dataloader`` and
            ``test_evaluator`` that are set for it.
    """

    arms: tuple[Arm, ...]
    metric: str
    tests: dict[str, dict] = field(default_factory=dict)


def read_study(path: str | Path) -> Study:
    """Read a study from a YAML file.

    ``arms`` maps names to ``config`` and, if need be, ``options`` and ``seeds``; the study's own
    ``options`` and ``seeds`` hold for all arms, and an arm's come on top. ``metric`` names the
    metric that is compared, by default that of :func:`best_metric`; ``tests`` maps names of further
    tests to the options that each sets.

    Raises:
        ValueError: If a key is unknown, an arm has no config, there is no arm, or a further test
            sets what tests do not build anew.
    """
    given = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    _check_keys(f"{path}", given, STUDY_KEYS)
    arms = []
    for name, arm in (given.get("arms") or {}).items():
        _check_keys(f"arm {name} in {path}", arm, ARM_KEYS)
        if "config" not in arm:
            raise ValueError(f"arm {name} in {path} has no config: add `config: path/to/config.py`")
        options = {**(given.get("options") or {}), **(arm.get("options") or {})}
        seeds = tuple(arm.get("seeds") or given.get("seeds") or (0,))
        arms.append(Arm(str(name), arm["config"], options, seeds))
    if not arms:
        raise ValueError(f"{path} has no arms: add `arms:` with one config or more")
    tests = given.get("tests") or {}
    for name, options in tests.items():
        if vain := {key for key in options if key.partition(".")[0] not in TEST_PARTS}:
            raise ValueError(
                f"test {name} in {path} sets {sorted(vain)}, which would change nothing: a further "
                f"test sets options of {sorted(TEST_PARTS)}; for others add an arm"
            )
    return Study(tuple(arms), given.get("metric") or best_metric(arms[0].config), tests)


def read_config(config: str) -> Config:
    """Read a config by its path, or ``package::path`` for one that comes with a package."""
    package, _, path = config.rpartition("::")
    if package:
        config = str(Path(get_installed_path(package), ".mim", "configs", path))
    return Config.fromfile(config)


def best_metric(config: str) -> str:
    """Return the metric by which a config keeps its best checkpoint (``save_best``).

    Raises:
        ValueError: If it names none, or not one.
    """
    hooks = read_config(config).get("default_hooks") or {}
    metric = (hooks.get("checkpoint") or {}).get("save_best")
    if not isinstance(metric, str) or metric == "auto":
        raise ValueError(
            f"{config} names no single metric to keep the best checkpoint by (save_best is "
            f"{metric!r}): name the one to compare with --metric, or as `metric:` in a study"
        )
    return metric


def _check_keys(where: str, given, known: set[str]) -> None:
    if not isinstance(given, dict) or not set(given) <= known:
        got = sorted(given) if isinstance(given, dict) else type(given).__name__
        raise ValueError(f"{where}: expected a mapping with keys out of {sorted(known)}, got {got}")
