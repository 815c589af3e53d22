# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The models behind the page, beside what they call."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import inference_topdown, init_model

from sgpose.datasets import toy_sample
from sgpose.page.idle import TimedProtocol
from sgpose.page.models import load_model, shipped_models

CONFIGS = Path(__file__).resolve().parents[2] / "configs/sg_hrnet/toy"
BOXES = np.array([[5, 7, 90, 120], [20, 3, 80, 110]])


@pytest.fixture
def picture() -> np.ndarray:
    return toy_sample(seed=0, index=0)[0]


@pytest.fixture
def saved(small_extra, tmp_path):
    """Return a function that writes a small config and its checkpoint, and gives its model."""

    def save(name):
        cfg = Config.fromfile(CONFIGS / name)
        cfg.model.backbone.extra = small_extra
        cfg.model.head.in_channels = 8
        config, checkpoint = tmp_path / "own.py", tmp_path / "checkpoint.pth"
        config.write_text(f"globals().update({cfg.to_dict()!r})\n")
        model = init_model(cfg, device="cpu")
        torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
        return f"{config},{checkpoint}", model

    return save


def concat(samples, name):
    return np.concatenate([sample.pred_instances[name] for sample in samples])


def test_a_checkpoint_finds_what_mmpose_finds_and_the_maps(saved, picture, monkeypatch):
    monkeypatch.setattr("mmengine.device.get_device", lambda: "cpu")
    source, model = saved("td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py")
    name, pose_model = load_model(source)
    assert name == "own"
    assert pose_model.keypoint_names[:2] == ["nose", "left_eye"]
    assert len(pose_model.keypoint_names) == 17 and (15, 13) in pose_model.skeleton_links
    poses = pose_model(picture, BOXES)
    expected = inference_topdown(model, picture, BOXES)
    np.testing.assert_allclose(poses.keypoints, concat(expected, "keypoints"), atol=1e-4)
    np.testing.assert_allclose(poses.scores, concat(expected, "keypoint_scores"), atol=1e-6)
    assert poses.guide_maps.shape == (2, 4, 32, 24)
    # the crops: boxes with a quarter more room, made as narrow as the network's input
    center, size = (BOXES[:, :2] + BOXES[:, 2:]) / 2, 1.25 * (BOXES[:, 2:] - BOXES[:, :2])
    height = np.maximum(size[:, 1], size[:, 0] * 128 / 96)
    size = np.stack([height * 96 / 128, height], axis=1)
    corners = np.hstack([center - size / 2, center + size / 2])
    np.testing.assert_allclose(poses.crops, corners, atol=1e-3)


def test_a_checkpoint_without_guides_has_no_maps(saved, picture):
    source, model = saved("td-hm_hrnet-w16_1xb16-25e_toy-128x96.py")
    poses = load_model(source)[1](picture, BOXES)
    expected = inference_topdown(model, picture, BOXES)
    np.testing.assert_allclose(poses.keypoints, concat(expected, "keypoints"), atol=1e-4)
    assert poses.guide_maps is None and poses.crops is None


def test_the_shipped_model_finds_what_the_runtime_finds(picture):
    pytest.importorskip("onnxruntime")
    from sgpose.deploy import OnnxPose

    (source,) = shipped_models()
    name, pose_model = load_model(source)
    pose = OnnxPose(source)
    assert name == Path(source).stem
    assert pose_model.keypoint_names == list(pose.spec.keypoint_names)
    assert pose_model.skeleton_links == list(pose.spec.skeleton)
    poses = pose_model(picture, BOXES)
    guided = "guide_maps" in pose.spec.outputs
    expected = pose(picture, BOXES, guide_maps=guided)
    if guided:
        np.testing.assert_array_equal(poses.guide_maps, expected.guide_maps)
        np.testing.assert_array_equal(poses.crops, expected.crops)
    np.testing.assert_array_equal(poses.keypoints, expected.keypoints)
    np.testing.assert_array_equal(poses.scores, expected.scores)


class FakeServer:
    """Notes what uvicorn is given, and ends at once."""

    served: list = []

    def __init__(self, config) -> None:
        self.config = config

    def run(self, sockets) -> None:
        FakeServer.served.append((self.config, sockets[0].getsockname()))
        sockets[0].close()


def test_the_page_listens_to_this_machine_alone(monkeypatch, capsys):
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    pytest.importorskip("onnxruntime")
    from sgpose.page.__main__ import main

    monkeypatch.setattr(uvicorn, "Server", FakeServer)
    FakeServer.served.clear()
    main(["--port", "0"])
    ((config, (host, port)),) = FakeServer.served
    assert host == "127.0.0.1" and config.limit_concurrency == 64
    assert config.http is TimedProtocol
    assert f"Open http://127.0.0.1:{port} " in capsys.readouterr().out


def test_a_page_that_cannot_start_says_why(monkeypatch):
    pytest.importorskip("starlette")
    pytest.importorskip("onnxruntime")
    from sgpose.page.__main__ import main

    (source,) = shipped_models()
    with pytest.raises(SystemExit, match="two models have the same file name"):
        main(["--model", source, "--model", source])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit, match=f"port {port}: .*--port 0 takes a free one"):
            main(["--port", port])
    monkeypatch.setattr("sgpose.page.models.shipped_models", lambda: [])
    with pytest.raises(SystemExit, match="no models come with this sgpose"):
        main([])
