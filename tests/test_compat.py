# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
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


def run_python(tmp_path, distributions: dict, code: str) -> subprocess.CompletedProcess:
    """Runs code with sgpose in a Python that has only the given (empty) distributions."""
    for name, found in distributions.items():
        folder = tmp_path / f"{name.replace('-', '_')}-{found}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {found}\n")
    package = importlib.import_module("sgpose").__path__[0]
    (tmp_path / "sgpose").symlink_to(package, target_is_directory=True)
    return subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
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


@pytest.mark.parametrize(
    ("distributions", "wrong"),
    [
        ({"torch": "1.13.1", "mmpose": "0.29.0", "mmcv-full": "1.7.1"}, "mmpose 0.29.0"),
        (
            {"torch": "2.1.2", "mmpose": "1.3.2", "mmengine": "0.10.7", "mmcv-lite": "2.1.0"},
            "mmcv-lite 2.1.0",
        ),
    ],
)
def test_a_broken_mmpose_fails_at_import_with_the_remedy(tmp_path, distributions, wrong):
    done = run_python(tmp_path, distributions, "import sgpose")
    assert done.returncode == 1
    assert f"ImportError: {wrong} is installed" in done.stderr
    assert "mim install" in done.stderr
