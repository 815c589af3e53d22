# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

from ..curves import read_scalars

PACKAGES = ("sgpose", "mmpose", "mmengine", "mmcv", "mmdet", "torch", "numpy")
#: What says where and how a run is kept, not what is trained.
UNHASHED = ("work_dir", "resume", "launcher", "randomness", "filename")


def config_hash(cfg: dict) -> str:
    """Return ten hexadecimal digits that change with whatever in a config a training depends on.

    The seed and the place of the results are left out.
    """
    kept = {key: value for key, value in cfg.items() if key not in UNHASHED}
    if kept.get("load_from") is None:  # a config that names none is the same
        kept.pop("load_from", None)
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: str | Path) -> str | None:
    """Return the commit of a checkout, with ``-dirty`` where files differ; None outside of one."""

    def git(*args: str) -> str:
        command = ["git", "-C", str(folder), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def read_curve(work_dir: str | Path, metric: str) -> list[tuple[int, float]]:
    """Read the validation metric of each epoch from MMEngine's logs.

    Args:
        work_dir: Folder of a training, which may have been resumed.
        metric: Name of the metric.

    Returns:
        Pairs of epoch and metric in ascending order; of an epoch that was validated twice, the
        later value.
    """
    curve = {}
    for log in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        for scalars in read_scalars(log):
            if metric in scalars and "step" in scalars:
                curve[int(scalars["step"])] = float(scalars[metric])
    return sorted(curve.items())


def read_seconds(work_dir: str | Path) -> float:
    """Return how long MMEngine's runs in a folder took, those that were cut off included.

    A run lasts from the time in its folder's name to the last line of its log.
    """
    total = 0.0
    for log in Path(work_dir).glob("*/*.log"):
        start = datetime.strptime(log.parent.name, "%Y%m%d_%H%M%S").timestamp()
        total += max(0.0, log.stat().st_mtime - start)
    return round(total, 1)


def read_records(path: str | Path) -> list[dict]:
    """Read records from a file of JSON lines; none if there is no file.

    A last line that was cut off in writing is left out.
    """
    if not Path(path).exists():
        return []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(f"{path}: line {number} is no JSON") from None
    return records


def append_record(path: str | Path, record: dict) -> None:
    """Append one line to a file of JSON lines, on a line of its own also after one cut off."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_off = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size
    if cut_off:
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.rfind(b"\n") + 1])
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
