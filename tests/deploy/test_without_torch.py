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

import sgpose
from sgpose.deploy import OnnxPose

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


@pytest.mark.slow
def test_the_runtime_runs_in_a_fresh_environment(arguments, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "onnxruntime",
        "numpy",
        "opencv-python-headless",
    ]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"no package index can be reached: {done.stderr[-200:]}")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "sgpose").symlink_to(PACKAGE, target_is_directory=True)
    check([str(python)], arguments, tmp_path / "packages")
