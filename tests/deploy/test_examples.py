# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The examples in other languages find what OnnxPose finds."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_without_torch import fresh_python

from sgpose.deploy import OnnxPose
from sgpose.page.models import shipped_models

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BOXES = [[10.0, 20.0, 100.0, 150.0], [-30.5, -10.25, 60.0, 90.0]]
TEXTS = [",".join(map(str, box)) for box in BOXES]
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The JavaScript example with its packages, the shipped model as pose.onnx and pose.json."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Node")
    folder = tmp_path_factory.mktemp("javascript")
    shutil.copytree(EXAMPLES / "javascript", folder, dirs_exist_ok=True, symlinks=True)
    if not (folder / "node_modules").exists():
        env = dict(os.environ, ONNXRUNTIME_NODE_INSTALL="skip")
        command = ["npm", "install", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no npm registry can be reached: {done.stderr[-200:]}")
    (onnx,) = shipped_models()
    shutil.copy(onnx, folder / "pose.onnx")
    shutil.copy(Path(onnx).with_suffix(".json"), folder / "pose.json")
    return folder


def check(found: list[dict], model: Path | str, image: np.ndarray, boxes=BOXES) -> None:
    expected = OnnxPose(model)(image, boxes)
    near = 0.01 if int(cv2.__version__.split(".")[0]) < 5 else 0.5  # OpenCV 5 warps otherwise
    for pose, box, keypoints, scores in zip(found, expected.boxes, *expected, strict=True):
        assert pose["box"] == list(box)
        apart = np.abs(np.array(pose["keypoints"]) - keypoints)
        assert np.quantile(apart, 1 if near == 0.01 else 0.9) < near
        np.testing.assert_allclose(pose["scores"], scores, atol=1e-4 if near == 0.01 else 0.05)


@pytest.mark.slow
def test_node_finds_the_same_poses_and_draws_them(folder, picture):
    cv2.imwrite(str(folder / "picture.png"), picture)
    command = ["node", "run.mjs", "pose.onnx", "picture.png"]
    done = subprocess.run(
        [*command, *TEXTS, "--out", "drawn.png"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), folder / "pose.onnx", picture)
    drawn = cv2.imread(str(folder / "drawn.png"))
    assert drawn.shape == picture.shape and (drawn != picture).any()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    height, width = picture.shape[:2]
    check(json.loads(done.stdout), folder / "pose.onnx", picture, [[0, 0, width, height]])


@pytest.mark.slow
def test_node_ignores_colour_profiles_as_opencv_does(folder):
    photograph = EXAMPLES.parent / "docs/images/000000000785.jpg"  # Adobe RGB
    box = [281.0, 45.0, 500.0, 392.0]
    command = ["node", "run.mjs", "pose.onnx", str(photograph), ",".join(map(str, box))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    check(json.loads(done.stdout), folder / "pose.onnx", cv2.imread(str(photograph)), [box])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
def test_a_page_finds_the_same_poses(folder, picture):
    sync_api = pytest.importorskip("playwright.sync_api")
    cv2.imwrite(str(folder / "picture.png"), picture)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_api.sync_playwright() as playwright:
            options = dict(executable_path=CHROMIUM, chromium_sandbox=False)
            with playwright.chromium.launch(**options) as browser:
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
                page.set_input_files("#files", [folder / "pose.onnx", folder / "pose.json"])
                page.set_input_files("#picture", folder / "picture.png")
                page.fill("#boxes", "; ".join(TEXTS))
                page.click("#run")
                page.wait_for_function("document.getElementById('result').textContent")
                found = json.loads(page.inner_text("#result"))
    finally:
        server.shutdown()
    check(found, folder / "pose.onnx", picture)


COMPARE = """
import json, sys
from sgpose.deploy import OnnxPose
poses = OnnxPose(sys.argv[1])(sys.argv[2], json.loads(sys.argv[3]))
print(json.dumps(poses.keypoints.tolist()))
"""


@pytest.mark.slow
def test_opencv_5_finds_the_same_poses(exported, picture, tmp_path):
    python = fresh_python(tmp_path, "onnxruntime", "loky", opencv="opencv-python-headless>=5,<6")
    model, image = str(exported("plain", float_input=True)), str(tmp_path / "picture.png")
    cv2.imwrite(image, picture)
    script = [EXAMPLES / "opencv" / "run.py", model, image, f"--boxes={'; '.join(TEXTS)}"]
    out = ["--out", str(tmp_path / "drawn.png")]
    env = {"PYTHONPATH": str(tmp_path / "packages")}
    given = [["-c", COMPARE, model, image, json.dumps(BOXES)], [*script, *out]]
    done = [
        subprocess.run([python, *words], env=env, capture_output=True, text=True) for words in given
    ]
    assert [one.returncode for one in done] == [0, 0], done[0].stderr + done[1].stderr
    expected, found = (json.loads(one.stdout) for one in done)
    np.testing.assert_allclose([pose["keypoints"] for pose in found], expected, atol=0.01)
    drawn = cv2.imread(str(tmp_path / "drawn.png"))
    assert drawn.shape == picture.shape and (drawn != picture).any()


def test_opencv_s_example_says_which_file_it_needs(exported):
    command = [sys.executable, EXAMPLES / "opencv" / "run.py", exported("plain"), "picture.png"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "takes NHWC: export it with --float-input" in done.stderr
