# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import dataclasses
import inspect
import json
import math
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deployed_models import EXTRA, PLAIN, ROOT, TOY, random_model, small_config
from mmengine.config import Config
from mmpose.apis import init_model
from mmpose.codecs import MSRAHeatmap, SimCCLabel, UDPHeatmap
from mmpose.models.utils.tta import flip_heatmaps
from torch import nn

from sgpose.datasets import toy_sample, write_toy_people
from sgpose.deploy import OnnxPose, export_onnx, fold_guides
from sgpose.deploy.crops import crop_persons
from sgpose.deploy.describe import describe
from sgpose.deploy.onnx_export import load_model
from sgpose.deploy.pose_spec import METADATA_KEY, PoseSpec
from sgpose.deploy.smaller import quantize
from sgpose.deploy.verification import (
    ExportReport,
    check_report,
    persons_in_pictures,
    persons_to_compare,
    training_crops,
    well_determined,
)


def run(path, crops) -> dict:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"crops": crops})))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 128, 96, 3), dtype=np.uint8)


def test_the_graph_returns_heatmaps_and_maps_for_any_number_of_persons(trained, exported, crops):
    path = exported("plain", guide_maps=True, heatmaps=True, flip_test=False)
    model = trained("plain").model()
    for count in (1, 5):
        outputs = run(path, crops[:count])
        assert outputs["heatmaps"].shape == (count, 17, 32, 24)
        assert outputs["guide_maps"].shape == (count, 4, 32, 24)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    images = torch.from_numpy((crops[..., ::-1] - mean) / std).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        features = model.extract_feat(images)
        heatmaps = model.head(features)
        maps = torch.cat([logits.sigmoid() for logits in features.segmentation_logits], dim=1)
    np.testing.assert_allclose(outputs["heatmaps"], heatmaps, atol=1e-4)
    np.testing.assert_allclose(outputs["guide_maps"], maps, atol=1e-4)


def test_one_file_says_everything(exported):
    path = exported("unbiased")
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == METADATA_KEY
    spec = PoseSpec.from_json(entry.value)
    assert spec.to_json() == entry.value
    assert path.with_suffix(".json").read_text() == spec.to_json(indent=1) + "\n"
    assert spec.input_size == (96, 128) and spec.padding == 1.25 and not spec.use_udp
    assert spec.network == "SGHRNet" and spec.input_layout == "NHWC"
    assert spec.outputs == ("keypoints", "scores") and spec.flip_test
    assert [output.name for output in onnx.load(path).graph.output] == ["keypoints", "scores"]
    assert spec.codec["type"] == "MSRAHeatmap" and spec.codec["unbiased"]
    assert spec.codec["blur_kernel_size"] == 11
    assert spec.keypoint_colors[:3] == ((51, 153, 255), (0, 255, 0), (255, 128, 0))
    assert spec.keypoint_names[:3] == ("nose", "left_eye", "right_eye")
    assert spec.flip_indices[:3] == (0, 2, 1)
    assert (15, 13) in spec.skeleton
    assert not list(path.parent.glob(".*"))  # nothing is left over


CODECS = {
    "plain": MSRAHeatmap(input_size=(96, 128), heatmap_size=(24, 32), sigma=2),
    "unbiased": MSRAHeatmap(input_size=(96, 128), heatmap_size=(24, 32), sigma=2, unbiased=True),
    "udp": UDPHeatmap(input_size=(96, 128), heatmap_size=(24, 32), sigma=2),
    "simcc": SimCCLabel(input_size=(96, 128)),
}


@pytest.mark.parametrize("flip_test", [True, False])
@pytest.mark.parametrize("name", CODECS)
def test_keypoints_are_decoded_in_the_graph(exported, crops, name, flip_test):
    path = exported(name, heatmaps=True, flip_test=flip_test)
    found = run(path, crops)
    assert PoseSpec.from_json(path.with_suffix(".json").read_text()).flip_test == flip_test
    raw = [found[n] for n in (("simcc_x", "simcc_y") if name == "simcc" else ("heatmaps",))]
    decoded = [CODECS[name].decode(*(o[i] for o in raw)) for i in range(len(crops))]
    expected, scores = map(np.concatenate, zip(*decoded))
    sure = well_determined(CODECS[name], raw, [1e-6] * len(raw), expected)
    assert sure.mean() > 0.8
    np.testing.assert_allclose(found["keypoints"][sure], expected[sure], atol=0.03)
    np.testing.assert_allclose(found["scores"], scores, atol=1e-5)


