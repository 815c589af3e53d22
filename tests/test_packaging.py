# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import sgpose

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = "docs/images/000000000785.jpg"  # the page's
NEEDED_TO_BUILD = ("LICENSE", "MANIFEST.in", "README.md", "model-index.yml", "setup.py", EXAMPLE)
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))


def pip_wheel(source: Path, folder: Path) -> set[str]:
    """Names in the wheel of sgpose that pip builds from a folder or a source distribution."""
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*pip, "--wheel-dir", folder, source], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("sgpose-*.whl")
    return set(ZipFile(wheel).namelist())


def files_under(folder: str, root: Path = ROOT) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".mim" not in path.parts
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of what is needed to build, with remains of earlier builds lying about."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("configs", "sgpose", "tools"):
        ignore = shutil.ignore_patterns("__pycache__", ".mim")
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    for name in NEEDED_TO_BUILD:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    for remains in ("sgpose/.mim/configs/stale.py", "build/lib/sgpose/stale.py"):
        (tree / remains).parent.mkdir(parents=True, exist_ok=True)
        (tree / remains).write_text("stale = True\n")
    return tree


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> set[str]:
    return pip_wheel(tree, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_package_and_the_resources_of_mim_and_nothing_else(wheel):
    resources = files_under("configs") | files_under("tools") | {"model-index.yml"}
    expected = files_under("sgpose") | {f"sgpose/.mim/{name}" for name in resources}
    expected.add("sgpose/page/static/example.jpg")
    assert {name for name in wheel if ".dist-info/" not in name} == expected
    assert any(name.startswith("sgpose/.mim/configs/sg_hrnet/") for name in wheel)
    assert "sgpose/.mim/tools/train.py" in wheel


def test_a_source_distribution_gives_the_same_wheel(tree, wheel, tmp_path):
    sdist = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", tmp_path]
    subprocess.run(sdist, cwd=tree, check=True, capture_output=True, timeout=60)
    (archive,) = tmp_path.glob("sgpose-*.tar.gz")
    with tarfile.open(archive) as tar:
        assert not any(".mim" in name or "stale" in name for name in tar.getnames())
    assert pip_wheel(archive, tmp_path) == wheel


def test_a_resource_that_cannot_be_read_fails_the_build(tree, tmp_path):
    broken = tree / "configs" / "broken.py"
    broken.symlink_to("nowhere.py")
    try:
        build = [sys.executable, "setup.py", "-q", "build", "--build-base", tmp_path]
        done = subprocess.run(build, cwd=tree, capture_output=True, text=True, timeout=60)
    finally:
        broken.unlink()
    assert done.returncode != 0
    assert "broken.py" in done.stderr


def test_the_wheel_asks_for_no_other_package(tree, wheel):
    requires = (tree / "sgpose.egg-info" / "requires.txt").read_text()
    assert requires.lstrip().startswith("[")  # extras only
    assert "[vit]" in requires


def test_mim_finds_configs_tools_and_the_model_index():
    utils = pytest.importorskip("mim.utils")
    mim = Path(utils.get_installed_path("sgpose")) / ".mim"
    assert (mim / "tools" / "train.py").is_file()
    assert (mim / "model-index.yml").read_text() == (ROOT / "model-index.yml").read_text()
    for config in CONFIGS:
        assert (mim / config.relative_to(ROOT)).read_text() == config.read_text()


def test_an_editable_install_links_to_the_originals():
    mim = Path(sgpose.__file__).parent / ".mim"
    if not mim.exists():
        pytest.skip("sgpose is used without being installed")
    if Path(sgpose.__file__).parents[1] != ROOT:
        pytest.skip("sgpose is installed, not editable")
    for name in ("configs", "tools", "model-index.yml"):
        assert (mim / name).resolve() == ROOT / name


def test_config_names_are_unique():
    # OpenMIM looks a config up by its file's name, anywhere under configs/.
    twice = [name for name, count in Counter(path.name for path in CONFIGS).items() if count > 1]
    assert CONFIGS
    assert twice == []


def test_the_model_index_names_files_that_exist():
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    assert index["Import"]
    for metafile in index["Import"]:
        models = yaml.safe_load((ROOT / metafile).read_text())["Models"]
        for model in models:
            assert (ROOT / model["Config"]).is_file(), model["Config"]


def test_version_is_one():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cff["version"] == sgpose.__version__
