# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Packaging of sgpose.

OpenMIM looks for a package's configs, tools and model index in ``<package>/.mim``. Wheels hold
copies of them there; an editable install holds links to the originals, so that edits take effect.

There is no ``pyproject.toml`` on purpose: it makes pip build editable installs by PEP 660, after
which OpenMIM resolves the package to ``site-packages``, where no ``.mim`` lies.
"""

import os
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

ROOT = Path(__file__).resolve().parent
EXAMPLE = "docs/images/000000000785.jpg"  # of the page; CC BY 2.0, see the page
RUNTIME = ["loky", "numpy", "onnxruntime", "opencv-python"]
MIM_RESOURCES = ("configs", "tools", "model-index.yml")


def remove(path: Path) -> None:
    """Removes a file, a link or a folder; does nothing where there is none."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def copy_resources(package: Path) -> None:
    """Fills ``package/.mim`` with copies. Whatever cannot be read is an error, never left out."""
    for name in MIM_RESOURCES:
        source, target = ROOT / name, package / ".mim" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def link_resources(package: Path) -> None:
    """Fills ``package/.mim`` with relative links to the originals."""
    mim = package / ".mim"
    remove(mim)
    mim.mkdir()
    for name in MIM_RESOURCES:
        source = ROOT / name
        if not source.exists():
            raise FileNotFoundError(f"{source} is needed for an editable install of sgpose")
        (mim / name).symlink_to(os.path.relpath(source, mim), target_is_directory=source.is_dir())


class BuildPy(build_py):
    """Builds the package from nothing, so that no file of an earlier build is shipped."""

    def run(self):
        if getattr(self, "editable_mode", False):
            link_resources(ROOT / "sgpose")
            super().run()
            return
        package = Path(self.build_lib) / "sgpose"
        remove(package)
        super().run()
        copy_resources(package)
        shutil.copy2(ROOT / EXAMPLE, package / "page/static/example.jpg")


class Develop(develop):
    """The editable install that OpenMIM understands."""

    def run(self):
        link_resources(ROOT / "sgpose")
        super().run()


setup(
    name="sgpose",
    version=runpy.run_path(str(ROOT / "sgpose" / "version.py"))["__version__"],
    description="SG-HRNet, segmentation-guided human pose estimation, as a plugin of MMPose 1.x",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["sgpose", "sgpose.*"]),
    include_package_data=True,
    python_requires=">=3.9",
    install_requires=[],
    extras_require={
        "onnx": RUNTIME,
        "export": ["onnx", "onnxruntime"],
        "docs": ["furo", "myst-parser", "sphinx", "sphinx-copybutton"],
        "page": [*RUNTIME, "pillow", "starlette", "uvicorn"],
        "tests": ["hypothesis", "pytest"],
        "video": [*RUNTIME, "rtmlib", "tqdm"],
        "vit": ["mmpretrain"],
    },
    cmdclass={"build_py": BuildPy, "develop": Develop},
    zip_safe=False,
)
