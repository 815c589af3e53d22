# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Run the command-line tools that MMPose ships, with sgpose registered."""

from __future__ import annotations

import os.path as osp
import runpy
import sys

import mmpose

DATA_HINT = """{error}

The config's dataset is not where it looks for it. Put or link the data there, for COCO:

    data/coco/annotations/person_keypoints_{{train,val}}2017.json
    data/coco/{{train,val}}2017/*.jpg
    data/coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json

relative to the folder in which you run the command (ln -s /where/coco/is data/coco), or set the
paths with --cfg-options. All datasets: https://mmpose.readthedocs.io/en/latest/dataset_zoo.html"""


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
    status 1.
    """
    path = mmpose_tool(name)
    try:
        runpy.run_path(path, run_name="__main__")
    except (AssertionError, FileNotFoundError) as error:
        if not _is_about_data(error):
            raise
        sys.exit(DATA_HINT.format(error=error))


def _is_about_data(error: Exception) -> bool:
    """Whether MMPose could not find a dataset's annotations, boxes or images."""
    message = str(error)
    return "not exist" in message or "No such file" in message and "annotations" in message
