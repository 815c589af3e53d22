# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Tables and a plot of benchmark runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SIGN = {"<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b}
HEADINGS = {
    "encode": "Targets of one person",
    "step": "A training step",
    "memory": "Peak memory of a process that trains",
    "forward": "Forward passes, from crops to heatmaps",
    "compiled": "torch.compile",
    "persons": "From picture and boxes to keypoints",
    "openvino": "The same with OpenVINO",
    "runtime": "OnnxPose beside its bare graph and rtmlib, flip test off",
    "growth": "Growth with persons and keypoints",
    "ranks": "Processes",
}
IN_PERSONS = ("persons", "openvino")  # sections whose ratios are those of throughput
INTRODUCTION = """# Benchmark

Written by `make bench`; do not edit. The lines of one block are
measured in turns in one process, with random weights, each after a pause in which the threads of
the one before fall asleep. A value is the median; a ratio is the median over the rounds of the
value by that of the block's first line in the same round, with the quartiles in brackets where
there were three rounds or more. "Processor" is the same ratio of processor time, which other work
on the machine disturbs less. "Load" is the load average of one minute; the benchmark's own threads
bring it up to the number of cores. A star marks what was measured while it was more than half above
that: others ran, and such figures are spoilt, most of all where threads wait for each other. No
target counts as met by them, nor by fewer than five rounds.
"""


@dataclass(frozen=True)
class Target:
    """A bound that is aimed at.

    Args:
        section, case, candidate: What is bounded.
        sign: "<=" or ">=".
        bound: Of the ratio as the table shows it: of times or of memory, or of throughput.
        text: What it is, for readers.
    """

    section: str
    case: str
    candidate: str
    sign: str
    bound: float
    text: str


OURS = "SegmentationTarget: heatmaps and mask"
MIN_ROUNDS = 5
TARGETS = (
    *(
        Target(
            "runtime",
            f"{name}, 4 persons in 640x480",
            "OnnxPose",
            "<=",
            bound,
            f"time of OnnxPose by that of the bare graph, {name}, 4 persons",
        )
        for name, bound in (("W16 128x96", 1.15), ("W32 256x192", 1.05))
    ),
    Target("encode", "17 keypoints, 64x48", OURS, "<=", 0.4, "heatmaps and mask, COCO, 64x48"),
    Target("step", "W32 256x192, batch 4, 1 thread", "SG-HRNet", "<=", 1.03, "training step, W32"),
    *(
        Target(
            section,
            f"{name}, 4 persons a picture, flip test {flip}",
            candidate,
            ">=",
            bound,
            f"throughput of {candidate} relative to MMPoseInferencer, {name}, flip test {flip}",
        )
        for section, candidate in (("persons", "OnnxPose"), ("openvino", "OnnxPose, OpenVINO"))
        for name, bound in (("W16 128x96", 3.0), ("W32 256x192", 1.5))
        for flip in ("off", "on")
    ),
)


def write_report(folder: Path, runs: Sequence[dict]) -> Path:
    """Write ``README.md`` of one or more runs.

    Args:
        folder: Where to write.
        runs: What :func:`run_sections` returned.

    Returns:
        The file.

    Raises:
        ValueError: If there is no run.
    """
    if not runs:
        raise ValueError("there is no run to report: measure one first")
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "README.md"
    page.write_text(markdown(runs))
    return page


def markdown(runs: Sequence[dict]) -> str:
    """Return the report of runs as Markdown."""
    parts = [INTRODUCTION, "## Targets\n", *_targets(runs), "\n## Machine\n", *_machines(runs)]
    for section, heading in HEADINGS.items():
        names = list(dict.fromkeys(c["name"] for r in runs for c in _of(r, section)))
        if names:
            parts += [f"\n## {heading} (`--only {section}`)\n", *_table(runs, section, names)]
    return "\n".join(parts) + "\n"


def ratio(case: dict, candidate: str) -> list[float]:
    """Return the quartiles of a ratio as tables show it: of times, or of throughput."""
    quartiles = case["candidates"][candidate]["ratio"]
    return [1 / q for q in quartiles[::-1]] if case["section"] in IN_PERSONS else quartiles


