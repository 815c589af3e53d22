# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from ..plots import Row, better, curves_plot, forest_plot
from .arms import Study
from .run import load_config
from .runs import has_test
from .statistics import PairedDifference, epochs_to_reach, paired_difference

PER_KEYPOINT = "pck/"
ERRORS = "errors/"


def write_report(
    study: Study, runs: dict[str, dict[int, dict]], out: str | Path, command: str
) -> Path:
    """Write ``report.md`` with its plots into a folder.

    Args:
        study: The arms, the baseline first.
        runs: The records of their runs by arm and seed, see :func:`records_of`.
        out: The folder.
        command: The command that made the records, as it stands in the report.

    Returns:
        The path of the report.

    Raises:
        ValueError: If there is no record of the baseline.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    baseline = study.arms[0].name
    if not runs[baseline]:
        raise ValueError(f"no run of the baseline {baseline!r} is recorded yet")
    runs = {name: seeds for name, seeds in runs.items() if seeds}
    metric = study.metric
    sections = [
        f"# Comparison by {metric}",
        f"`{command}`",
        "Metrics in points: of what is a fraction, per cent. Differences are paired by "
        "seed with the first row; in brackets their 95 % confidence interval (Student).",
        summary_table(runs, baseline),
        _picture(_plot_differences(runs, study), out / "differences.png", "paired differences"),
        further_tests_table(runs, baseline, study),
        "## Learning curves",
        _picture(_plot_curves(runs, study), out / "curves.png", f"{metric} by epoch"),
        half_time_table(runs, baseline),
        "## By keypoint",
        keypoint_table(runs, baseline),
        "## Where the keypoints land",
        errors_table(runs),
    ]
    path = out / "report.md"
    path.write_text("\n\n".join(s for s in sections if s) + "\n", encoding="utf-8")
    return path


def summary_table(runs: dict[str, dict[int, dict]], baseline: str) -> str:
    """Return a Markdown table: mean, spread over seeds and paired difference of each arm."""
    rows = [["setting", "seeds", "mean", "sd", "difference", "parameters", "minutes"]]
    for name, seeds in runs.items():
        values = scale(runs) * np.array([run["value"] for run in seeds.values()])
        rows.append(
            [
                name,
                str(len(values)),
                f"{values.mean():.2f}",
                f"{values.std(ddof=1):.2f}" if len(values) > 1 else "-",
                "-" if name == baseline else _text(difference(seeds, runs[baseline], scale(runs))),
                f"{next(iter(seeds.values()))['parameters'] / 1e6:.3f} M",
                f"{np.mean([run['seconds'] for run in seeds.values()]) / 60:.1f}",
            ]
        )
    return _table(rows)


def further_tests_table(runs: dict[str, dict[int, dict]], baseline: str, study: Study) -> str:
    """Return a Markdown table of the further tests: means, and paired differences behind them."""
    if not study.tests:
        return ""
    rows = [["setting", *study.tests], *([name] for name in runs)]
    for test in study.tests:
        key = f"{test}/{study.metric}"
        tested = {
            name: {seed: run for seed, run in seeds.items() if has_test(run, study, test)}
            for name, seeds in runs.items()
        }
        for row, (name, seeds) in zip(rows[1:], tested.items()):
            if not seeds:
                row.append("-")
                continue
            mean = scale(runs) * np.mean([run["metrics"][key] for run in seeds.values()])
            found = difference(seeds, tested[baseline], scale(runs), key)
            row.append(f"{mean:.2f}" + ("" if name == baseline else f" ({_text(found)})"))
    return _table(rows)


def keypoint_table(runs: dict[str, dict[int, dict]], baseline: str) -> str:
    """Return a Markdown table: the PCK of each keypoint, as difference for all but the baseline."""
    names = _keypoints(runs[baseline])
    if not names:
        return ""
    rows = [["keypoint", baseline, *(name for name in runs if name != baseline)]]
    for keypoint in names:
        key = PER_KEYPOINT + keypoint
        mean = 100 * np.mean([run["metrics"][key] for run in runs[baseline].values()])
        others = [
            _text(difference(seeds, runs[baseline], 100, key))
            for name, seeds in runs.items()
            if name != baseline
        ]
        rows.append([keypoint, f"{mean:.1f}", *others])
    return _table(rows)


def half_time_table(runs: dict[str, dict[int, dict]], baseline: str) -> str:
    """Return a Markdown table: epochs to what the other has at half time."""
    rows = [
        ["setting", "it needs for the baseline's half-time value", "the baseline needs for its"]
    ]
    reference = mean_curve(runs[baseline])
    for name, seeds in runs.items():
        curve = mean_curve(seeds)
        if name == baseline or not curve or not reference:
            continue
        rows.append(
            [
                name,
                _epoch(epochs_to_reach(curve, _half_time(reference))),
                _epoch(epochs_to_reach(reference, _half_time(curve))),
            ]
        )
    return _table(rows) if len(rows) > 1 else ""


def errors_table(runs: dict[str, dict[int, dict]]) -> str:
    """Return a Markdown table: the mean share of each type of error, where they are recorded."""
    first = next(run for seeds in runs.values() for run in seeds.values())
    types = [key for key in first["metrics"] if key.startswith(ERRORS)]
    if not types:
        return ""
    rows = [["setting", *(key[len(ERRORS) :] for key in types)]]
    for name, seeds in runs.items():
        shares = [
            np.mean([run["metrics"].get(key, np.nan) for run in seeds.values()]) for key in types
        ]
        rows.append([name, *(f"{100 * share:.1f}" for share in shares)])
    return _table(rows)


def difference(
    ours: dict[int, dict], baseline: dict[int, dict], factor: float, key: str | None = None
) -> PairedDifference | None:
    """Return the paired difference over the seeds that both arms have; None if there is none.

    Args:
        ours: Records of an arm by seed.
        baseline: Records of the baseline by seed.
        factor: By which values are multiplied to be points, see :func:`scale`.
        key: Name of a metric; the study's own if None.
    """
    pick = (lambda run: run["value"]) if key is None else (lambda run: run["metrics"].get(key))
    seeds = [
        seed
        for seed in sorted(set(ours) & set(baseline))
        if pick(ours[seed]) is not None and pick(baseline[seed]) is not None
    ]
    if not seeds:
        return None
    return paired_difference(
        [factor * pick(ours[seed]) for seed in seeds],
        [factor * pick(baseline[seed]) for seed in seeds],
    )


def scale(runs: dict[str, dict[int, dict]]) -> float:
    """Return the factor to points: 100 if no value of the study's metric exceeds 1, else 1."""
    values = [abs(run["value"]) for seeds in runs.values() for run in seeds.values()]
    return 100 if max(values) <= 1 else 1


