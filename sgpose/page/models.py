# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The models that the page offers, behind one small interface."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from .._compat import check_stack
from ..deploy.poses import Poses
from ..deploy.skeleton import side_colors


class PoseModel(Protocol):
    """What the page needs of a model.

    Attributes:
        title: What it is, in a few words.
        keypoint_names: K names.
        keypoint_colors: Red, green and blue of each.
        skeleton_links: Pairs of keypoint numbers.
        skeleton_colors: Red, green and blue of each.
    """

    title: str
    keypoint_names: list[str]
    keypoint_colors: list[tuple[int, int, int]]
    skeleton_links: list[tuple[int, int]]
    skeleton_colors: list[tuple[int, int, int]]

    def __call__(self, image: np.ndarray, bboxes: np.ndarray) -> Poses:
        """Find one pose in each box.

        Args:
            image: (H, W, 3) uint8, BGR.
            bboxes: (N, 4), corners x1, y1, x2, y2 in pixels.
        """


class OnnxModel:
    """A file that ``tools/export_onnx.py`` wrote, run without PyTorch and MMPose.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        from ..deploy import OnnxPose

        self._pose = OnnxPose(path)
        spec = self._pose.spec
        self.title = spec.title
        self.keypoint_names = list(spec.keypoint_names)
        self.keypoint_colors = list(spec.keypoint_colors)
        self.skeleton_links = list(spec.skeleton)
        self.skeleton_colors = list(spec.skeleton_colors)
        self._guided = "guide_maps" in spec.outputs

    def __call__(self, image: np.ndarray, bboxes: np.ndarray) -> Poses:
        return self._pose(image, bboxes, guide_maps=self._guided)


class MMPoseModel:
    """A config and a checkpoint, run by MMPose.

    Args:
        config: Path of the config.
        checkpoint: Path of the checkpoint.
    """

    def __init__(self, config: str, checkpoint: str) -> None:
        check_stack()
        from mmengine.device import get_device
        from mmpose.apis import init_model

        maps_too = dict(model=dict(test_cfg=dict(output_heatmaps=True)))
        self._model = init_model(config, checkpoint, device=get_device(), cfg_options=maps_too)
        meta = self._model.dataset_meta
        names = meta["keypoint_id2name"]
        self.keypoint_names = [names[k] for k in range(len(names))]
        self.skeleton_links = [tuple(link) for link in meta["skeleton_links"]]
        self.keypoint_colors, self.skeleton_colors = side_colors(
            self.keypoint_names, self.skeleton_links
        )
        backbone, count = type(self._model.backbone).__name__, len(names)
        self.title = f"{backbone}: {count} points of {meta['dataset_name']}"

    def __call__(self, image: np.ndarray, bboxes: np.ndarray) -> Poses:
        from mmpose.apis import inference_topdown

        samples = inference_topdown(self._model, image, bboxes, bbox_format="xyxy")
        found = [sample.pred_instances for sample in samples]
        keypoints = np.concatenate([one.keypoints for one in found])
        scores = np.concatenate([one.keypoint_scores for one in found])
        if "guide_maps" not in found[0]:
            return Poses(keypoints, scores, bboxes)
        center = np.concatenate([one.guide_input_center for one in found])
        size = np.concatenate([one.guide_input_scale for one in found])
        crops = np.concatenate([center - size / 2, center + size / 2], axis=1)
        maps = np.concatenate([one.guide_maps for one in found])
        return Poses(keypoints, scores, bboxes, maps, crops)


def shipped_models() -> list[str]:
    """Return the models that come with sgpose, the default first."""
    return sorted(map(str, (Path(__file__).parents[1] / "weights").glob("*.onnx")))


def load_model(source: str) -> tuple[str, PoseModel]:
    """Load what ``--model`` names.

    Args:
        source: ``FILE.onnx``, or ``CONFIG.py,CHECKPOINT.pth``, which needs MMPose.

    Returns:
        The name to show, and the model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither.
    """
    files = source.split(",")
    for file in files:
        if not Path(file).is_file():
            raise FileNotFoundError(f"--model {source}: there is no file {file}")
    suffixes = [Path(file).suffix for file in files]
    if suffixes == [".onnx"]:
        return Path(source).stem, OnnxModel(source)
    if suffixes == [".py", ".pth"]:
        return Path(files[0]).stem, MMPoseModel(*files)
    raise ValueError(f"--model {source}: give FILE.onnx or CONFIG.py,CHECKPOINT.pth")
