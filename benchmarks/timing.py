# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import quantiles

#: Seconds before each measurement: threads that have just worked (ONNX Runtime's, OpenMP's) look
#: for more work for a while before they sleep, and would slow the next candidate down.
PAUSE = 0.05

#: Named things to compare; the first is the baseline. Each does its work once when called.
Candidates = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Case:
    """Candidates that are measured against each other.

    Args:
        section: Section of the benchmark.
        name: What is compared, unique in its section.
        prepare: Returns a context manager that gives the candidates, the baseline first.
        rounds: Number of times that each candidate is measured.
        calls: Calls per measurement.
        unit: "ms": the time of a call is measured here. Anything else: the candidates return
            their values in this unit.
        persons: Persons that a call handles, to speak of persons a second.
        note: What else a reader has to know of the candidates.
    """

    section: str
    name: str
    prepare: Callable[[], AbstractContextManager[Candidates]]
    rounds: int
    calls: int = 1
    unit: str = "ms"
    persons: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class Sample:
    """One measurement: the value, and the processor time of all threads in ms."""

    value: float
    cpu_ms: float


def alternate(
    candidates: Candidates, rounds: int, calls: int = 1, timed: bool = True
) -> dict[str, list[Sample]]:
    """Measure candidates in turns, so that all see the same state of the machine.

    Each runs once before anything is measured. The order turns around from round to round. Before
    each measurement there is a short pause.

    Args:
        candidates: What to measure.
        rounds: Measurements of each, >= 1.
        calls: Calls per measurement, >= 1.
        timed: Whether the value of a measurement is the mean wall time of a call in ms; if not, it
            is what the last call returned.

    Returns:
        The measurements of each, in the order of the rounds.
    """
    if timed:
        for run in candidates.values():
            run()
    samples: dict[str, list[Sample]] = {name: [] for name in candidates}
    order = list(candidates)
    for _ in range(rounds):
        for name in order:
            time.sleep(PAUSE)
            samples[name].append(_measure(candidates[name], calls, timed))
        order.reverse()
    return samples


def _measure(run: Callable[[], object], calls: int, timed: bool) -> Sample:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        result = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Sample(wall / calls * 1e3 if timed else float(result), cpu / calls * 1e3)


def summarise(samples: dict[str, list[Sample]]) -> dict[str, dict[str, list[float]]]:
    """Reduce measurements to quartiles.

    Args:
        samples: Of each candidate, the baseline first, equally many.

    Returns:
        For each candidate the quartiles [25 %, 50 %, 75 %] of its ``value``, of its ``ratio`` to
        the baseline in the same round, and of the ratio of processor times, ``cpu_ratio``.
    """
    baseline = next(iter(samples.values()))
    return {
        name: dict(
            value=quartiles([s.value for s in own]),
            ratio=quartiles([s.value / b.value for s, b in zip(own, baseline)]),
            cpu_ratio=quartiles([s.cpu_ms / max(b.cpu_ms, 1e-9) for s, b in zip(own, baseline)]),
        )
        for name, own in samples.items()
    }


def quartiles(values: list[float]) -> list[float]:
    """Return the quartiles [25 %, 50 %, 75 %], interpolated between the values."""
    if len(values) == 1:
        return values * 3
    return quantiles(values, n=4, method="inclusive")