def test_the_flip_test_is_mmposes(trained, exported, crops):
    model, mirrored = trained("plain").model(), crops[:, :, ::-1]
    plain, both = (exported("plain", heatmaps=True, flip_test=flip) for flip in (False, True))
    one, other = (run(plain, np.ascontiguousarray(c))["heatmaps"] for c in (crops, mirrored))
    turned = flip_heatmaps(
        torch.from_numpy(other), model.dataset_meta["flip_indices"], shift_heatmap=True
    )
    expected = (one + turned.numpy()) / 2
    np.testing.assert_allclose(run(both, crops)["heatmaps"], expected, atol=1e-5)


def test_graphs_can_take_floats(exported, crops):
    expected = run(exported("plain"), crops)
    floats = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
    found = run(exported("plain", float_input=True), floats)
    np.testing.assert_allclose(found["keypoints"], expected["keypoints"], atol=1e-4)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    nodes = onnx.load(exported("plain", float_input=True)).graph.node
    wide = {n.output[0] for n in nodes if n.op_type == "Expand" and n.output[0].endswith("/wide")}
    assert len(wide) == 4, "OpenCV 5 gates only with as many channels"
    gates = [node for node in nodes if node.op_type == "Mul" and not wide.isdisjoint(node.input)]
    assert len(gates) == 4


def regression_config(head: str) -> Config:
    cfg = small_config("plain", PLAIN)
    loss = dict(type="RLELoss" if head == "RLEHead" else "SmoothL1Loss", use_target_weight=True)
    cfg.model.neck = dict(type="GlobalAveragePooling")
    cfg.model.head = dict(
        type=head,
        in_channels=8,
        num_joints=17,
        loss=loss,
        decoder=dict(type="RegressionLabel", input_size=(96, 128)),
    )
    cfg.model.test_cfg = dict(flip_test=True, shift_coords=True)
    return cfg


@pytest.mark.parametrize("head", ["RegressionHead", "RLEHead"])
def test_regressed_keypoints_are_those_of_mmpose(tmp_path, head):
    cfg = regression_config(head)
    model = init_model(Config(cfg.to_dict()), device="cpu")
    nn.init.normal_(model.head.fc.weight, std=0.3)
    nn.init.constant_(model.head.fc.bias, 0.4)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "model.pth")
    report = export_onnx(cfg, tmp_path / "model.pth", tmp_path / "model.onnx")
    assert report.keypoint_difference < 1e-3 and report.num_skipped == 0
    assert report.differences["coords"][0] < 1e-5 < report.differences["coords"][1]
    with pytest.raises(ValueError, match=f"{head} regresses coordinates: it has no heatmaps"):
        export_onnx(cfg, tmp_path / "model.pth", tmp_path / "model.onnx", heatmaps=True)


def test_a_plain_network_can_be_exported(trained, tmp_path):
    source = trained("plain", config=PLAIN)
    report = export_onnx(Config(source.cfg.to_dict()), source.checkpoint, tmp_path / "a.onnx")
    assert set(report.differences) == {"heatmaps"}
    assert report.keypoint_difference < 0.05 and report.num_persons == 8
    assert report.num_keypoints + report.num_skipped == 8 * 17
    with pytest.raises(ValueError, match="HRNet has no guides"):
        export_onnx(
            Config(source.cfg.to_dict()), source.checkpoint, tmp_path / "b.onnx", guide_maps=True
        )


@pytest.mark.slow
def test_the_pictures_to_compare_on_are_those_given(trained, tmp_path):
    source = trained("plain")
    cv2.imwrite(str(tmp_path / "a.png"), toy_sample(5, 0)[0])
    cfg = Config(source.cfg.to_dict())
    out = tmp_path / "a.onnx"
    report = export_onnx(cfg, source.checkpoint, out, images=[tmp_path / "a.png"])
    assert report.num_persons == 2
    with pytest.raises(RuntimeError, match="keypoints of the exported file differ"):
        export_onnx(cfg, source.checkpoint, out, keypoint_tolerance=-1.0)


