# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from tqdm import tqdm

from sgpose.analysis.comparison.records import versions
from sgpose.engine import AtomicBackend

from . import sections
from .sections import Settings
from .timing import Case, alternate, summarise

#: The sections by name, in the order in which they run.
SECTIONS = {
    section.__name__: section
    for section in (
        sections.encode,
        sections.step,
        sections.memory,
        sections.forward,
        sections.compiled,
        sections.persons,
        sections.openvino,
        sections.runtime,
        sections.growth,
        sections.ranks,
    )
}
PACKAGES = (
    "sgpose",
    "torch",
    "mmpose",
    "mmengine",
    "mmcv",
    "numpy",
    "opencv-python",
    "onnxruntime",
    "rtmlib",
)


def run_sections(path: Path, settings: Settings, names: Sequence[str] = tuple(SECTIONS)) -> dict:
    """Measure sections, and keep each case in a file as soon as it is measured.

    Cases that the file holds are not measured again.

    Args:
        path: JSON file of the run; it may exist.
        settings: What all sections share.
        names: Names out of ``SECTIONS``.

    Returns:
        The content of the file: ``machine`` and ``cases``, each with its quartiles (see
        :func:`summarise`) and the load of the machine when it was measured.
    """
    content = json.loads(path.read_text()) if path.exists() else dict(machine={}, cases=[])
    known = {(case["section"], case["name"]) for case in content["cases"]}
    content["machine"] = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(settings, folder=Path(folder))
        cases = [case for name in names for case in SECTIONS[name](settings)]
        progress = tqdm([case for case in cases if (case.section, case.name) not in known])
        for case in progress:
            progress.set_description(f"{case.section}: {case.name}")
            content["cases"].append(measure(case, settings))
            content["cases"].sort(key=lambda c: list(SECTIONS).index(c["section"]))
            save(path, content)
    return content


def measure(case: Case, settings: Settings) -> dict:
    """Measure a case and return what is kept of it."""
    with case.prepare() as candidates:
        samples = alternate(candidates, case.rounds, case.calls, timed=case.unit == "ms")
    return dict(
        section=case.section,
        name=case.name,
        unit=case.unit,
        persons=case.persons,
        rounds=case.rounds,
        threads=settings.threads,
        cores=os.cpu_count(),
        loadavg=[round(x, 2) for x in os.getloadavg()],
        candidates=summarise(samples),
        **(dict(note=case.note) if case.note else {}),
    )


def save(path: Path, content: dict) -> None:
    """Write a JSON file so that it is complete or the old one."""
    AtomicBackend().put_text(json.dumps(content, indent=1) + "\n", path)


def describe_machine() -> dict[str, str]:
    """Describe processor, system and versions, without names or places."""
    return dict(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        processor=_processor(),
        cores=str(os.cpu_count()),
        capability=torch.backends.cpu.get_cpu_capability(),
        system=platform.system(),
        **versions(PACKAGES),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
