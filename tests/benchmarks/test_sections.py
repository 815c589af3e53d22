# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpose.structures import PoseDataSample
from torch.nn.modules.batchnorm import _BatchNorm

pytest.importorskip("onnx", reason="folding for deployment is measured, too")
onnxruntime = pytest.importorskip("onnxruntime")

from benchmarks import SECTIONS, sections  # noqa: E402
from benchmarks.report import TARGETS  # noqa: E402
from benchmarks.run import measure  # noqa: E402
from benchmarks.sections import (  # noqa: E402
    GivenBoxes,
    Settings,
    in_process,
    process_peak,
)
from benchmarks.subjects import (  # noqa: E402
    build_model,
    picture,
    read_config,
    training_batch,
)

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def with_openvino(monkeypatch):
    """ONNX Runtime says that it has OpenVINO."""
    providers = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


def test_each_target_names_a_case_that_exists(with_openvino):
    cases = {
        (case.section, case.name)
        for section in SECTIONS.values()
        for case in section(Settings(CONFIGS, threads=1))
    }
    assert {(target.section, target.case) for target in TARGETS} <= cases
    assert {section for section, _ in cases} == set(SECTIONS)


def test_the_twins_share_their_weights_and_the_batch():
    guided, plain = (read_config(CONFIGS, "W16 128x96", guided) for guided in (True, False))
    theirs, ours = build_model(plain).state_dict(), build_model(guided).state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    assert any("guides" in name for name in set(ours) - set(theirs))
    batch = training_batch(guided, 2)
    assert batch["inputs"][0].shape == (3, 128, 96)
    assert batch["data_samples"][1].gt_fields.segmentation.shape == (1, 32, 24)


def test_boxes_lie_on_people_of_the_picture():
    image, boxes = picture(0, 6)
    assert image.shape == (480, 640, 3) and boxes.shape == (6, 4)
    assert (boxes[:, 2:] > boxes[:, :2]).all() and not np.array_equal(boxes[0], boxes[4])
    for x1, y1, x2, y2 in boxes[:4].astype(int):
        assert image[y1:y2, x1:x2].std() > 10


def test_the_stand_in_finds_the_boxes_it_was_given():
    boxes = np.arange(8, dtype=np.float32).reshape(2, 4)
    (found,) = GivenBoxes(boxes)(None)["predictions"]
    found = found.pred_instances.cpu().numpy()
    np.testing.assert_array_equal(found.bboxes, boxes)
    assert (found.scores == 1).all() and (found.labels == 0).all()


@pytest.mark.slow
def test_peak_memory_is_that_of_the_new_process_alone():
    ballast = np.ones(40_000_000)  # 320 MB
    in_a_new_one = in_process(process_peak)
    assert process_peak() > in_a_new_one + ballast.nbytes / 2**20 / 2
    del ballast


