# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import pytest

from benchmarks import write_report
from benchmarks.report import IN_PERSONS, TARGETS, markdown, ratio


def case(section, name, candidate, ratio, **kwargs):
    def quartiles(middle):
        return dict(
            value=[middle] * 3,
            ratio=[middle * 0.9, middle, middle * 1.25],
            cpu_ratio=[middle] * 3,
        )

    return dict(
        dict(section=section, name=name, unit="ms", persons=None, cores=2, rounds=5),
        loadavg=[0.5, 0, 0],
        candidates={"baseline": quartiles(1.0), candidate: quartiles(ratio)},
        **kwargs,
    )


NOTES = (dict(note="of 1"), dict(note="of 2"), {})


def run(factor):
    cases = []
    for target in TARGETS:
        bound = 1 / target.bound if target.section in IN_PERSONS else target.bound
        cases.append(case(target.section, target.case, target.candidate, factor * bound))
    return dict(machine=dict(cores="2"), cases=cases)


def target_lines(page):
    return [line for line in page.splitlines() if "| <= " in line or "| >= " in line]


def test_a_target_is_met_below_or_above_its_bound():
    lines = target_lines(markdown([run(0.99), run(1.01), run(0.5)]))
    assert len(lines) == len(TARGETS)
    assert all(line.endswith("| 2 of 3 runs |") for line in lines)


def test_what_was_not_measured_is_neither_met_nor_missed():
    empty = dict(machine={}, cases=[])
    assert all("| not measured well enough |" in line for line in target_lines(markdown([empty])))
    assert all("| 1 of 1 runs |" in line for line in target_lines(markdown([empty, run(0.5)])))


def test_a_busy_machine_meets_no_target():
    busy = run(0.5)
    for own in busy["cases"]:
        own["loadavg"][0] = 2.6
    assert all("* | not measured well enough |" in line for line in target_lines(markdown([busy])))
    assert all(line.endswith("1 of 1 runs |") for line in target_lines(markdown([busy, run(0.5)])))
    assert "| 5, 2.6* |" in markdown([busy])


def test_few_rounds_meet_no_target_and_have_no_quartiles():
    hasty = run(0.5)
    for own in hasty["cases"]:
        own["rounds"] = 4
    assert all(" | not measured well enough |" in line for line in target_lines(markdown([hasty])))
    few = dict(case("encode", "a", "ours", 0.5), rounds=2)
    assert "| ours | 0.5 ms | 0.5 | 0.5 | 2, 0.5 |" in markdown([dict(machine={}, cases=[few])])


@pytest.mark.parametrize("section", IN_PERSONS)
def test_throughput_is_the_inverse_of_time(section):
    faster = case(section, "a", "OnnxPose", 0.25)
    assert ratio(faster, "OnnxPose") == pytest.approx([3.2, 4, 1 / 0.225])
    assert ratio(case("step", "a", "SG-HRNet", 0.25), "SG-HRNet")[1] == 0.25


def test_notes_stand_beside_the_name_once_each():
    noted, other, plain = (case("openvino", "a", "ours", 0.5, **note) for note in NOTES)
    page = markdown([dict(machine={}, cases=[own]) for own in (noted, other, noted)])
    assert "| **a** (of 1; of 2) |" in page
    assert "| **a** |" in markdown([dict(machine={}, cases=[plain])])


def test_a_page_holds_all_runs(tmp_path):
    first = dict(machine=dict(cores="2"), cases=[case("encode", "a", "ours", 0.5)])
    second = dict(machine=dict(cores="8"), cases=[case("encode", "a", "ours", 0.25)])
    page = write_report(tmp_path, [first, second])
    (line,) = (line for line in page.read_text().splitlines() if line.startswith("| ours |"))
    first_run = "0.5 ms | 0.5 (0.45, 0.625) | 0.5"
    assert (
        line == f"| ours | {first_run} | 0.25 ms | 0.25 (0.225, 0.312) | 0.25 | 5, 0.5 | 5, 0.5 |"
    )


def test_there_must_be_a_run(tmp_path):
    with pytest.raises(ValueError, match="there is no run"):
        write_report(tmp_path, [])
