# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from .comparison.statistics import PairedDifference

#: Metrics of which less is better; of all others more is.
LOWER_IS_BETTER = ("loss", "nme", "epe", "mpjpe", "error")
FONT = 12


class Row(NamedTuple):
    """One line of a forest plot."""

    name: str
    seeds: Sequence[int]
    difference: PairedDifference


def better(metric: str) -> str:
    """Say which way a metric goes, for a title."""
    lower = any(word in metric.lower() for word in LOWER_IS_BETTER)
    return "lower is better" if lower else "higher is better"


def name_seeds(seeds: Sequence[int]) -> str:
    """Name seeds: "seeds 10-14, 30"."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(parts)}"


def forest_plot(groups: Mapping[str, Sequence[Row]], title: str, axis: str) -> Figure:
    """Draw differences with their intervals, a row each; hollow where there is a single seed.

    Args:
        groups: Heading to rows.
        title: Of the figure.
        axis: What the differences are in.
    """
    lines = sum(len(rows) + 1 for rows in groups.values())
    figure, axes = plt.subplots(figsize=(10, 0.34 * lines + 1.6), layout="constrained")
    place, ticks, labels = 0, [], []
    for heading, rows in groups.items():
        ticks.append(place)
        labels.append(heading)
        for name, seeds, found in rows:
            place += 1
            ticks.append(place)
            labels.append(f"{name} ({name_seeds(seeds)})")
            single = found.pairs == 1
            reach = None if single else [[found.mean - found.low], [found.high - found.mean]]
            axes.errorbar(
                found.mean, place, xerr=reach, fmt="o", color="C0", ms=7, capsize=4, lw=1.8,
                markerfacecolor="white" if single else "C0",
            )  # fmt: skip
        place += 1
    axes.axvline(0, color="black", lw=1)
    axes.set_ylim(place - 0.4, -0.7)
    axes.set_yticks(ticks, labels, fontsize=FONT)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in groups else "normal")
    axes.tick_params(axis="x", labelsize=FONT)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(axis, fontsize=FONT)
    figure.suptitle(title, fontsize=FONT + 1)
    return figure


def curves_plot(
    curves: Mapping[str, tuple[Sequence, Sequence[Sequence]]], title: str, metric: str
) -> Figure:
    """Draw learning curves, the legend beside them.

    Args:
        curves: Name to the mean curve and those of the single seeds, pairs of epoch and value.
        title: Of the figure.
        metric: Name of the values.
    """
    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    for index, (name, (mean, single)) in enumerate(curves.items()):
        colour, style = f"C{index % 10}", ("-", "--", ":")[index // 10 % 3]
        for curve in single if len(single) > 1 else ():
            axes.plot(*np.array(curve).T, color=colour, alpha=0.3, lw=1)
        if mean:
            name = textwrap.fill(f"{name} ({len(single)})", 34)
            axes.plot(*np.array(mean).T, color=colour, ls=style, lw=2.2, label=name)
    axes.set_title(title, fontsize=FONT + 1, loc="left")
    axes.set_xlabel("epoch", fontsize=FONT)
    axes.set_ylabel(metric, fontsize=FONT)
    axes.tick_params(labelsize=FONT)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=FONT, title="setting (seeds)")
    return figure