def mean_curve(seeds: dict[int, dict]) -> list[tuple[int, float]]:
    """Return the mean over seeds of the metric at each epoch that all seeds have."""
    curves = [{int(epoch): value for epoch, value in run["curve"]} for run in seeds.values()]
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    return [(epoch, float(np.mean([curve[epoch] for curve in curves]))) for epoch in epochs]


def _keypoints(seeds: dict[int, dict]) -> list[str]:
    metrics = next(iter(seeds.values()))["metrics"]
    names = [key[len(PER_KEYPOINT) :] for key in metrics if key.startswith(PER_KEYPOINT)]
    return [name for name in names if name != "mean"]


def _half_time(curve: list[tuple[int, float]]) -> float:
    """The last value up to half of the epochs."""
    half = curve[-1][0] / 2
    return next((value for epoch, value in reversed(curve) if epoch <= half), curve[0][1])


def _epoch(epoch: int | None) -> str:
    return "never" if epoch is None else f"{epoch} epochs"


def _text(difference: PairedDifference | None) -> str:
    if difference is None:
        return "no common seed"
    if difference.pairs == 1:
        return f"{difference.mean:+.2f} (one seed)"
    return f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"


def _table(rows: list[list[str]]) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def _picture(figure: plt.Figure, path: Path, text: str) -> str:
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)
    return f"![{text}]({path.name})"


def _plot_differences(runs: dict[str, dict[int, dict]], study: Study) -> plt.Figure:
    baseline = study.arms[0].name
    rows = []
    for name, seeds in runs.items():
        found = difference(seeds, runs[baseline], scale(runs))
        if name != baseline and found is not None:
            rows.append(Row(name, sorted(set(seeds) & set(runs[baseline])), found))
    heading = f"{study.metric} on {_data_set(study)}"
    title = f"Difference to {baseline} ({better(study.metric)})"
    axis = "points, paired by seed, with 95 % intervals; hollow: one seed"
    return forest_plot({heading: rows}, title, axis)


def _plot_curves(runs: dict[str, dict[int, dict]], study: Study) -> plt.Figure:
    curves = {
        name: (mean_curve(seeds), [run["curve"] for run in seeds.values() if run["curve"]])
        for name, seeds in runs.items()
    }
    title = f"{study.metric} on {_data_set(study)}, validation ({better(study.metric)})"
    return curves_plot(curves, title, study.metric)


def _data_set(study: Study) -> str:
    """Name the data set that the baseline is tested on."""
    arm = study.arms[0]
    dataset = load_config(arm.config, arm.options).test_dataloader.dataset
    place = dataset.get("ann_file") or dataset.get("data_root") or ""
    return f"{dataset.type.removesuffix('Dataset')} ({Path(place).name})" if place else dataset.type
