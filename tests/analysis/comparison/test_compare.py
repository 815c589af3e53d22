# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import json
import os
import runpy
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch

from sgpose.analysis.comparison import (
    Arm,
    Study,
    compare,
    read_records,
    read_study,
    records_of,
    write_report,
)
from sgpose.analysis.comparison.records import append_record, config_hash, read_curve, read_seconds
from sgpose.analysis.comparison.report import (
    errors_table,
    further_tests_table,
    half_time_table,
    keypoint_table,
    summary_table,
)
from sgpose.analysis.comparison.run import _evaluators, load_config
from sgpose.analysis.comparison.run import run as train_and_test
from sgpose.analysis.comparison.runs import arm_hash, pending_runs
from sgpose.datasets import write_toy_people

ROOT = Path(__file__).parents[3]
TOY = ROOT / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"


def record(arm, seed, value, curve=((1, 0.1), (2, 0.2), (4, 0.4)), **keypoints):
    return dict(
        arm=arm,
        seed=seed,
        value=value,
        metrics={f"pck/{name}": pck for name, pck in keypoints.items()},
        curve=[list(point) for point in curve],
        parameters=1_280_000,
        seconds=120.0,
        config_hash="",
        metric="PCK",
        tests={},
    )


def tiny_options(data: Path) -> dict:
    """Draw toy people; return the options with which a toy config trains one epoch on them."""
    write_toy_people(data, num_train=4, num_val=2)
    annotations = str(data / "annotations/person_keypoints_val.json")
    options = {
        "train_cfg.max_epochs": 1,
        "train_cfg.val_interval": 1,
        "train_dataloader.batch_size": 2,
        "val_evaluator.ann_file": annotations,
        "test_evaluator.ann_file": annotations,
    }
    for part in ("train", "val", "test"):
        loader = f"{part}_dataloader"
        options[f"{loader}.num_workers"] = 0
        options[f"{loader}.persistent_workers"] = False
        options[f"{loader}.dataset.data_root"] = str(data)
    return options


@pytest.fixture
def runs():
    plain = {0: record("plain", 0, 0.70, knee=0.8), 1: record("plain", 1, 0.72, knee=0.6)}
    fast = ((1, 0.25), (2, 0.5), (4, 0.6))
    guided = {
        0: record("guided", 0, 0.73, fast, knee=0.9),
        1: record("guided", 1, 0.73, fast, knee=0.7),
        2: record("guided", 2, 0.99, fast, knee=0.9),
    }
    return dict(plain=plain, guided=guided)


def test_summary_pairs_by_seed(runs):
    # points above: 3 and 1 for the seeds 0 and 1; seed 2 has no partner; t(0.975, 1) = 12.706
    lines = summary_table(runs, "plain").splitlines()
    assert lines[2] == "| plain | 2 | 71.00 | 1.41 | - | 1.280 M | 2.0 |"
    assert lines[3] == "| guided | 3 | 81.67 | 15.01 | +2.00 [-10.71, +14.71] | 1.280 M | 2.0 |"


def test_keypoints_and_half_time(runs):
    assert (
        keypoint_table(runs, "plain").splitlines()[2] == "| knee | 70.0 | +10.00 [+10.00, +10.00] |"
    )
    # the plain one has 0.2 at half time, the guided one 0.5, which the plain one never has
    assert half_time_table(runs, "plain").splitlines()[2] == "| guided | 1 epochs | never |"


def test_errors_by_type(runs):
    assert errors_table(runs) == ""
    for run in (run for seeds in runs.values() for run in seeds.values()):
        run["metrics"].update({"errors/correct": run["value"], "errors/limb": 1 - run["value"]})
    assert errors_table(runs).splitlines() == [
        "| setting | correct | limb |",
        "| --- | --- | --- |",
        "| plain | 71.0 | 29.0 |",
        "| guided | 81.7 | 18.3 |",
    ]


def test_further_tests(runs):
    for name, shift in (("plain", 0.0), ("guided", 0.04)):
        for run in runs[name].values():
            run["metrics"]["crowded/PCK"] = run["value"] + shift
            run["tests"]["crowded"] = {"test_dataloader.a": 1}
    tests = {"crowded": {"test_dataloader.a": 1}, "not yet": {}}
    study = Study((Arm("plain", "a.py"), Arm("guided", "b.py")), "PCK", tests)
    assert further_tests_table(runs, "plain", study).splitlines()[2:] == [
        "| plain | 71.00 | - |",
        "| guided | 85.67 (+6.00 [-6.71, +18.71]) | - |",
    ]
    runs["guided"][1]["tests"]["crowded"] = {"test_dataloader.a": 2}  # of before a change
    row = further_tests_table(runs, "plain", study).splitlines()[3]
    assert row == "| guided | 90.00 (+7.00 (one seed)) | - |"


