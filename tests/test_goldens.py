# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Numbers are those that were kept. ``python tests/golden_values.py`` keeps the present ones."""

import json

import numpy as np
import pytest
from golden_values import FILE, GOLDENS, compute, summary

KEPT = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", GOLDENS)
def test_numbers_are_those_that_were_kept(name):
    found, kept = compute(name), KEPT[name]
    assert list(found) == list(kept)
    for key, value in found.items():
        assert value["shape"] == kept[key]["shape"], key
        # float32 on other CPUs: relative to the array's root mean square
        np.testing.assert_allclose(
            value["numbers"],
            kept[key]["numbers"],
            rtol=1e-4,
            atol=1e-4 * kept[key]["numbers"][1],
            err_msg=key,
        )


def test_every_kept_number_is_computed():
    assert set(KEPT) == set(GOLDENS)


def test_a_summary_notices_values_that_change_places():
    values = np.arange(60.0)
    swapped = values.copy()
    swapped[[3, 4]] = swapped[[4, 3]]
    assert summary(values) != summary(swapped)
    assert summary(values)["numbers"][:2] == pytest.approx([29.5, (59 * 119 / 6) ** 0.5])
