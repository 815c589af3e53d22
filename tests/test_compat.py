# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from importlib.metadata import version

import pytest

from sgpose._compat import UNKNOWN, check_stack, diagnose, installed_versions, missing

WORKING = {
    "torch": "2.1.2+cu121",
    "mmengine": "0.10.7",
    "mmcv": "2.1.0",
    "mmcv-lite": None,
    "mmcv-full": None,
    "mmdet": "3.3.0",
    "mmpose": "1.3.2",
}


def without(*names: str) -> dict:
    return {name: found for name, found in WORKING.items() if name not in names}


@pytest.mark.parametrize(
    "installed",
    [
        WORKING,
        {**without("mmdet"), "mmpose": "1.2.0"},
        {**WORKING, "mmpose": "1.2"},
        {**WORKING, "mmcv": "2.2.0", "mmcv-lite": "2.1.0"},
        {**WORKING, "mmcv": "2.0.0rc4", "mmengine": "0.7.1"},
        {**WORKING, "mmpose": UNKNOWN, "mmcv": UNKNOWN, "mmengine": UNKNOWN},
    ],
)
def test_diagnose_accepts(installed):
    assert diagnose(installed) is None


@pytest.mark.parametrize(
    ("installed", "wrong", "remedy"),
    [
        ({}, "MMPose is not installed", '"mmpose>=1.3,<2"'),
        ({"torch": "2.1.2"}, "MMPose is not installed", "pip install -U openmim"),
        (without("torch"), "without PyTorch", "Install PyTorch"),
        ({**WORKING, "mmpose": "0.29.0"}, "mmpose 0.29.0", '"mmpose>=1.3,<2"'),
        ({**WORKING, "mmpose": "1.1.0"}, "mmpose>=1.2,<2", "mim install"),
        ({**WORKING, "mmpose": "2.0.0"}, "mmpose 2.0.0", "mim install"),
        (
            {**without("mmcv"), "mmpose": "0.29.0", "mmcv-full": "1.7.1"},
            "mmpose 0.29.0",
            '"mmpose>=1.3,<2"',
        ),
        ({**WORKING, "mmengine": None}, "without mmengine", '"mmpose>=1.3,<2"'),
        ({**WORKING, "mmengine": "0.6.0"}, "mmengine 0.6.0", "mim install"),
        ({**WORKING, "mmcv": None}, "without mmcv", '"mmcv>=2.0.0,<2.2"'),
        ({**WORKING, "mmcv": "1.7.2"}, "mmcv 1.7.2", "mim install"),
        ({**WORKING, "mmcv": "2.10.0"}, "mmcv 2.10.0", "mim install"),
        ({**without("mmcv"), "mmcv-lite": "2.1.0"}, "mmcv-lite 2.1.0", "pip uninstall -y mmcv"),
        ({**WORKING, "mmcv": UNKNOWN, "mmcv-lite": "2.1.0"}, "mmcv-lite", "pip uninstall -y mmcv"),
        ({**without("mmcv"), "mmcv-full": "1.7.1"}, "mmcv-full 1.7.1", "pip uninstall -y mmcv"),
        (without("mmdet"), "mmdet is not installed", 'mim install "mmdet>=3.1,<3.4"'),
    ],
)
def test_diagnose_says_what_is_wrong_and_how_to_mend_it(installed, wrong, remedy):
    message = diagnose(installed)
    problem, command = message.split("\n")
    assert wrong in problem
    assert remedy in command


def test_only_an_absent_mmpose_counts_as_missing():
    assert missing({**WORKING, "mmpose": None}) == diagnose({**WORKING, "mmpose": None})
    assert missing({"mmpose": "0.29.0"}) is None


def test_installed_versions_are_those_of_the_metadata():
    found = installed_versions()
    for name in ("torch", "mmengine", "mmcv", "mmdet", "mmpose"):
        assert found[name] == version(name)
    assert found["mmcv-lite"] is None


def test_this_stack_is_accepted():
    check_stack()
    assert diagnose(installed_versions()) is None


def fail_to_import(monkeypatch, module: str, error: Exception) -> None:
    original = importlib.import_module

    def import_module(name, *args):
        if name == module:
            raise error
        return original(name, *args)

    monkeypatch.setattr(importlib, "import_module", import_module)
    check_stack.cache_clear()


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (
            "mmcv.ops",
            ImportError("_ext.so: undefined symbol: _ZNK3c104Type"),
            r"not compiled for torch .*undefined symbol(.|\n)*pip uninstall -y mmcv",
        ),
        ("mmcv.ops", ModuleNotFoundError("No module named 'mmcv._ext'"), "are missing"),
        (
            "mmpose.models",
            AssertionError("MMCV==2.2.0 is used but incompatible."),
            r"mmdet .*MMCV==2.2.0 is used(.|\n)*mim install",
        ),
        (
            "mmpose.models",
            ValueError("numpy.dtype size changed, may indicate binary incompatibility"),
            "numpy.dtype size changed.*\n.*mim install",
        ),
    ],
)
def test_a_stack_that_does_not_import_is_one_import_error(monkeypatch, module, error, message):
    fail_to_import(monkeypatch, module, error)
    with pytest.raises(ImportError, match=message) as caught:
        check_stack()
    assert caught.value.__cause__ is error
    check_stack.cache_clear()


