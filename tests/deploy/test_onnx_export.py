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
from deployed_models import PLAIN
from mmengine.config import Config
from mmpose.codecs import MSRAHeatmap, SimCCLabel

from sgpose.datasets import toy_sample, write_toy_people
from sgpose.deploy import OnnxPose, export_onnx
from sgpose.deploy.onnx_export import (
    ExportReport,
    check_differences,
    check_keypoints,
    check_median,
    decode_quarter_offset,
    decode_simcc,
    load_model,
    toy_persons,
    training_persons,
)
from sgpose.deploy.pose_spec import METADATA_KEY, PoseSpec


def run(path, crops) -> dict:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"crops": crops})))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 128, 96, 3), dtype=np.uint8)


def test_the_graph_returns_heatmaps_and_maps_for_any_number_of_persons(trained, exported, crops):
    path = exported("plain", guide_maps=True)
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
    path = exported("unbiased", keypoint_tolerance=math.inf)
    (entry,) = onnx.load(path).metadata_props
    assert entry.key == METADATA_KEY
    spec = PoseSpec.from_json(entry.value)
    assert spec.to_json() == entry.value
    assert spec.input_size == (96, 128) and spec.padding == 1.25 and not spec.use_udp
    assert spec.mean == pytest.approx((123.675, 116.28, 103.53)) and spec.bgr_to_rgb
    assert spec.codec["type"] == "MSRAHeatmap" and spec.codec["unbiased"]
    assert spec.codec["blur_kernel_size"] == 11
    assert spec.flip_test and spec.shift_heatmap and not spec.flip_test_in_graph
    assert spec.keypoint_names[:3] == ("nose", "left_eye", "right_eye")
    assert spec.flip_indices[:3] == (0, 2, 1)
    assert (15, 13) in spec.skeleton
    assert not list(path.parent.glob(".*"))  # nothing is left over


@pytest.mark.parametrize("codec", ["plain", "simcc"])
def test_keypoints_can_be_decoded_in_the_graph(exported, crops, codec):
    decoded = run(exported(codec, decode=True), crops)
    raw = run(exported(codec, guide_maps=True), crops)
    if codec == "simcc":
        codec = SimCCLabel(input_size=(96, 128))
        expected, scores = codec.decode(raw["simcc_x"], raw["simcc_y"])
    else:
        codec = MSRAHeatmap(input_size=(96, 128), heatmap_size=(24, 32), sigma=2)
        expected, scores = map(np.concatenate, zip(*map(codec.decode, raw["heatmaps"])))
    np.testing.assert_allclose(decoded["keypoints"], expected, atol=1e-3)
    np.testing.assert_allclose(decoded["scores"], scores, atol=1e-5)


def test_quarter_offsets_are_mmposes_at_borders_and_for_negative_maps():
    heatmaps = np.random.default_rng(1).normal(0, 1, (300, 2, 5, 4)).astype(np.float32)
    heatmaps[::7] -= 9
    codec = MSRAHeatmap(input_size=(16, 20), heatmap_size=(4, 5), sigma=2)
    found, scores = decode_quarter_offset(torch.from_numpy(heatmaps), (16, 20))
    expected, expected_scores = map(np.concatenate, zip(*map(codec.decode, heatmaps)))
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(scores, expected_scores)


def test_simcc_without_positive_values_is_mmposes():
    x, y = -torch.ones(1, 2, 8), torch.rand(1, 2, 6)
    found, scores = decode_simcc(x, y, 2.0)
    expected, expected_scores = SimCCLabel(input_size=(4, 3)).decode(x.numpy(), y.numpy())
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(scores, expected_scores)


def test_a_plain_network_can_be_exported(trained, tmp_path):
    source = trained("plain", config=PLAIN)
    report = export_onnx(Config(source.cfg.to_dict()), source.checkpoint, tmp_path / "a.onnx")
    assert set(report.differences) == {"heatmaps"}
    assert report.keypoint_difference < 0.05 and report.num_persons == 8
    with pytest.raises(ValueError, match="HRNet has no guides"):
        export_onnx(
            Config(source.cfg.to_dict()), source.checkpoint, tmp_path / "b.onnx", guide_maps=True
        )


def test_the_pictures_to_compare_on_are_those_given(trained, tmp_path):
    source = trained("plain")
    cv2.imwrite(str(tmp_path / "a.png"), toy_sample(5, 0)[0])
    cfg = Config(source.cfg.to_dict())
    del cfg.model.test_cfg["shift_heatmap"]
    out = tmp_path / "a.onnx"
    report = export_onnx(cfg, source.checkpoint, out, images=[tmp_path / "a.png"])
    assert report.num_persons == 2
    assert not OnnxPose(out).spec.shift_heatmap
    with pytest.raises(RuntimeError, match="keypoints of the exported file differ"):
        export_onnx(cfg, source.checkpoint, out, keypoint_tolerance=-1.0)


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
        "no weights of SGHRNet": lambda k: "backbone" not in k,
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
    torch.save({k: v for k, v in weights.items() if "loss_weighting" not in k}, path)
    loaded = load_model(Config(source.cfg.to_dict()), path).state_dict()
    assert torch.equal(loaded["head.final_layer.weight"], weights["head.final_layer.weight"])