PRESETS = sorted(
    path
    for folder in ("configs/sg_hrnet", "projects/limb_guides/configs")
    for path in (ROOT / folder).rglob("td-hm_*.py")
)


@pytest.mark.slow
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_gives_the_keypoints_of_mmpose(path, tmp_path):
    """With few channels, but the codec, the pipeline and the guides of the config."""
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(model=dict(backbone=dict(extra=EXTRA), head=dict(in_channels=8))))
    model = random_model(Config(cfg.to_dict()))
    torch.save(model.state_dict(), tmp_path / "model.pth")
    report = export_onnx(cfg, tmp_path / "model.pth", tmp_path / "model.onnx")
    assert report.keypoint_difference < 0.05 and report.decoder_difference < 0.05
    assert report.num_keypoints > 2 * report.num_skipped
    assert OnnxPose(tmp_path / "model.onnx").spec.flip_test


def refused(source, tmp_path, message, checkpoint=None, error=ValueError, edit=None, **options):
    """Export with a config edited by a function; expect an error, and the old file untouched."""
    cfg = Config(source.cfg.to_dict())
    if edit:
        edit(cfg)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"good")
    with pytest.raises(error, match=message):
        export_onnx(cfg, checkpoint or source.checkpoint, out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert out.read_bytes() == b"good"


def test_weights_that_do_not_fit_are_refused(trained, tmp_path):
    source = trained()
    weights = torch.load(source.checkpoint, weights_only=False)["state_dict"]
    (tmp_path / "w").mkdir()
    (tmp_path / "out").mkdir()
    cases = {
        "missing keys.*head.final_layer.bias": lambda k: k != "head.final_layer.bias",
        "missing keys.*guides.out": lambda k: "guides.out" not in k,
        "missing keys.*backbone.conv1.weight": lambda k: "backbone" not in k,
    }
    for number, (message, keep) in enumerate(cases.items()):
        path = tmp_path / "w" / f"{number}.pth"
        torch.save({k: v for k, v in weights.items() if keep(k)}, path)
        refused(source, tmp_path / "out", message, checkpoint=path)
    refused(trained(config=PLAIN), tmp_path / "out", "unexpected key.*guides", source.checkpoint)
    refused(source, tmp_path / "out", "absent.pth", "absent.pth", error=FileNotFoundError)


def test_the_history_of_the_loss_weighting_is_not_needed(trained, tmp_path):
    source = trained("plain")
    weights = torch.load(source.checkpoint, weights_only=False)["state_dict"]
    path = tmp_path / "weights.pth"
    fewer = {k: v for k, v in weights.items() if "loss_weighting" not in k}
    automatic = "head.segmentation_loss.auto_weight.log_ratio"  # of another loss_weight
    assert automatic not in weights
    for saved in (fewer, dict(weights, **{automatic: torch.zeros(())})):
        torch.save(saved, path)
        loaded = load_model(Config(source.cfg.to_dict()), path).state_dict()
        assert torch.equal(loaded["head.final_layer.weight"], weights["head.final_layer.weight"])


def report(tmp_path, **found) -> ExportReport:
    nothing = dict.fromkeys(("decoder_difference", "keypoint_difference", "median_difference"), 0.0)
    counts = dict(num_persons=1, num_keypoints=17, num_skipped=0)
    return ExportReport(tmp_path, **{"differences": {}, **nothing, **counts, **found})


def test_keypoints_that_differ_are_an_error(tmp_path):
    far = report(tmp_path, keypoint_difference=0.2)
    check_report(far, 1e-4, 0.2, rounded=False)
    check_report(far, 1e-4, 0.1, rounded=True)
    for limit in (0.1, None):
        with pytest.raises(RuntimeError, match=r"from MMPose's by 0\.2 px of the crop, more"):
            check_report(far, 1e-4, limit, rounded=False)
    with pytest.raises(RuntimeError, match="by nan px"):
        check_report(report(tmp_path, keypoint_difference=math.nan), 1e-4, 0.1, rounded=False)


def test_a_decoder_that_differs_is_an_error_whatever_is_rounded(tmp_path):
    for rounded in (False, True):
        with pytest.raises(RuntimeError, match=r"differ by 0\.1 px from .* the same heatmaps"):
            check_report(report(tmp_path, decoder_difference=0.1), 1e-4, None, rounded)


def test_differences_are_measured_by_the_largest_value(tmp_path):
    far = report(tmp_path, differences=dict(heatmaps=(0.25, 2.0)), median_difference=0.5)
    check_report(far, 0.125, None, rounded=False)
    check_report(far, 0.12, 0.5, rounded=True)
    with pytest.raises(RuntimeError, match=r"heatmaps .* by 0\.25 where they reach 2, .* 0\.12 of"):
        check_report(far, 0.12, None, rounded=False)
    with pytest.raises(RuntimeError, match=r"by 0\.5 px or more, allowed are 0\.4"):
        check_report(far, 0.12, 0.4, rounded=True)


def test_equal_maxima_and_flat_ones_are_not_well_determined():
    x, y = np.meshgrid(np.arange(24), np.arange(32))

    def peak(column, row):
        return np.exp(-((x - column) ** 2 + (y - row) ** 2) / 8).astype(np.float32)

    maps = np.zeros((1, 3, 32, 24), np.float32)
    maps[0, 0] = peak(10.3, 11.8)
    maps[0, 1] = peak(5, 20) + peak(15, 4)  # two of the same
    maps[0, 2, 14:18, 10:14] = 1
    for name in ("plain", "unbiased", "udp"):
        expected, _ = CODECS[name].decode(maps[0])
        sure = well_determined(CODECS[name], [maps], [1e-6], expected)
        assert sure.tolist() == [[True, False, False]], name
    maps[0, 0] = peak(10, 11.8)  # between equal neighbours: a quarter to the left, or the right
    expected, _ = CODECS["plain"].decode(maps[0])
    assert not well_determined(CODECS["plain"], [maps], [1e-6], expected)[0, 0]


def test_pictures_are_seen_whole_and_from_near():
    image = toy_sample(5, 0)[0]
    ((found, boxes),) = persons_in_pictures([image])
    height, width = image.shape[:2]
    near = [width / 4, height / 4, width * 3 / 4, height * 3 / 4]
    np.testing.assert_array_equal(boxes, [[0, 0, width, height], near])
    assert boxes.dtype == np.float32 and found is image


def test_files_are_compared_on_the_test_data_or_noise(trained, tmp_path):
    write_toy_people(tmp_path / "toy", num_train=0, num_val=9)
    cfg = Config(trained("plain").cfg.to_dict())
    noise = persons_to_compare(cfg)
    assert [image.dtype for image, _ in noise] == [np.uint8] * 4
    assert all(image.std() > 20 and boxes.shape == (2, 4) for image, boxes in noise)
    cfg.test_dataloader.dataset.data_root = str(tmp_path / "toy")
    persons = persons_to_compare(cfg)
    assert len({path for path, _ in persons}) == 8
    assert all(Path(path).is_file() and box.shape == (1, 4) for path, box in persons)
    Path(persons[0][0]).unlink()
    assert all(isinstance(image, np.ndarray) for image, _ in persons_to_compare(cfg))


def with_training_data(source, folder, count) -> Config:
    write_toy_people(folder, num_train=count, num_val=0)
    cfg = Config(source.cfg.to_dict())
    cfg.train_dataloader.dataset.data_root = str(folder)
    return cfg


def test_training_persons_are_drawn_without_repetition(trained, tmp_path):
    cfg = with_training_data(trained("plain"), tmp_path / "toy", 9)
    spec = describe(load_model(Config(cfg.to_dict()), trained("plain").checkpoint))
    truth = json.loads((tmp_path / "toy/annotations/person_keypoints_train.json").read_text())
    files = {path.name: path for path in (tmp_path / "toy").rglob("*.*g")}
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    expected = []
    for annotation in truth["annotations"]:
        x, y, w, h = annotation["bbox"]
        image = cv2.imread(str(files[names[annotation["image_id"]]]))
        expected.append(crop_persons(image, np.float32([[x, y, x + w, y + h]]), spec)[0])
    found = training_crops(cfg, 9, spec)
    assert sorted(crop.tobytes() for crop in found) == sorted(crop.tobytes() for crop in expected)
    some = training_crops(cfg, 4, spec)
    assert [crop.tobytes() for crop in some] == [crop.tobytes() for crop in found[:4]]
    floats = training_crops(cfg, 2, dataclasses.replace(spec, input_layout="NCHW"))
    np.testing.assert_array_equal(floats[1], some[1].transpose(0, 3, 1, 2))
    assert floats[1].dtype == np.float32
    with pytest.raises(ValueError, match="int8 needs 10 persons .* have 9"):
        training_crops(cfg, 10, spec)


@pytest.mark.parametrize("wrapper", ["RepeatDataset", "CombinedDataset"])
def test_wrapped_data_sets_calibrate_too(trained, tmp_path, wrapper):
    cfg = with_training_data(trained("plain"), tmp_path / "toy", 3)
    spec = describe(load_model(Config(cfg.to_dict()), trained("plain").checkpoint))
    inner = cfg.train_dataloader.dataset
    if wrapper == "RepeatDataset":
        wrapped = dict(type=wrapper, dataset=inner, times=2)
    else:
        coco = dict(from_file="configs/_base_/datasets/coco.py")
        wrapped = dict(
            type=wrapper, metainfo=coco, datasets=[dict(inner, pipeline=[])], pipeline=[]
        )
    expected = {crop.tobytes() for crop in training_crops(cfg, 3, spec)}
    cfg.train_dataloader.dataset = wrapped
    assert {crop.tobytes() for crop in training_crops(cfg, 3, spec)} <= expected


def change(**settings):
    return lambda cfg: cfg.merge_from_dict(settings)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("opset must be 13 or newer, got 12", dict(opset=12)),
        ("cannot export this model with opset 99", dict(opset=99)),
        ("int8 must be a number of persons to calibrate on, got -3", dict(int8=-3)),
        ("persons of the config's training data, which are not there", dict(int8=3)),
        ("it does not go with int8 or half", dict(fp16=True, half=True)),
        ("absent.png", dict(images=["absent.png"], error=FileNotFoundError)),
        ("heatmaps of the exported file differ", dict(tolerance=0, error=RuntimeError)),
        (
            "output_keypoint_indices",
            dict(edit=change(**{"model.test_cfg.output_keypoint_indices": [0]})),
        ),
        ("flip_mode 'offset'", dict(edit=change(**{"model.test_cfg.flip_mode": "offset"}))),
        (
            "only top-down models",
            dict(edit=change(**{"model.type": "BottomupPoseEstimator"})),
        ),
        (
            "codec UDPHeatmap .*combined.* cannot be exported",
            dict(
                edit=change(
                    **{
                        "model.head.decoder": dict(
                            _delete_=True,
                            type="UDPHeatmap",
                            heatmap_type="combined",
                            input_size=(96, 128),
                            heatmap_size=(24, 32),
                        )
                    }
                )
            ),
        ),
        (
            r"returns \[\(1, 17, 32, 24\)\] .* decodes \[\(1, 17, 64, 48\)\]",
            dict(edit=change(**{"model.head.decoder.heatmap_size": (48, 64)})),
        ),
        (
            r"crops of \(96, 128\), the codec expects \(192, 256\)",
            dict(edit=change(**{"model.head.decoder.input_size": (192, 256)})),
        ),
    ],
)
def test_what_cannot_be_exported_faithfully_is_refused(trained, tmp_path, message, options):
    refused(trained(), tmp_path, message, **options)