def run_python(
    tmp_path, distributions: dict, code: str, modules: dict | None = None, path: str = ""
) -> subprocess.CompletedProcess:
    """Runs code with sgpose in a Python that has only the given (empty) distributions.

    Args:
        distributions: Name -> version, None for one whose metadata lack it.
        code: What to run.
        modules: Name -> source of modules beside them.
        path: More to put on the path.
    """
    for name, found in distributions.items():
        folder = tmp_path / f"{name.replace('-', '_')}-{found or 0}.dist-info"
        folder.mkdir()
        version_line = f"Version: {found}\n" if found else ""
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n{version_line}")
    for name, source in (modules or {}).items():
        (tmp_path / f"{name}.py").write_text(source)
    package = importlib.import_module("sgpose").__path__[0]
    (tmp_path / "sgpose").symlink_to(package, target_is_directory=True)
    return subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}{path}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_mmpose_sgpose_imports_but_its_models_do_not(tmp_path):
    code = """
        import sgpose
        print(sgpose.__version__)
        for use in ("sgpose.models", "__import__('sgpose.models')", "__import__('sgpose.codecs')"):
            try:
                eval(use)
            except ImportError as error:
                print(error)
    """
    done = run_python(tmp_path, {}, code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("MMPose is not installed") == 3
    assert done.stderr == ""


SOUND = {"torch": "2.1.2", "mmengine": "0.10.7", "mmcv": "2.1.0", "mmdet": "3.3.0"}
BROKEN = {
    "an old one": (
        {"torch": "1.13.1", "mmpose": "0.29.0", "mmcv-full": "1.7.1"},
        {},
        "mmpose 0.29.0 is installed",
    ),
    "mmcv without operators": (
        {"torch": "2.1.2", "mmpose": "1.3.2", "mmengine": "0.10.7", "mmcv-lite": "2.1.0"},
        {},
        "mmcv-lite 2.1.0 is installed",
    ),
    "a torch that does not load": (
        {**SOUND, "mmpose": "1.3.2"},
        {"torch": "raise OSError('libcudart.so: cannot open shared object file')"},
        "PyTorch 2.1.2 cannot be imported (libcudart.so",
    ),
    "half of a torch": (
        {**SOUND, "mmpose": "1.3.2"},
        {},
        "PyTorch 2.1.2 cannot be imported (No module named 'torch')",
    ),
    "metadata without a version": (
        {**SOUND, "mmpose": "1.3.2", "mmcv": None},
        {"torch": "", "mmcv": "raise AttributeError('half of it')"},
        "The compiled operators of mmcv of unknown version are missing",
    ),
}
USE_ALL = """
    import warnings
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        import sgpose
    print(len(told), told[0].message)
    try:
        from sgpose.deploy import OnnxPose
        import sgpose.page.__main__
    except ImportError as error:
        assert "sgpose" not in str(error) and "numpy" in str(error), error
    for use in ("models", "codecs", "deploy.fold_guides", "deploy.export_onnx"):
        try:
            eval(f"sgpose.{use}")
        except ImportError as error:
            print("refused", error)
"""


@pytest.mark.parametrize(("distributions", "modules", "wrong"), BROKEN.values(), ids=BROKEN)
def test_a_broken_mmpose_is_told_and_refused_where_it_is_needed(
    tmp_path, distributions, modules, wrong
):
    done = run_python(tmp_path, distributions, USE_ALL, modules)
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.split("refused ")
    assert first.startswith(f"1 sgpose registers nothing in MMPose: {wrong}")
    assert "mim install" in first
    assert len(others) == 4 and all(other.startswith(wrong) for other in others)


def test_the_runtime_runs_beside_a_broken_mmpose(tmp_path):
    code = """
        import warnings
        warnings.simplefilter("ignore")
        import sgpose.page.__main__
        from sgpose.page.models import shipped_models
        from sgpose.deploy import OnnxPose
        import numpy as np
        poses = OnnxPose(shipped_models()[0])(np.zeros((128, 96, 3), np.uint8))
        print(poses.keypoints.shape)
    """
    pytest.importorskip("onnxruntime")
    packages = f":{importlib.import_module('numpy').__path__[0]}/.."
    # this environment's packages, but a torch that does not load and an MMPose that is too old
    distributions, modules = {"mmpose": "0.29.0"}, {"torch": "raise OSError('broken')"}
    done = run_python(tmp_path, distributions, code, modules, packages)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(1, ")
