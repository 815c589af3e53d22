# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import Sample, alternate, summarise
from benchmarks.timing import quartiles


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=12))
def test_quartiles_are_numpys(values):
    np.testing.assert_allclose(quartiles(values), np.percentile(values, [25, 50, 75]), atol=1e-9)


def test_candidates_take_turns_after_one_call_each():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in "ab"}
    samples = alternate(candidates, rounds=3, calls=2)
    assert "".join(calls) == "ab" + "aabb" + "bbaa" + "aabb"
    assert {name: len(own) for name, own in samples.items()} == {"a": 3, "b": 3}


def test_every_measurement_waits_for_the_threads_of_the_one_before(monkeypatch):
    events = []
    monkeypatch.setattr("time.sleep", lambda seconds: events.append(seconds))
    alternate({name: lambda name=name: events.append(name) for name in "ab"}, rounds=2)
    assert events == ["a", "b", 0.05, "a", 0.05, "b", 0.05, "b", 0.05, "a"]


def test_values_that_candidates_return_are_kept():
    numbers = itertools.count(5)
    samples = alternate({"a": lambda: next(numbers)}, rounds=2, timed=False)
    assert [s.value for s in samples["a"]] == [5, 6]


def test_a_call_is_timed_in_milliseconds(monkeypatch):
    clock = itertools.count(step=0.5)  # each look at the clock is half a second later
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("time.process_time", lambda: 0.0)
    samples = alternate({"a": lambda: None}, rounds=1, calls=2)
    assert samples == {"a": [Sample(value=250.0, cpu_ms=0.0)]}


def test_ratios_are_taken_round_by_round():
    plain = [Sample(1.0, 1.0), Sample(10.0, 4.0), Sample(2.0, 2.0)]
    ours = [Sample(2.0, 3.0), Sample(30.0, 12.0), Sample(2.0, 6.0)]
    summary = summarise(dict(plain=plain, ours=ours))
    assert summary["plain"]["ratio"] == [1, 1, 1]
    assert summary["ours"]["value"] == [2, 2, 16]
    assert summary["ours"]["ratio"] == pytest.approx([1.5, 2, 2.5])  # of 2, 3 and 1
    assert summary["ours"]["cpu_ratio"] == [3, 3, 3]
