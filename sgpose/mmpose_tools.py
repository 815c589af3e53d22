# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Run the command-line tools that MMPose ships, with sgpose registered."""

from __future__ import annotations

import argparse
import os
import os.path as osp
import re
import runpy
import sys
import urllib.error
from collections.abc import Sequence

import mmpose
from mmengine.config import Config
from mmengine.device import get_device

from .analysis.check_config import (
    cached_weights,
    check_config,
    missing_files,
    no_network,
    weights_of,
)

PROBLEMS = """This config cannot be trained as it is.

{}

(--no-check starts all the same.)"""

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

    A training is checked before its first step, unless the command line says ``--no-check``. Where
    files or weights are missing, the process ends with status 1 and what to do about it, as it does
    where arguments need a GPU and there is none.
    """
    path = mmpose_tool(name)
    checked = "--no-check" not in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--no-check"]
    check_device(sys.argv[1:])
    try:
        if name == "train.py" and checked and _is_first_rank():
            problems = check_config(config_of_command_line(path))
            if problems:
                sys.exit(PROBLEMS.format("\n\n".join(problems)))
        runpy.run_path(path, run_name="__main__")
    except (AssertionError, FileNotFoundError) as error:
        if _is_about_data(error):
            sys.exit(_missing_data(path, error))
        resources = re.search(r"[^\s'\"]*sgpose/\.mim", str(error))
        if resources and not osp.isdir(resources[0]):
            sys.exit(INSTALL_HINT.format(error=error))
        raise
    except urllib.error.URLError as error:
        cfg = config_of_command_line(path)
        urls = [w for w in weights_of(cfg) if "://" in w[1] and not cached_weights(w[1]).is_file()]
        if not urls:
            raise
        sys.exit("\n\n".join(no_network(*weights, error.reason) for weights in urls))


def config_of_command_line(path: str) -> Config:
    """The config that a tool of MMPose makes of the command line of this process.

    Args:
        path: The tool, MMPose's train.py or test.py.
    """
    tool = runpy.run_path(path, run_name="tool")
    args = tool["parse_args"]()
    return tool["merge_args"](Config.fromfile(args.config), args)


def _missing_data(path: str, error: Exception) -> str:
    """Says which files of the config are not there; of the error, where all of them are."""
    splits = ("test",) if osp.basename(path) == "test.py" else ("train", "val")
    problems = []
    if osp.basename(path) in ("train.py", "test.py"):
        problems = missing_files(config_of_command_line(path), splits)
    return "\n\n".join([str(error), *problems])


def _is_first_rank() -> bool:
    """Whether this is the only process of a training, or the first of several."""
    ranks = [os.environ.get(key, "0") for key in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")]
    return set(ranks) == {"0"}


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