def is_disturbed(case: dict) -> bool:
    """Whether more than the machine's cores can do was running when a case was measured."""
    return case["loadavg"][0] > case["cores"] + 0.5


def _counts(case: dict) -> bool:
    return case["rounds"] >= MIN_ROUNDS and not is_disturbed(case)


def _starred(case: dict | None, candidate: str) -> str:
    if case is None:
        return "-"
    return f"{ratio(case, candidate)[1]:.3g}" + "*" * is_disturbed(case)


def _of(run: dict, section: str) -> list[dict]:
    return [case for case in run["cases"] if case["section"] == section]


def _find(run: dict, section: str, name: str) -> dict | None:
    return next((case for case in _of(run, section) if case["name"] == name), None)


def _targets(runs: Sequence[dict]) -> list[str]:
    lines = ["| target | bound | " + _numbered("run", runs) + " | met |"]
    lines.append("|---|---|" + "---|" * len(runs) + "---|")
    for target in TARGETS:
        cases = [_find(run, target.section, target.case) for run in runs]
        found = [ratio(c, target.candidate)[1] for c in cases if c and _counts(c)]
        met = [SIGN[target.sign](value, target.bound) for value in found]
        verdict = f"{sum(met)} of {len(met)} runs" if met else "not measured well enough"
        cells = " | ".join(_starred(case, target.candidate) for case in cases)
        lines.append(f"| {target.text} | {target.sign} {target.bound:g} | {cells} | {verdict} |")
    return lines


def _machines(runs: Sequence[dict]) -> list[str]:
    keys = list(dict.fromkeys(key for run in runs for key in run["machine"]))
    lines = ["| | " + _numbered("run", runs) + " |", "|---|" + "---|" * len(runs)]
    return lines + [
        f"| {key} | " + " | ".join(run["machine"].get(key, "-") for run in runs) + " |"
        for key in keys
    ]


def _table(runs: Sequence[dict], section: str, names: Sequence[str]) -> list[str]:
    columns = ("value", "ratio", "processor")
    head = " | ".join(f"run {i + 1}: {column}" for i in range(len(runs)) for column in columns)
    ends = " | ".join(f"rounds, load {i + 1}" for i in range(len(runs)))
    lines = [f"| | {head} | {ends} |", "|---|" + "---|" * (len(columns) + 1) * len(runs)]
    for name in names:
        cases = [_find(run, section, name) for run in runs]
        some = next(case for case in cases if case)
        notes = "; ".join(dict.fromkeys(case["note"] for case in cases if case and "note" in case))
        title = f"**{name}**" + f" ({notes})" * bool(notes)
        lines.append(f"| {title} |" + " |" * (len(columns) + 1) * len(runs))
        for candidate in some["candidates"]:
            cells = [cell for case in cases for cell in _cells(case, candidate)]
            cells += [_circumstances(case) if case else "-" for case in cases]
            lines.append(f"| {candidate} | " + " | ".join(cells) + " |")
    return lines


def _cells(case: dict | None, candidate: str) -> list[str]:
    if case is None:
        return ["-"] * 3
    own = case["candidates"][candidate]
    low, middle, high = ratio(case, candidate)
    timed = case["unit"] == "ms"
    spread = timed and case["rounds"] >= 3
    processor = own["cpu_ratio"][1]
    processor = 1 / processor if case["section"] in IN_PERSONS else processor
    return [
        _value(case, own["value"][1]),
        f"{middle:.3g} ({low:.3g}, {high:.3g})" if spread else f"{middle:.3g}",
        f"{processor:.3g}" if timed else "-",
    ]


def _circumstances(case: dict) -> str:
    return f"{case['rounds']}, {case['loadavg'][0]:.1f}" + "*" * is_disturbed(case)


def _value(case: dict, value: float) -> str:
    text = f"{value:.3g} {case['unit']}" if value < 1000 else f"{value:.0f} {case['unit']}"
    if case["persons"]:
        text += f", {case['persons'] / value * 1e3:.3g} persons/s"
    return text


def _numbered(word: str, runs: Sequence[dict]) -> str:
    return " | ".join(f"{word} {i + 1}" for i in range(len(runs)))
