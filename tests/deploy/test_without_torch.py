# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The runtime in a Python that has neither PyTorch nor anything of OpenMMLab."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data

import sgpose
from sgpose.deploy import OnnxPose
from sgpose.page.models import shipped_models

PACKAGE = Path(sgpose.__file__).parent
BLOCK = """
import importlib.machinery, importlib.metadata as metadata, sys
find, version = importlib.machinery.PathFinder.find_spec, metadata.version
absent = lambda name: name.startswith("mm") or name.split(".")[0] in ("torch", "torchvision")
def find_spec(name, path=None, target=None):
    return None if absent(name) else find(name, path, target)
def installed(name):
    if absent(name):
        raise metadata.PackageNotFoundError(name)
    return version(name)
importlib.machinery.PathFinder.find_spec, metadata.version = find_spec, installed
"""
CODE = """
import json, sys
import sgpose
from sgpose.deploy import OnnxPose
poses = OnnxPose(sys.argv[1])(sys.argv[2], [[10, 20, 100, 150], [0, 0, 60, 90]])
foreign = [n for n in sys.modules if n.split(".")[0] in ("torch", "mmcv", "mmengine", "mmpose")]
errors = []
for use in ("fold_guides", "export_onnx"):
    try:
        getattr(sgpose.deploy, use)
    except ImportError as error:
        errors.append(str(error).splitlines()[0])
try:
    import sgpose.models
except ImportError as error:
    errors.append(str(error).splitlines()[0])
print(json.dumps(dict(keypoints=poses.keypoints.tolist(), foreign=foreign, errors=errors)))
"""


@pytest.fixture
def arguments(exported, picture, tmp_path) -> list[str]:
    image = tmp_path / "picture.png"
    cv2.imwrite(str(image), picture)
    return ["-c", CODE, str(exported("plain", guide_maps=True)), str(image)]


def check(python: list[str], arguments: list[str], path: Path) -> None:
    done = subprocess.run(
        [*python, *arguments],
        env={"PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = OnnxPose(arguments[2])(arguments[3], [[10, 20, 100, 150], [0, 0, 60, 90]])
    np.testing.assert_allclose(found["keypoints"], expected.keypoints, atol=1e-2)
    assert found["foreign"] == []
    assert found["errors"] == ["MMPose is not installed, for which sgpose is a plugin."] * 3


def test_the_runtime_runs_without_torch_and_mmpose(arguments, tmp_path):
    arguments[1] = BLOCK + CODE
    check([sys.executable], arguments, PACKAGE.parent)


def fresh_python(folder: Path, *packages: str, opencv: str = "opencv-python-headless") -> Path:
    """Return a Python that has these packages; ``folder / "packages"`` holds sgpose."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "numpy", opencv, *packages]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"no package index can be reached: {done.stderr[-200:]}")
    (folder / "packages").mkdir()
    (folder / "packages" / "sgpose").symlink_to(PACKAGE, target_is_directory=True)
    return python


@pytest.mark.slow
def test_the_runtime_runs_in_a_fresh_environment(arguments, tmp_path):
    python = fresh_python(tmp_path, "onnxruntime")
    check([str(python)], arguments, tmp_path / "packages")


WITH_OPENVINO = """
import json, sys
from sgpose.deploy import OnnxPose
options = dict(device_type="CPU")
if sys.argv[3] == "bf16":
    options["load_config"] = json.dumps(dict(CPU=dict(INFERENCE_PRECISION_HINT="bf16")))
pose = OnnxPose(sys.argv[1], providers=[("OpenVINOExecutionProvider", options)])
poses = pose(sys.argv[2], json.loads(sys.argv[4]))
print(json.dumps(dict(keypoints=poses.keypoints.tolist(), scores=poses.scores.tolist())))
"""


@pytest.mark.slow
def test_openvino_finds_the_same_keypoints(tmp_path):
    python = fresh_python(tmp_path, "onnxruntime-openvino")
    (onnx,), picture = shipped_models(), get_sample_data("grace_hopper.jpg", asfileobj=False)
    boxes = [[-50, 0, 560, 2000], [0, 0, 500, 900]]
    expected = OnnxPose(onnx)(str(picture), boxes)
    scores = {}
    for precision, pixels in (("f32", 0.2), ("bf16", 5)):
        done = subprocess.run(
            [python, "-c", WITH_OPENVINO, onnx, str(picture), precision, json.dumps(boxes)],
            env={"PYTHONPATH": str(tmp_path / "packages")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        found = {name: np.array(values) for name, values in json.loads(done.stdout).items()}
        sure = expected.scores > 0.4
        far = np.abs(found["keypoints"] - expected.keypoints)[sure]
        assert sure.sum() >= 6 and np.median(far) < pixels
        np.testing.assert_allclose(found["scores"][sure], expected.scores[sure], atol=0.05)
        scores[precision] = found["scores"]
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        assert np.abs(scores["bf16"] - scores["f32"]).max() > 1e-4