@pytest.fixture(autouse=True)
def threads():
    """Leave PyTorch's number of threads, by which rounding differs, to the tests behind."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return tmp_path_factory.mktemp("exports")


@pytest.fixture
def small(small_extra, monkeypatch, exports):
    """Settings, with networks of few channels instead of those that are measured."""

    def small_config(*args, **kwargs):
        cfg = read_config(*args, **kwargs)
        cfg.model.backbone.extra = small_extra
        cfg.model.head.in_channels = 8
        return cfg

    monkeypatch.setattr(sections, "read_config", small_config)
    return Settings(CONFIGS, threads=2, rounds=0.01, folder=exports)


def config(small, guided):
    return sections.read_config(small.configs, "W16 128x96", guided)


def of(section, small, name):
    (case,) = (case for case in SECTIONS[section](small) if case.name == name)
    return case


def test_a_step_trains_hrnet_and_sghrnet_on_the_same_batch(small):
    case = of("step", small, "W16 128x96, batch 8, 1 thread")
    before = torch.get_num_threads()
    with case.prepare() as steps:
        assert torch.get_num_threads() == 1
        losses = {title: [run() for _ in range(4)] for title, run in steps.items()}
    assert torch.get_num_threads() == before and case.rounds == 1
    model, batch = build_model(config(small, False)).train(), training_batch(config(small, True), 8)
    data = model.data_preprocessor(batch, True)
    expected = model.loss(data["inputs"], data["data_samples"])["loss_kpt"]
    assert list(losses) == ["HRNet", "SG-HRNet"]
    assert "loss_seg" not in losses["HRNet"][0] and losses["SG-HRNet"][0]["loss_seg"] > 0
    torch.testing.assert_close(losses["HRNet"][0]["loss_kpt"], expected.detach())
    for steps in losses.values():
        assert steps[-1]["loss_kpt"] < steps[0]["loss_kpt"]


@pytest.mark.slow
def test_all_forms_of_a_network_give_its_heatmaps(small):
    case = of("forward", small, "W16 128x96, batch 1")
    with case.prepare() as candidates:
        assert torch.get_num_threads() == small.threads and not torch.is_grad_enabled()
        found = {title: run() for title, run in candidates.items()}
    assert list(found)[0] == "HRNet" and case.persons == 1
    size = (1, 14, 32, 24)
    for title in ("HRNet", "SG-HRNet"):
        assert found[title].shape == size and found[title].std() > 0
        form = "fused" if title == "HRNet" else "folded"
        torch.testing.assert_close(found[f"{title}, {form}"], found[title], rtol=0, atol=1e-5)
    assert not torch.allclose(found["HRNet"], found["SG-HRNet"], rtol=0, atol=1e-4)

    crops = np.random.default_rng(0).integers(0, 255, (1, 128, 96, 3), dtype=np.uint8)
    for title, guided in (("HRNet", False), ("SG-HRNet", True)):
        model = build_model(config(small, guided)).eval()
        inputs = list(torch.from_numpy(crops).permute(0, 3, 1, 2))
        with torch.no_grad():
            batch = dict(inputs=inputs, data_samples=[PoseDataSample()])
            expected = model(model.data_preprocessor(batch)["inputs"], None)
        (heatmaps,) = found[f"{title}, ONNX Runtime"]
        np.testing.assert_allclose(heatmaps, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_what_is_compiled_is_fused_and_gives_the_same(small, monkeypatch):
    given = []
    monkeypatch.setattr(torch, "compile", lambda network: given.append(network) or network)
    (case,) = SECTIONS["compiled"](small)
    with case.prepare() as candidates:
        found = {title: run() for title, run in candidates.items()}
    for title in ("HRNet, fused", "SG-HRNet, folded"):
        torch.testing.assert_close(found[f"{title} and compiled"], found[title])
    x = torch.randn(1, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = build_model(config(small, False)).eval()(x, None)
    torch.testing.assert_close(found["HRNet, fused"], expected, rtol=0, atol=1e-5)
    norms = [m for network in given for m in network.modules() if isinstance(m, _BatchNorm)]
    assert len(given) == 2 and norms == []


@pytest.mark.slow
@pytest.mark.parametrize("flip", ["off", "on"])
def test_all_ways_in_find_the_same_persons(small, flip):
    case = of("persons", small, f"W16 128x96, 4 persons a picture, flip test {flip}")
    assert case.persons == 32
    with sections._ways(small, "W16 128x96", 1, 2, flip == "on") as candidates:
        found = {title: run() for title, run in candidates.items()}
    in_8_bits = found.pop("OnnxPose, 8-bit integers")
    assert list(found) == ["MMPoseInferencer", "inference_topdown", "OnnxPose"]
    for plain, rounded in zip(found["OnnxPose"], in_8_bits):
        np.testing.assert_allclose(rounded.scores, plain.scores, rtol=0.2, atol=1e-3)
        assert (rounded.scores != plain.scores).any()
    for infer, topdown, onnx in zip(*found.values()):
        (predictions,) = infer[0]["predictions"]
        # its detector's boxes are sorted
        predictions = sorted(predictions, key=lambda person: person["bbox"])
        poses = sorted((s.pred_instances for s in topdown), key=lambda p: p.bboxes.tolist())
        assert len(predictions) == len(poses) == len(onnx.scores) == 2
        for theirs, pose, score in zip(predictions, poses, onnx.scores):
            np.testing.assert_allclose(theirs["keypoints"], pose.keypoints[0], atol=1e-3)
            np.testing.assert_allclose(score, pose.keypoint_scores[0], rtol=1e-2, atol=1e-6)
        # the maxima of untrained heatmaps hang on rounding
        far = np.abs(onnx.keypoints - np.concatenate([pose.keypoints for pose in poses]))
        assert np.median(far) < 1e-2


@pytest.mark.slow
def test_the_runtime_is_measured_beside_its_graph_and_rtmlib(small):
    case = of("runtime", small, "W16 128x96, 4 persons in 640x480")
    assert case.persons == 4
    with sections._runtimes(small, "W16 128x96", 2, (320, 240)) as candidates:
        found = {title: run() for title, run in candidates.items()}
    assert list(found)[:3] == ["session.run", "OnnxPose", "inference_topdown"]
    keypoints, scores = found["OnnxPose"]
    np.testing.assert_allclose(found["session.run"][1], scores, atol=1e-6)
    theirs = np.concatenate([s.pred_instances.keypoints for s in found["inference_topdown"]])
    assert np.median(np.abs(theirs - keypoints)) < 1e-2
    if "rtmlib" in found:
        theirs, their_scores = found["rtmlib"]
        assert theirs.shape == keypoints.shape
        np.testing.assert_allclose(their_scores, scores, rtol=0.05, atol=1e-4)


def test_without_openvino_nothing_of_it_is_measured(small, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert list(SECTIONS["openvino"](small)) == []


def test_openvino_is_measured_in_both_precisions(small, with_openvino, monkeypatch):
    given = []
    monkeypatch.setattr(sections, "_ways", lambda *args: given.append(args))
    cases = list(SECTIONS["openvino"](small))
    assert [case.persons for case in cases] == [32, 32, 8, 8]
    assert {case.note for case in cases} == {f"ONNX Runtime {onnxruntime.__version__}"}
    cases[-1].prepare()
    ((settings, *what, providers),) = given
    assert what == ["W32 256x192", 2, 4, True]
    plain, in_bf16 = providers.values()
    options = dict(device_type="CPU", num_of_threads=str(small.threads))
    assert plain == ("OpenVINOExecutionProvider", options)
    config = json.loads(in_bf16[1].pop("load_config"))
    assert in_bf16 == plain and config == {"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}}


@pytest.mark.slow
def test_ways_in_take_providers(small):
    providers = dict(ours=("CPUExecutionProvider", {}))
    with sections._ways(small, "W16 128x96", 1, 2, False, providers) as candidates:
        found = {title: run() for title, run in candidates.items()}
    assert list(found)[2:] == ["OnnxPose", "OnnxPose, 8-bit integers", "ours"]
    for ours, plain in zip(found["ours"], found["OnnxPose"]):
        np.testing.assert_allclose(ours.keypoints, plain.keypoints, atol=1e-3)


def test_persons_and_keypoints_grow(small):
    cases = {case.name: case for case in SECTIONS["growth"](small)}
    assert [case.persons for case in cases.values()] == [1, 4, 16, 64, None, None, None]
    with cases["W16 128x96, 4 persons a picture"].prepare() as candidates:
        (poses,) = candidates["OnnxPose"]()
    assert poses.keypoints.shape == (4, 14, 2)
    with cases["step, W16 128x96, batch 8, 68 keypoints, 1 thread"].prepare() as steps:
        losses = [run() for run in steps.values()]
    assert [sorted(map(str, loss)) for loss in losses][0] == ["acc_pose", "loss", "loss_kpt"]
    assert all(torch.isfinite(loss["loss_kpt"]) for loss in losses)
    assert "loss_seg" in losses[1]


def test_ranks_are_run_once_for_both_networks(small, monkeypatch):
    asked = []
    answers = {False: 3.0, True: 4.0}
    monkeypatch.setattr(sections, "_run_ranks", lambda *args: asked.append(args) or answers)
    alone, two = SECTIONS["ranks"](small)
    assert (alone.name, two.name) == tuple(
        f"W16 128x96, batch 8 a rank, {ranks}" for ranks in ("1 rank", "2 ranks")
    )
    kept = measure(two, small)
    assert asked == [(CONFIGS, 2, 1)] and kept["unit"] == "ms a step"
    assert kept["candidates"]["SG-HRNet"]["value"][1] == 4.0
    assert kept["candidates"]["SG-HRNet"]["ratio"][1] == pytest.approx(4 / 3)


def test_a_rank_trains_and_leaves_its_group(small, tmp_path, monkeypatch):
    trained = []
    step = sections._rank_step

    def record(model, optimizer, batch):
        before = [p.detach().clone() for p in model.parameters()]
        step(model, optimizer, batch)
        trained.append(sum(not torch.equal(a, b) for a, b in zip(before, model.parameters())))

    monkeypatch.setattr(sections, "_rank_step", record)
    times = sections.rank_times(CONFIGS, 1, 0, 2, f"file://{tmp_path}/group")
    assert not torch.distributed.is_initialized()
    assert set(times) == {False, True} and min(times.values()) > 0
    # three steps of each network in turns; all their parameters change
    plain, guided = (
        sum(1 for _ in build_model(config(small, guided)).parameters()) for guided in (False, True)
    )
    assert trained == [plain, guided] * 3


def test_a_step_takes_memory(small, monkeypatch):
    monkeypatch.setattr(sections, "in_process", lambda function, *args: function(*args))
    monkeypatch.setattr(sections, "process_peak", lambda: len(batches))
    batches = []
    make = sections.training_step

    def record(cfg, batch):
        run = make(cfg, batch)
        return lambda: batches.append((cfg.model.backbone.type, len(batch["inputs"]), run()))

    monkeypatch.setattr(sections, "training_step", record)
    candidates = sections._peaks(CONFIGS, "W16 128x96", 2)
    assert candidates["HRNet"]() == 2 and candidates["SG-HRNet"]() == 4
    assert [entry[:2] for entry in batches] == [("HRNet", 2)] * 2 + [("SGHRNet", 2)] * 2
    assert of("memory", small, "W16 128x96, batch 32").unit == "MB"


@pytest.mark.slow
def test_new_processes_train():
    bare = in_process(process_peak)
    assert in_process(sections.peak_memory, CONFIGS, "W16 128x96", 8, True) > bare + 50
    times = sections._run_ranks(CONFIGS, 2, 1)
    assert set(times) == {False, True} and min(times.values()) > 0
