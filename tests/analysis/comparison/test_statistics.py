# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sgpose.analysis.comparison.statistics import epochs_to_reach, paired_difference

VALUES = st.floats(-100, 100).map(lambda x: round(x, 3))


def test_hand_worked_interval():
    # differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.302653
    found = paired_difference([2, 4, 6], [1, 2, 3])
    assert found.mean == 2 and found.pairs == 3
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-5)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=9))
def test_interval_is_that_of_the_paired_t_test(pairs):
    ours, baseline = np.array(pairs).T
    found = paired_difference(ours, baseline)
    assert found.low <= found.mean <= found.high
    if np.std(ours - baseline) > 1e-6:
        expected = stats.ttest_rel(ours, baseline).confidence_interval(0.95)
        np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-6, atol=1e-9)


def test_one_pair_has_no_interval():
    found = paired_difference([3], [1])
    assert found.mean == 2 and math.isnan(found.low) and math.isnan(found.high)


def test_equal_differences_have_an_interval_of_no_width():
    assert paired_difference([2, 3], [1, 2])[:3] == (1, 1, 1)


@pytest.mark.parametrize(("ours", "baseline"), [([1, 2], [1]), ([], [])])
def test_values_without_partner_are_refused(ours, baseline):
    with pytest.raises(ValueError, match="one partner each"):
        paired_difference(ours, baseline)


def test_epochs_to_reach():
    curve = [(5, 0.2), (10, 0.5), (15, 0.4), (20, 0.6)]
    assert epochs_to_reach(curve, 0.45) == 10
    assert epochs_to_reach(curve, 0.55) == 20
    assert epochs_to_reach(curve, 0.61) is None
