# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""``python -m sgpose.page`` as a process of its own."""

import io
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import get_cachedir
from mmengine.config import Config
from mmpose.apis import inference_topdown, init_model
from PIL import Image

from sgpose.datasets import toy_sample

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "configs" / "sg_hrnet" / "toy" / "td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
PAGE = [sys.executable, "-m", "sgpose.page"]


@contextmanager
def page(home: Path, *models: str):
    """Run the page with an empty home folder and give its port."""
    env = dict(os.environ, HOME=str(home), OMP_NUM_THREADS="1", MPLCONFIGDIR=get_cachedir())
    env.pop("ORT_DISABLE_TELEMETRY", None)
    options = [word for model in models for word in ("--model", str(model))]
    process = subprocess.Popen(
        [*PAGE, "--port", "0", *options], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        lines = iter(process.stdout.readline, "")
        address = next(line for line in lines if "http://127.0.0.1:" in line)
        yield int(address.split("127.0.0.1:")[1].split()[0])
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.slow
def test_an_exported_model_and_a_checkpoint_find_the_same(small_extra, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    pytest.importorskip("starlette")
    from sgpose.deploy import export_onnx

    cfg = Config.fromfile(TOY)
    cfg.model.backbone.extra = small_extra
    cfg.model.head.in_channels = 8
    config, checkpoint = tmp_path / "config.py", tmp_path / "checkpoint.pth"
    config.write_text(f"globals().update({cfg.to_dict()!r})\n")
    model = init_model(cfg, device="cpu")
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    export_onnx(cfg, str(checkpoint), tmp_path / "exported.onnx", guide_maps=True)
    image, _ = toy_sample(seed=0, index=0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])).save(file, "PNG")
    boxes = np.array([[5, 7, 90, 120], [20, 3, 80, 110]])
    home = tmp_path / "home"
    home.mkdir()

    with page(home, tmp_path / "exported.onnx", f"{config},{checkpoint}") as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        found = {}
        for name in ("exported", "config"):
            path = f"/pose?model={name}&boxes=5,7,90,120;20,3,80,110"
            connection.request("POST", path, file.getvalue(), {"Content-Type": "image/png"})
            found[name] = json.loads(connection.getresponse().read())

    expected = [s.pred_instances for s in inference_topdown(model, image, boxes)]
    for answer in found.values():
        for person, pose in zip(answer["predictions"], expected):
            np.testing.assert_allclose(person["keypoints"], pose.keypoints[0], atol=0.06)
            np.testing.assert_allclose(
                person["keypoint_scores"], pose.keypoint_scores[0], atol=1e-3
            )
            assert np.array(person["attention"]["maps"]).shape == (4, 32, 24)
        assert answer["keypoint_names"][0] == "nose"
    for ours, theirs in zip(*(answer["predictions"] for answer in found.values())):
        for key in ("bbox", "maps"):
            np.testing.assert_allclose(ours["attention"][key], theirs["attention"][key], atol=0.02)
    # no record of ONNX Runtime's telemetry
    assert [path for path in home.rglob("*") if "onnxruntime" in str(path)] == []


@pytest.mark.parametrize(
    "options, message",
    [
        (["--model", "none.onnx"], "there is no file none.onnx"),
        (["--model", __file__], "give FILE.onnx or CONFIG.py,CHECKPOINT.pth"),
    ],
)
def test_what_cannot_be_served_is_said(options, message, capsys):
    pytest.importorskip("starlette")
    from sgpose.page.__main__ import main

    with pytest.raises(SystemExit, match=message):
        main(options)
