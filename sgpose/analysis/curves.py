# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Curves of training runs, from what MMEngine's LocalVisBackend writes (vis_data/scalars.json)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .plots import better

#: Panel -> names of its curves among the training scalars; a name that ends in * is a prefix.
TRAINING_PANELS = {
    "loss, as minimised": ("loss*",),
    "loss before weighting": ("raw_*",),
    "weight (DWA)": ("weight_*",),
    "accuracy on the batch": ("acc*",),
    "learning rate": ("lr",),
}
NOT_METRICS = ("time", "data_time", "memory", "step", "epoch", "iter")


@dataclass(frozen=True)
class Run:
    """The scalars of one run.

    Attributes:
        unit: Of the x values, "epoch" or "iteration".
        training: Name -> x values and values, as logged in training.
        validation: Likewise, as logged in validation.
    """

    unit: str
    training: dict[str, tuple[list[float], list[float]]]
    validation: dict[str, tuple[list[float], list[float]]]


def read_scalars(path: Path) -> list[dict]:
    """Read the records of one ``scalars.json``, without a line that a killed process cut off.

    Raises:
        ValueError: If a line is none of MMEngine's.
    """
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        counted = isinstance(record, dict) and isinstance(record.get("step"), int)
        if not counted or record.get("epoch", 1) == 0:  # MMEngine's epochs start at 1
            raise ValueError(
                f"{path}, line {number}: no record with a `step`, as MMEngine's LocalVisBackend "
                "writes them to vis_data/scalars.json; logs of MMPose 0.x and of other programs "
                "are not read"
            )
        records.append(record)
    return records


def read_run(path: Path) -> Run:
    """Read a run; what a resumed run wrote anew takes the place of what it wrote before.

    Args:
        path: A work dir, whose ``*/vis_data/scalars.json`` are all read in the order of their
            names, or one such file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file holds no scalars, or lines of another kind.
    """
    files = [path] if path.is_file() else sorted(path.glob("**/vis_data/scalars.json"))
    if not files:
        raise FileNotFoundError(
            f"{path} holds no vis_data/scalars.json: give a work dir of training, or the file; "
            "LocalVisBackend, which writes it, must be among the config's vis_backends"
        )
    training: dict[int, dict] = {}
    validation: dict[int, dict] = {}
    for file in files:
        records = read_scalars(file)
        train = [r for r in records if "lr" in r]
        if train and len(files) > 1:
            resumed = min(r["step"] for r in train)
            epoch = min(r.get("epoch", resumed) for r in train)
            training = {k: v for k, v in training.items() if k < resumed}
            validation = {k: v for k, v in validation.items() if k < epoch}
        for record in records:
            (training if "lr" in record else validation)[record["step"]] = record
    if not training and not validation:
        raise ValueError(f"{path} holds no scalars")
    by_epoch = any("epoch" in r for r in training.values())
    # the last step of an epoch is logged if the logger's interval divides its length
    length = max((r["step"] / r["epoch"] for r in training.values()), default=1) if by_epoch else 1
    return Run(
        "epoch" if by_epoch or not training else "iteration",
        _curves(training, length),
        _curves(validation, 1),
    )


def plot_runs(
    runs: dict[str, Run], metrics: Sequence[str] | None = None, training: bool = True
) -> Figure:
    """Plot runs over each other, a panel for each kind of scalar that any of them has.

    Args:
        runs: Name -> run.
        metrics: Names of the validation metrics to plot. Defaults to the first that is logged.
        training: Whether to plot the training scalars.

    Raises:
        ValueError: If a metric is logged by none of the runs, or units differ.
    """
    units = {run.unit for run in runs.values()}
    if len(units) > 1:
        raise ValueError("runs by epoch and runs by iteration do not share an axis")
    logged = [k for run in runs.values() for k in run.validation if k not in NOT_METRICS]
    metrics = list(dict.fromkeys(logged))[:1] if metrics is None else list(metrics)
    if absent := [m for m in metrics if m not in logged]:
        raise ValueError(f"no run logs {absent}, they log {sorted(set(logged))}")
    panels = []
    if training:
        for title, patterns in TRAINING_PANELS.items():
            keys = [k for r in runs.values() for k in r.training if _matches(k, patterns)]
            if keys:
                panels.append((title, sorted(set(keys)), "training"))
    panels += [(f"{metric} (validation)", [metric], "validation") for metric in metrics]
    if not panels:
        raise ValueError("there is nothing to plot: no run logs a loss or a validation metric")

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.6 * columns, 3.3 * rows), squeeze=False, layout="constrained"
    )
    styles = ["-", "--", ":", "-."]
    for axis, (title, keys, kind) in zip(axes.flat, panels):
        for i, (name, run) in enumerate(runs.items()):
            for j, key in enumerate(keys):
                x, y = getattr(run, kind).get(key, ([], []))
                if not x:
                    continue
                # colour: the curve where there is one run, the run where there are several
                colour, style = (f"C{j}", "-") if len(runs) == 1 else (f"C{i}", styles[j % 4])
                label = key if len(runs) == 1 else name if len(keys) == 1 else f"{name} {key}"
                marker = "o" if kind == "validation" else None
                axis.plot(x, y, style, color=colour, label=label, marker=marker, ms=4, lw=1.5)
        axis.set_title(f"{title}{_better(title)}", fontsize=11)
        axis.set_xlabel(units.copy().pop())
        axis.grid(alpha=0.3)
        # below the curves, never over them
        axis.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        if kind == "training" and "loss" in title:
            axis.set_yscale("log")
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    return figure


def _better(title: str) -> str:
    """Say which way a panel's values go, where they go one way."""
    if "loss" in title or "(validation)" in title or "accuracy" in title:
        return f", {better(title)}"
    return ""


def _curves(records: dict[int, dict], length: float) -> dict[str, tuple[list, list]]:
    curves: dict[str, tuple[list, list]] = {}
    for step in sorted(records):
        for key, value in records[step].items():
            if isinstance(value, (int, float)):
                x, y = curves.setdefault(key, ([], []))
                x.append(step / length)
                y.append(value)
    return curves


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(key == p or (p.endswith("*") and key.startswith(p[:-1])) for p in patterns)
