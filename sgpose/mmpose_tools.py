# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Run the command-line tools that MMPose ships, with sgpose registered."""

from __future__ import annotations

import argparse
import os.path as osp
import re
import runpy
import sys
from collections.abc import Sequence

import mmpose
from mmengine.device import get_device

DATA_HINT = """{error}

The config's dataset is not where it looks for it. Put or link the data there, for COCO:

    data/coco/annotations/person_keypoints_{{train,val}}2017.json
    data/coco/{{train,val}}2017/*.jpg
    data/coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json

relative to the folder in which you run the command (ln -s /where/coco/is data/coco), or set the
paths with --cfg-options. All datasets: https://mmpose.readthedocs.io/en/latest/dataset_zoo.html"""

INSTALL_HINT = """{error}

`sgpose::` finds configs in sgpose's installed files, and this sgpose is a source tree that was not
installed: run `pip install --no-build-isolation -e .` in it."""


def mmpose_tool(name: str) -> str:
    """Return the path of a tool that the installed MMPose ships.

    Args:
        name: Path below MMPose's tools folder, for instance "train.py".

    Raises:
        FileNotFoundError: If this MMPose has no such tool.
    """
    root = osp.dirname(osp.abspath(mmpose.__file__))
    candidates = [osp.join(root, ".mim", "tools", name), osp.join(root, "..", "tools", name)]
    for path in candidates:
        if osp.isfile(path):
            return path
    raise FileNotFoundError(
        f"MMPose {mmpose.__version__} in {root} has no tools/{name}: reinstall it with "
        '`mim install "mmpose>=1.3,<2"`'
    )


def run_mmpose_tool(name: str) -> None:
    """Run a tool of MMPose as the main program, with the command line of this process.

    Where MMPose finds no annotations it is told where the data belong, and the process ends with
    status 1, as it does where arguments need a GPU and there is none.
    """
    path = mmpose_tool(name)
    check_device(sys.argv[1:])
    try:
        runpy.run_path(path, run_name="__main__")
    except (AssertionError, FileNotFoundError) as error:
        if _is_about_data(error):
            sys.exit(DATA_HINT.format(error=error))
        resources = re.search(r"[^\s'\"]*sgpose/\.mim", str(error))
        if resources and not osp.isdir(resources[0]):
            sys.exit(INSTALL_HINT.format(error=error))
        raise


def check_device(arguments: Sequence[str]) -> None:
    """End the process with status 1 if arguments of a tool need a GPU and there is none.

    Args:
        arguments: Command line of MMPose's train.py or test.py, without the program's name.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--launcher", default="none")
    known, _ = parser.parse_known_args(arguments)
    device = get_device()
    if device not in ("cpu", "mps"):
        return
    if known.amp:
        sys.exit(
            f"--amp: MMEngine's mixed precision needs a GPU, the device here is {device!r}. Leave "
            "--amp out to train in float32"
        )
    if known.launcher != "none":
        sys.exit(
            f"--launcher {known.launcher}: MMEngine starts one process per GPU, the device here is "
            f"{device!r}. Leave --launcher out to run in one process"
        )


def _is_about_data(error: Exception) -> bool:
    """Whether MMPose could not find a dataset's annotations, boxes or images."""
    files = ("annotation file", "bbox file", "headbox file", "occurs when loading")
    return any(file in str(error).lower() for file in files)