def test_per_cent_stay_per_cent_and_no_curve_is_no_row(runs):
    for run in (run for seeds in runs.values() for run in seeds.values()):
        run["value"] *= 100
        run["curve"] = []
    assert "| guided | 3 | 81.67 | 15.01 | +2.00 [" in summary_table(runs, "plain")
    assert half_time_table(runs, "plain") == ""


def test_report_of_what_is_done(tmp_path, runs):
    arms = (Arm("plain", str(TOY)), Arm("guided", "b.py"), Arm("not yet run", "c.py"))
    study = Study(arms, "PCK")
    path = write_report(study, {**runs, "not yet run": {}}, tmp_path, "the command")
    text = path.read_text()
    assert "`the command`" in text and "+2.00 [-10.71, +14.71]" in text
    assert "not yet run" not in text
    assert (tmp_path / "curves.png").stat().st_size and (
        tmp_path / "differences.png"
    ).stat().st_size
    with pytest.raises(ValueError, match="no run of the baseline 'plain'"):
        write_report(study, {**runs, "plain": {}}, tmp_path, "")


def test_a_report_alone_trains_nothing(tmp_path, runs, monkeypatch):
    configs = [str(TOY).replace("sghrnet", "hrnet"), str(TOY)]
    for config, seeds in zip(configs, runs.values()):
        for run in seeds.values():
            run["config_hash"] = arm_hash(Arm("", config))
            append_record(tmp_path / "runs.jsonl", run)
    command = ["compare.py", *configs, "--seeds", "0", "1", "--metric", "PCK"]
    command += ["--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*command, "--report-only"])
    runpy.run_path(str(ROOT / "tools/compare.py"), run_name="__main__")
    text = (tmp_path / "report.md").read_text()
    assert "+2.00 [-10.71, +14.71]" in text and "--report-only" not in text


def test_study_file(tmp_path):
    file = tmp_path / "study.yml"
    file.write_text(
        "metric: coco/AP\nseeds: [3, 4]\noptions: {a.b: 1, c: 2}\n"
        "arms:\n  plain: {config: a.py}\n  guided: {config: b.py, options: {c: 5}, seeds: [9]}\n"
    )
    study = read_study(file)
    assert study.metric == "coco/AP"
    assert study.arms[0] == Arm("plain", "a.py", {"a.b": 1, "c": 2}, (3, 4))
    assert study.arms[1] == Arm("guided", "b.py", {"a.b": 1, "c": 5}, (9,))


def test_options_of_one_arm_do_not_reach_another(tmp_path):
    file = tmp_path / "study.yml"
    file.write_text(f"""
options:
  val_dataloader.dataset.data_root: here
  val_dataloader: {{batch_size: 4}}
  train_dataloader.num_workers: 3
  val_evaluator: &pck {{_delete_: true, type: PCKAccuracy}}
  test_evaluator: *pck
arms:
  first: {{config: {TOY}, options: {{train_dataloader: {{num_workers: 7}}}}}}
  second: {{config: {TOY}}}
""")
    for arm, workers in zip(read_study(file).arms, (7, 3), strict=True):
        cfg = load_config(arm.config, arm.options)
        assert cfg.val_evaluator == cfg.test_evaluator == dict(type="PCKAccuracy")
        assert cfg.val_dataloader.batch_size == 4
        assert cfg.val_dataloader.dataset.data_root == "here"
        assert cfg.train_dataloader.num_workers == workers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arms: {}", "has no arms"),
        ("arms: {a: {options: {}}}", "arm a in .* has no config"),
        ("arm: {a: {config: a.py}}", "expected a mapping with keys out of .*got \\['arm'\\]"),
        ("- a.py", "got list"),
        (
            "arms: {a: {config: a.py}}\ntests: {b: {model.test_cfg.flip_test: false}}",
            "test b in .* sets \\['model.test_cfg.flip_test'\\], which would change nothing",
        ),
    ],
)
def test_bad_study_files_are_refused(tmp_path, text, message):
    file = tmp_path / "study.yml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_study(file)