def test_keypoints_that_differ_are_an_error(tmp_path):
    report = ExportReport(tmp_path, {}, keypoint_difference=0.2, median_difference=0, num_persons=1)
    check_keypoints(report, 0.2)
    with pytest.raises(RuntimeError, match=r"differ from MMPose's by 0\.2 px, more than 0\.1"):
        check_keypoints(report, 0.1)
    with pytest.raises(RuntimeError, match="by nan px"):
        check_keypoints(dataclasses.replace(report, keypoint_difference=math.nan), 0.1)


def test_differences_are_measured_by_the_largest_value(tmp_path):
    report = ExportReport(tmp_path, dict(heatmaps=(0.25, 2.0)), 0.0, 0.5, num_persons=1)
    check_differences(report, 0.125)
    check_median(report, 0.5)
    with pytest.raises(RuntimeError, match=r"heatmaps .* by 0\.25 where they reach 2, .* 0\.12 of"):
        check_differences(report, 0.12)
    with pytest.raises(RuntimeError, match=r"by 0\.5 px or more, allowed are 0\.4"):
        check_median(report, 0.4)


def test_toy_persons_are_seen_whole_and_from_near():
    persons = toy_persons()
    assert len(persons) == 4
    for image, boxes in persons:
        height, width = image.shape[:2]
        near = [width / 4, height / 4, width * 3 / 4, height * 3 / 4]
        np.testing.assert_array_equal(boxes, [[0, 0, width, height], near])
        assert boxes.dtype == np.float32


def test_training_persons_are_drawn_without_repetition(trained, tmp_path):
    write_toy_people(tmp_path / "toy", num_train=9, num_val=0)
    cfg = Config(trained("plain").cfg.to_dict())
    cfg.train_dataloader.dataset.data_root = str(tmp_path / "toy")
    truth = json.loads((tmp_path / "toy/annotations/person_keypoints_train.json").read_text())
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    expected = {}
    for annotation in truth["annotations"]:
        x, y, w, h = annotation["bbox"]
        expected[names[annotation["image_id"]]] = [x, y, x + w, y + h]
    found = {Path(image).name: box for image, box in training_persons(cfg, 9)}
    assert found.keys() == expected.keys()
    for name, box in found.items():
        assert box.shape == (1, 4)
        np.testing.assert_allclose(box[0], expected[name], atol=0.01)
    some = [image for image, _ in training_persons(cfg, 4)]
    assert len(set(some)) == 4
    assert some == [image for image, _ in training_persons(cfg, 4)]
    with pytest.raises(ValueError, match="int8 needs 10 persons .* have 9"):
        training_persons(cfg, 10)


def change(**settings):
    return lambda cfg: cfg.merge_from_dict(settings)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("opset must be 12 or newer, got 11", dict(opset=11)),
        ("cannot export this model with opset 99", dict(opset=99)),
        ("refines keypoints with a blur", dict(decode=True)),
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


def test_half_the_room_and_nearly_the_same_heatmaps(trained, exported, tmp_path):
    source, plain = trained("plain"), exported("plain", guide_maps=True)
    path = tmp_path / "half.onnx"
    report = export_onnx(source.cfg, source.checkpoint, path, half=True, guide_maps=True)
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
        found = run(path, crops[:count])["heatmaps"]
        expected = run(exported("plain"), crops[:count])["heatmaps"]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.skipif(TWO_EXPORTERS, reason="this PyTorch has the newer exporter")
def test_an_exporter_that_there_is_not(trained, tmp_path):
    model = trained("plain")
    with pytest.raises(ValueError, match="has only one exporter: leave dynamo out"):
        export_onnx(Config(model.cfg.to_dict()), model.checkpoint, tmp_path / "x.onnx", dynamo=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_int8_keypoints_are_near_and_the_file_is_small(trained, exported, tmp_path):
    source = trained("plain")
    write_toy_people(tmp_path / "toy", num_train=40, num_val=0)
    cfg = Config(source.cfg.to_dict())
    cfg.train_dataloader.dataset.data_root = str(tmp_path / "toy")
    path = tmp_path / "int8.onnx"
    report = export_onnx(cfg, source.checkpoint, path, int8=8, guide_maps=True)
    assert report.num_persons == 32
    assert 0 <= report.median_difference < 2
    largest, value = report.differences["heatmaps"]
    assert 0 < largest < 0.2 * value
    plain = exported("plain", guide_maps=True)
    assert path.stat().st_size < 0.6 * plain.stat().st_size
    quantised = {t.name: t for t in onnx.load(path).graph.initializer}
    assert any(t.data_type == onnx.TensorProto.INT8 for t in quantised.values())
    assert OnnxPose(path).spec == OnnxPose(plain).spec
    with pytest.raises(RuntimeError, match="half of the keypoints .* nothing is written"):
        export_onnx(cfg, source.checkpoint, path, int8=8, keypoint_tolerance=-1)
    with pytest.raises(ValueError, match="int8 needs 132 persons .* have 40"):
        export_onnx(cfg, source.checkpoint, path, int8=100)
