# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""MMPose's tools/test.py, with sgpose registered. The arguments are MMPose's."""

from sgpose.mmpose_tools import run_mmpose_tool

if __name__ == "__main__":
    run_mmpose_tool("test.py")
