# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class PairedDifference(NamedTuple):
    """Mean of paired differences with its confidence interval; NaN where a pair is too few."""

    mean: float
    low: float
    high: float
    pairs: int


def paired_difference(
    ours: Sequence[float], baseline: Sequence[float], confidence: float = 0.95
) -> PairedDifference:
    """Return the mean difference of paired values with Student's confidence interval.

    Args:
        ours: N values, N >= 1.
        baseline: N values, each of the same seed as its partner in ``ours``.
        confidence: Coverage of the interval in (0, 1).

    Returns:
        The mean of ``ours - baseline`` and the interval, whose ends are NaN if N is 1.

    Raises:
        ValueError: If the numbers of values differ or are zero.
    """
    if len(ours) != len(baseline) or not len(ours):
        raise ValueError(
            "paired values need one partner each: got "
            f"{len(ours)} values and {len(baseline)} of the baseline"
        )
    differences = np.subtract(ours, baseline)
    mean, pairs = float(differences.mean()), len(differences)
    if pairs == 1:
        return PairedDifference(mean, np.nan, np.nan, pairs)
    error = float(stats.sem(differences))
    if error == 0:
        return PairedDifference(mean, mean, mean, pairs)
    low, high = stats.t.interval(confidence, pairs - 1, loc=mean, scale=error)
    return PairedDifference(mean, float(low), float(high), pairs)


def epochs_to_reach(curve: Sequence[tuple[int, float]], value: float) -> int | None:
    """Return the first epoch at which a curve is at least a value, None if it never is.

    Args:
        curve: Pairs of epoch and metric, in ascending order of epochs.
        value: The metric to reach.
    """
    return next((epoch for epoch, metric in curve if metric >= value), None)