def test_a_wrapper_without_a_pipeline_does_not_say_how_to_crop(trained, tmp_path):
    def edit(cfg):
        inner = cfg.test_dataloader.dataset
        cfg.test_dataloader.dataset = dict(type="RepeatDataset", dataset=inner, times=2)

    refused(trained(), tmp_path, "a RepeatDataset, has no pipeline", edit=edit)


@pytest.mark.parametrize(
    "options",
    [dict(to_float32=True), dict(color_type="grayscale"), dict(imdecode_backend="pillow")],
)
def test_pictures_that_the_runtime_reads_otherwise_are_refused(trained, tmp_path, options):
    def edit(cfg):
        cfg.test_dataloader.dataset.pipeline[0].update(options)

    refused(trained(), tmp_path, "LoadImage is not as by default", edit=edit)


def test_an_unknown_transform_is_refused(trained, tmp_path):
    def edit(cfg):
        cfg.test_dataloader.dataset.pipeline.insert(1, dict(type="YOLOXHSVRandomAug"))

    refused(trained(), tmp_path, "pipeline is .*YOLOXHSVRandomAug", edit=edit)


SUPERVISION = (
    ROOT / "configs/sg_hrnet/lspet/td-hm_sghrnet-w16-supervision_1xb32-60e_lspet-128x96.py"
)