def test_what_changes_the_hash():
    assert config_hash(dict(lr=1, randomness=dict(seed=0), work_dir="a")) == config_hash(
        dict(work_dir="b", lr=1, randomness=dict(seed=5))
    )
    assert config_hash(dict(lr=1)) != config_hash(dict(lr=2))
    assert config_hash(dict(load_from="a")) != config_hash(dict(load_from="b"))
    assert config_hash(dict(load_from=None)) == config_hash({}) != config_hash(dict(load_from="a"))


def test_what_is_recorded_is_not_run_again(tmp_path):
    study = Study(
        (
            Arm("plain", str(TOY), seeds=(0, 1)),
            Arm("guided", str(TOY), {"model.backbone.guide_op": "residual"}, (0, 1)),
        ),
        "PCK",
    )
    names = [str(run) for run in pending_runs(study, [], tmp_path)]
    assert names == ["plain, seed 0", "guided, seed 0", "plain, seed 1", "guided, seed 1"]
    first = next(pending_runs(study, [], tmp_path))
    found = first.work_dir.parent.name.split("-")[-1]
    done = dict(config_hash=found, seed=0, metric="PCK", tests={}, arm="of another name")
    assert [str(run) for run in pending_runs(study, [done], tmp_path)] == names[1:]
    tested = Study(study.arms, "PCK", tests={"crowded": {}})
    assert [str(run) for run in pending_runs(tested, [done], tmp_path)] == names
    done["tests"] = {"crowded": {"test_dataloader.a": 1}}
    assert [str(run) for run in pending_runs(tested, [done], tmp_path)] == names
    done["tests"] = {"crowded": {}}
    assert [str(run) for run in pending_runs(tested, [done], tmp_path)] == names[1:]


def test_records_belong_to_arms_by_config_seed_and_metric():
    study = Study((Arm("plain", str(TOY), seeds=(3, 1)), Arm("guided", str(TOY), {"a": 1})), "PCK")
    own = dict(config_hash=arm_hash(study.arms[0]), metric="PCK")
    records = [
        dict(own, seed=1, value=0),
        dict(own, seed=3, arm="guided", value=1),
        dict(own, seed=0, arm="plain", value=2),
        dict(own, seed=1, value=3),
        dict(own, seed=3, metric="AUC", value=4),
        dict(own, seed=3, config_hash="0", arm="plain", value=5),
    ]
    found = records_of(study, records)
    assert {seed: record["value"] for seed, record in found["plain"].items()} == {1: 3, 3: 1}
    assert list(found["plain"]) == [1, 3] and found["guided"] == {}


def test_weights_that_are_loaded_start_a_training_and_are_no_resumed_one(tmp_path):
    options = tiny_options(tmp_path / "data")
    job = dict(config=str(TOY), options=options, seed=0, metric="coco/AP", tests={})
    first = train_and_test(dict(job, work_dir=str(tmp_path / "first")))
    weights = {**options, "load_from": str(tmp_path / "first/epoch_1.pth")}
    tuned = train_and_test(dict(job, options=weights, work_dir=str(tmp_path / "tuned")))
    assert first["config_hash"] != tuned["config_hash"]
    states = [
        torch.load(tmp_path / name / "epoch_1.pth")["state_dict"] for name in ("first", "tuned")
    ]
    assert not all(torch.equal(*pair) for pair in zip(*(state.values() for state in states)))
    longer = {**weights, "train_cfg.max_epochs": 2}
    train_and_test(dict(job, options=longer, work_dir=str(tmp_path / "tuned")))
    assert torch.load(tmp_path / "tuned/epoch_2.pth")["meta"]["iter"] == 4


def test_boxes_of_a_detector_have_no_keypoints_to_compare_with(tmp_path):
    cfg = load_config(str(TOY), {})
    assert [e["type"] for e in _evaluators(cfg)] == [
        "CocoMetric",
        "PerKeypointPCK",
    ]
    cfg.test_dataloader.dataset.bbox_file = "boxes.json"
    assert [e["type"] for e in _evaluators(cfg)] == ["CocoMetric"]


def test_no_process_at_a_time_is_refused(tmp_path):
    with pytest.raises(ValueError, match="positive number of processes, got 0"):
        compare(Study((Arm("plain", str(TOY)),), "PCK"), tmp_path, jobs=0)
    assert not list(tmp_path.iterdir())


def test_records_survive_a_line_cut_off(tmp_path):
    file = tmp_path / "runs.jsonl"
    append_record(file, dict(a=1))
    with file.open("a") as stream:
        stream.write('{"a": 2, "b"')
    assert read_records(file) == [dict(a=1)]
    append_record(file, dict(a=3))
    assert read_records(file) == [dict(a=1), dict(a=3)]
    file.write_text('{"a"\n{"a": 1}\n')
    with pytest.raises(ValueError, match="line 1 is no JSON"):
        read_records(file)


