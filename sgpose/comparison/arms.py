# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

STUDY_KEYS = {"arms", "seeds", "options", "metric", "tests"}
ARM_KEYS = {"config", "options", "seeds"}


@dataclass(frozen=True)
class Arm:
    """One of the compared configs.

    Args:
        name: Name in the report and of its folder.
        config: Path of the config.
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
        tests: Further tests of every trained arm: name to the options that are set for it.
    """

    arms: tuple[Arm, ...]
    metric: str = "PCK"
    tests: dict[str, dict] = field(default_factory=dict)


def read_study(path: str | Path) -> Study:
    """Read a study from a YAML file.

    ``arms`` maps names to ``config`` and, if need be, ``options`` and ``seeds``; the study's own
    ``options`` and ``seeds`` hold for all arms, and an arm's come on top. ``metric`` names the
    metric that is compared, ``tests`` maps names of further tests to the options that each sets.

    Raises:
        ValueError: If a key is unknown, an arm has no config, or there is no arm.
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
    return Study(tuple(arms), given.get("metric", "PCK"), given.get("tests") or {})


def _check_keys(where: str, given, known: set[str]) -> None:
    if not isinstance(given, dict) or not set(given) <= known:
        got = sorted(given) if isinstance(given, dict) else type(given).__name__
        raise ValueError(f"{where}: expected a mapping with keys out of {sorted(known)}, got {got}")