@pytest.mark.parametrize("config", [TOY, SUPERVISION], ids=["gated", "supervision"])
def test_weights_of_a_folded_model_are_refused(config, trained, tmp_path):
    source = trained("plain", config)
    (tmp_path / "w").mkdir()
    torch.save(fold_guides(source.model()).state_dict(), tmp_path / "w" / "folded.pth")
    (tmp_path / "out").mkdir()
    message = "of a folded model: export the checkpoint that it was folded from"
    refused(source, tmp_path / "out", message, checkpoint=tmp_path / "w" / "folded.pth")


@pytest.mark.slow
@pytest.mark.parametrize("options", [dict(half=True), dict(fp16=True)])
def test_half_the_room_and_nearly_the_same_heatmaps(trained, exported, tmp_path, options):
    source, plain = trained("plain"), exported("plain", guide_maps=True)
    path = tmp_path / "half.onnx"
    report = export_onnx(source.cfg, source.checkpoint, path, guide_maps=True, **options)
    assert path.stat().st_size < 0.7 * plain.stat().st_size
    for largest, value in report.differences.values():
        assert 0 < largest < 0.01 * value
    assert report.median_difference < 0.1
    assert OnnxPose(path).spec == OnnxPose(plain).spec


TWO_EXPORTERS = "dynamo" in inspect.signature(torch.onnx.export).parameters


