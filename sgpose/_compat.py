# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Is there an MMPose beside sgpose that it can work with?

Versions are read from the metadata of installed packages before anything of OpenMMLab is imported,
so that a broken stack ends in one error that says how to mend it, not in a traceback from inside.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

# Name -> (first version that will do, first that will not). MMPose 1.2 is the first whose codecs
# say how their targets are packed (`field_mapping_table`).
REQUIRED = {"mmpose": ("1.2", "2"), "mmengine": ("0.7.1", "1"), "mmcv": ("2.0.0", "2.3")}
UNKNOWN = "of unknown version"

INSTALL_STACK = 'mim install "mmcv>=2.0.0,<2.2" "mmdet>=3.1,<3.4" "mmpose>=1.3,<2"'
REPLACE_MMCV = 'pip uninstall -y mmcv mmcv-lite mmcv-full && mim install "mmcv>=2.0.0,<2.2"'


def installed_versions() -> dict[str, str | None]:
    """Versions of the packages that matter, read without importing any of them.

    Returns:
        Name -> version; None if it is not installed, `UNKNOWN` if only its module can be found (a
        source tree on ``PYTHONPATH``).
    """
    found: dict[str, str | None] = {}
    for name in ("torch", "mmengine", "mmcv", "mmcv-lite", "mmcv-full", "mmdet", "mmpose"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
        if not found[name]:  # half of an installation may have metadata without a version
            found[name] = UNKNOWN if "-" not in name and find_spec(name) else None
    return found


def missing(installed: Mapping[str, str | None]) -> str | None:
    """What to tell a user who has no MMPose at all, whom the ONNX runtime alone may suit.

    Args:
        installed: As `installed_versions` returns it; a name left out is not installed.

    Returns:
        What is missing and how to install it, or None if there is an MMPose, sound or not.
    """
    if installed.get("mmpose"):
        return None
    return (
        "MMPose is not installed, for which sgpose is a plugin.\n"
        f"Install PyTorch, then: pip install -U openmim && {INSTALL_STACK}"
    )


def diagnose(installed: Mapping[str, str | None]) -> str | None:
    """The first reason, by versions alone, why sgpose cannot work with what is installed.

    Args:
        installed: As `installed_versions` returns it; a name left out is not installed.

    Returns:
        What is wrong and the command that mends it, or None if nothing is.
    """
    return (
        missing(installed)
        or _no_torch(installed)
        or _misfit("mmpose", installed)
        or _misfit("mmengine", installed)
        or _other_mmcv(installed)
        or _misfit("mmcv", installed)
        or _no_mmdet(installed)
    )


def missing_stack() -> str | None:
    """`missing` of what is installed here."""
    return missing(installed_versions())


@lru_cache(maxsize=1)
def check_stack() -> None:
    """Makes sure that MMPose can be imported with its compiled operators; once in a process.

    Raises:
        ImportError: With what is wrong with the installed packages and the command that mends it.
    """
    installed = installed_versions()
    if message := diagnose(installed):
        raise ImportError(message)
    try:
        importlib.import_module("torch")
    except Exception as error:  # also OSError, of a library that it does not find
        raise ImportError(
            f"PyTorch {installed['torch']} cannot be imported ({error}).\n"
            f"Install it anew, then mmcv's operators for it: {REPLACE_MMCV}"
        ) from error
    try:
        importlib.import_module("mmcv.ops")
    except Exception as error:
        raise ImportError(
            f"The compiled operators of mmcv {installed['mmcv']} are missing or were not compiled "
            f"for torch {installed['torch']}, which is installed ({error}).\n"
            f"Install them anew: {REPLACE_MMCV}"
        ) from error
    try:
        importlib.import_module("mmpose.models")
    except Exception as error:  # also assertions on neighbours' versions, NumPy's binary errors
        versions = ", ".join(f"{name} {found}" for name, found in installed.items() if found)
        raise ImportError(
            f"MMPose cannot be imported with {versions} ({error}).\n"
            f"Install versions that fit: {INSTALL_STACK}"
        ) from error


def _no_torch(installed: Mapping[str, str | None]) -> str | None:
    if installed.get("torch"):
        return None
    return (
        "MMPose is installed without PyTorch.\n"
        f"Install PyTorch, then mmcv's operators for it: {REPLACE_MMCV}"
    )


def _misfit(name: str, installed: Mapping[str, str | None]) -> str | None:
    found, (minimum, below) = installed.get(name), REQUIRED[name]
    if found is None:
        return f"MMPose is installed without {name}.\nInstall versions that fit: {INSTALL_STACK}"
    if found == UNKNOWN or _numbers(minimum) <= _numbers(found) < _numbers(below):
        return None
    return (
        f"{name} {found} is installed, sgpose needs {name}>={minimum},<{below}.\n"
        f"Install versions that fit: {INSTALL_STACK}"
    )


def _other_mmcv(installed: Mapping[str, str | None]) -> str | None:
    if installed.get("mmcv") not in (None, UNKNOWN):
        return None
    for name, why in (
        ("mmcv-lite", "lacks the compiled operators that MMPose imports"),
        ("mmcv-full", "belongs to MMPose 0.x"),
    ):
        if found := installed.get(name):
            return f"{name} {found} is installed, which {why}.\nReplace it: {REPLACE_MMCV}"
    return None


def _no_mmdet(installed: Mapping[str, str | None]) -> str | None:
    mmpose = str(installed["mmpose"])
    if installed.get("mmdet") or mmpose == UNKNOWN or _numbers(mmpose) < (1, 3):
        return None
    return (
        f"mmdet is not installed, which MMPose {mmpose} imports.\n"
        'Install it: mim install "mmdet>=3.1,<3.4"'
    )


def _numbers(release: str) -> tuple[int, ...]:
    """The first three numbers of a version: 1.3.2 of "1.3.2+cu121", 2.0.0 of "2.0.0rc4"."""
    return tuple(int(number) for number in re.findall(r"\d+", release)[:3])