def test_curve_of_a_resumed_run(tmp_path):
    logs = {
        "20260101_000000": ['{"loss": 1, "step": 7}', '{"PCK": 0.1, "step": 1}']
        + ['{"PCK": 0.2, "step": 2}', '{"PC'],
        "20260101_000001": ['{"PCK": 0.25, "step": 2}', '{"PCK": 0.3, "step": 3}'],
    }
    for name, lines in logs.items():
        folder = tmp_path / name / "vis_data"
        folder.mkdir(parents=True)
        (folder / "scalars.json").write_text("\n".join(lines))
    assert read_curve(tmp_path, "PCK") == [(1, 0.1), (2, 0.25), (3, 0.3)]


def test_time_of_a_resumed_run(tmp_path):
    for name, seconds in (("20260102_030405", 60), ("20260102_040506", 7.5)):
        log = tmp_path / name / f"{name}.log"
        log.parent.mkdir()
        log.touch()
        start = datetime.strptime(name, "%Y%m%d_%H%M%S").timestamp()
        os.utime(log, (start + seconds, start + seconds))
    assert read_seconds(tmp_path) == 67.5


@pytest.mark.slow
def test_two_configs_are_trained_compared_and_not_trained_again(tmp_path):
    options = tiny_options(tmp_path / "data")
    plain = str(TOY).replace("sghrnet", "hrnet")
    broken = {**options, "model.head.in_channels": 7}
    study = Study(
        (
            Arm("plain", plain, options),
            Arm("guided", str(TOY), options),
            Arm("broken", plain, broken),
        ),
        "coco/AP",
    )
    lines = []
    study = Study(study.arms, study.metric, {"one person": {"test_dataloader.dataset.indices": 1}})
    failed = compare(study, tmp_path / "out", jobs=2, report=lines.append)
    assert [run.arm.name for run in failed] == ["broken"]
    assert "expected input[2, 16, 32, 24] to have 7 channels" in "".join(lines)
    records = read_records(tmp_path / "out/runs.jsonl")
    assert {r["arm"] for r in records} == {"plain", "guided"}
    guided = next(r for r in records if r["arm"] == "guided")
    assert guided["epochs"] == 1 and guided["value"] == guided["metrics"]["coco/AP"]
    assert guided["curve"] == [[1, pytest.approx(guided["value"], abs=1e-6)]]
    assert "one person/coco/AP" in guided["metrics"]
    assert "pck/left_wrist" in guided["metrics"] and guided["versions"]["torch"]
    assert any("Epoch" not in line and "[guided, seed 0] train" in line for line in lines)

    again = compare(Study(study.arms[:2], "coco/AP"), tmp_path / "out", report=lines.append)
    assert not again and lines[-1] == "0 runs to do, 1 at a time"
    assert len(read_records(tmp_path / "out/runs.jsonl")) == 2
    json.dumps(guided)


def test_the_metric_is_that_of_the_best_checkpoint_unless_given(tmp_path):
    read_arguments = runpy.run_path(str(ROOT / "tools/compare.py"))["read_arguments"]
    toy, other = str(TOY), str(tmp_path / "y.py")
    study, args = read_arguments([toy, other, "--seeds", "0", "1", "--jobs", "2"])
    arms = (Arm(TOY.stem, toy, {}, (0, 1)), Arm("y", other, {}, (0, 1)))
    assert study == Study(arms, "coco/AP") and args.jobs == 2
    assert read_arguments([toy, other, "--metric", "AUC"])[0].metric == "AUC"

    for save_best in ("", "default_hooks = dict(checkpoint=dict(save_best='auto'))"):
        (tmp_path / "y.py").write_text(save_best)
        (tmp_path / "study.yml").write_text(f"arms: {{y: {{config: {other}}}}}")
        with pytest.raises(ValueError, match="no single metric"):
            read_study(tmp_path / "study.yml")


def test_a_config_that_cannot_be_trained_is_found_before_it_is(tmp_path):
    options = tiny_options(tmp_path / "toy")
    options["default_hooks.checkpoint.save_best"] = "coco/of nobody"
    job = dict(config=str(TOY), options=options, seed=0, metric="coco/AP", tests={})
    with pytest.raises(ValueError, match="coco/of nobody"):
        train_and_test(dict(job, work_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