@pytest.mark.skipif(not TWO_EXPORTERS, reason="this PyTorch has one exporter")
def test_the_newer_exporter_gives_the_same_heatmaps(trained, exported, tmp_path, crops):
    pytest.importorskip("onnxscript")
    path, model = tmp_path / "newer.onnx", trained("plain")
    export_onnx(Config(model.cfg.to_dict()), model.checkpoint, path, dynamo=True, opset=18)
    for count in (1, 5):
        found = run(path, crops[:count])
        expected = run(exported("plain"), crops[:count])
        np.testing.assert_allclose(found["keypoints"], expected["keypoints"], atol=1e-3)
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)


@pytest.mark.skipif(TWO_EXPORTERS, reason="this PyTorch has the newer exporter")
def test_an_exporter_that_there_is_not(trained, tmp_path):
    model = trained("plain")
    with pytest.raises(ValueError, match="has only one exporter: leave dynamo out"):
        export_onnx(Config(model.cfg.to_dict()), model.checkpoint, tmp_path / "x.onnx", dynamo=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_int8_keypoints_are_near_and_the_file_is_small(trained, exported, tmp_path):
    source = trained("plain")
    cfg = with_training_data(source, tmp_path / "toy", 40)
    path = tmp_path / "int8.onnx"
    report = export_onnx(cfg, source.checkpoint, path, int8=8, guide_maps=True)
    assert 0 <= report.median_difference < 2
    largest, value = report.differences["heatmaps"]
    assert 0 < largest < 0.2 * value
    plain = exported("plain", guide_maps=True)
    assert path.stat().st_size < 0.6 * plain.stat().st_size
    quantised = {t.name: t for t in onnx.load(path).graph.initializer}
    assert any(t.data_type == onnx.TensorProto.INT8 for t in quantised.values())
    assert OnnxPose(path).spec == OnnxPose(plain).spec
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 96, 3), dtype=np.uint8)
    again = onnx.load_model_from_string(quantize(plain.read_bytes(), [noise]))
    assert [o.name for o in again.graph.output] == ["keypoints", "scores", "guide_maps"]
    with pytest.raises(RuntimeError, match="half of the keypoints .* nothing is written"):
        export_onnx(cfg, source.checkpoint, path, int8=8, keypoint_tolerance=-1)
    with pytest.raises(ValueError, match="int8 needs 41 persons .* have 40"):
        export_onnx(cfg, source.checkpoint, path, int8=41)
