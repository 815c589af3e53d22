# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""MMPose's tools/train.py, with sgpose registered. The arguments are MMPose's and --no-check.

The config is checked before the first step (data, weights, keypoints, evaluator, one step);
--no-check starts all the same.
"""

from sgpose.mmpose_tools import run_mmpose_tool

if __name__ == "__main__":
    run_mmpose_tool("train.py")
