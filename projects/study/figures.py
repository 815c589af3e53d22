# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Draw forest.png and curves.png of the study and print its main tables, all from the records.

python -m projects.study.figures
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sgpose.analysis.comparison import paired_difference, read_records, read_study, records_of
from sgpose.analysis.comparison.report import mean_curve, scale
from sgpose.analysis.plots import Row, curves_plot, forest_plot, name_seeds

HERE = Path(__file__).parent
#: Heading -> the studies whose seeds are pooled, and the metric. Settings of one name are one row.
GROUPS = {
    "LSP-extended val, 12 epochs, PCK@0.2": (("confirmation", "independent"), "PCK"),
    "1,431 unseen persons, 12 epochs, PCK@0.2": (("independent",), "heldout/PCK"),
    "LSP-extended val, 40 epochs, PCK@0.2": (("convergence",), "PCK"),
    "LSP-extended val, 256x192, 12 epochs, PCK@0.2": (("paper_setting",), "PCK"),
    "LSP-extended val, residual, 12 epochs, PCK@0.2": (("residual",), "PCK"),
    "LSP-extended, 600 training persons held back, PCK@0.2": (("screening", "paper_form"), "PCK"),
    "The same, two persons pasted into every crop": (("crowd",), "PCK"),
    "Toy people, strong clutter, AP": (("clutter",), "coco/AP"),
}


def runs_of(name: str) -> dict[str, dict[int, dict]]:
    """Return a study's records by setting and seed; the baseline is the first setting."""
    study = read_study(HERE / f"{name}.yml")
    return records_of(study, read_records(HERE / name / "runs.jsonl"))


def pooled(names: tuple[str, ...], metric: str) -> dict[str, list[tuple[int, float, float]]]:
    """Pair each run with the baseline's of its own study and seed, and pool the pairs.

    Returns:
        Setting -> (seed, value, baseline's value) in points; a run in two studies counts once.
    """
    pairs: dict[str, dict] = {}
    for name in names:
        runs = {setting: seeds for setting, seeds in runs_of(name).items() if seeds}
        baseline, *others = runs or [None]
        for setting in others:
            for seed in sorted(set(runs[setting]) & set(runs[baseline])):
                both = [runs[s][seed]["metrics"].get(metric) for s in (setting, baseline)]
                if None not in both:
                    ours, theirs = (scale(runs) * value for value in both)
                    pairs.setdefault(setting, {})[seed, ours] = (seed, ours, theirs)
    return {setting: list(found.values()) for setting, found in pairs.items()}


def main() -> None:
    groups = {}
    for heading, (names, metric) in GROUPS.items():
        pairs = pooled(names, metric)
        if not pairs:
            continue
        groups[heading] = []
        print(f"\n## {heading}\n\n| setting | seeds | HRNet | | difference |\n" + "|---" * 5 + "|")
        for name, found in pairs.items():
            seeds, ours, theirs = zip(*found)
            gain = paired_difference(ours, theirs)
            groups[heading].append(Row(name, seeds, gain))
            interval = "" if gain.pairs == 1 else f" [{gain.low:+.2f}, {gain.high:+.2f}]"
            print(
                f"| {name} | {name_seeds(seeds)} | {np.mean(theirs):.2f} | {np.mean(ours):.2f} | "
                f"{gain.mean:+.2f}{interval} |"
            )
    figure = forest_plot(
        groups,
        "Differences to HRNet, W16, by setting (higher is better)",
        "points, paired by seed, with 95 % intervals; hollow: one seed",
    )
    figure.savefig(HERE / "forest.png", dpi=100)

    curves = {}
    for name, seeds in runs_of("convergence").items():
        if len(seeds) > 1:
            curves[name] = (mean_curve(seeds), [run["curve"] for run in seeds.values()])
    title = "PCK@0.2 on LSP-extended val, 40 epochs (higher is better)"
    curves_plot(curves, title, "PCK@0.2").savefig(HERE / "curves.png", dpi=100)


if __name__ == "__main__":
    main()
