# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmengine.structures import InstanceData
from mmpose.registry import VISUALIZERS
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer

from .attention import guide_maps_in_image, paint_map
from .sheet import label


@VISUALIZERS.register_module()
class SGLocalVisualizer(PoseLocalVisualizer):
    """MMPose's PoseLocalVisualizer that also shows the guides' maps.

    Where heatmaps are drawn, the map of each guide is painted over the image (black 0, bright
    yellow 1) to the right of what MMPose draws; several persons share the picture. It takes
    ``guide_maps``, ``guide_input_center`` and ``guide_input_scale`` from ``pred_instances``, which
    guided heads fill in with ``output_heatmaps=True`` in the model's test config. Without them it
    draws what PoseLocalVisualizer draws. The arguments are those of PoseLocalVisualizer.

    Example:
        >>> visualizer = dict(type="SGLocalVisualizer")
    """

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: PoseDataSample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        draw_heatmap: bool = False,
        draw_bbox: bool = False,
        show_kpt_idx: bool = False,
        skeleton_style: str = "mmpose",
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        kpt_thr: float = 0.3,
        step: int = 0,
    ) -> np.ndarray:
        """Draw a sample, and show it or hand it to ``out_file`` or to all backends.

        Args:
            name: Name of the picture in the backends.
            image: (H, W, 3) RGB uint8.
            data_sample: Persons of one image, in pixels of the image.
            draw_gt, draw_pred, draw_heatmap, draw_bbox, show_kpt_idx: As in PoseLocalVisualizer.
            skeleton_style, show, wait_time, out_file, kpt_thr, step: As in PoseLocalVisualizer.

        Returns:
            The picture, RGB uint8. To the right of MMPose's, which is R times as high as the image,
            the S maps fill R rows from left to right.
        """
        draw = dict(
            draw_gt=draw_gt,
            draw_pred=draw_pred,
            draw_heatmap=draw_heatmap,
            draw_bbox=draw_bbox,
            show_kpt_idx=show_kpt_idx,
            skeleton_style=skeleton_style,
            kpt_thr=kpt_thr,
        )
        instances = data_sample.get("pred_instances")
        if not (draw_pred and draw_heatmap) or instances is None or "guide_maps" not in instances:
            output = dict(show=show, wait_time=wait_time, out_file=out_file, step=step)
            return super().add_datasample(name, image, data_sample, **draw, **output)

        # MMPose's method draws and hands over in one go: nothing may leave before the maps are in
        backends: dict = vars(self)["_vis_backends"]
        self._vis_backends = {}
        try:
            drawn = super().add_datasample(name, image, data_sample, **draw)
        finally:
            self._vis_backends = backends
        drawn = beside(drawn, guide_panels(image, instances))

        self.set_image(drawn)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(drawn[..., ::-1], out_file)
        else:
            self.add_image(name, drawn, step)
        return self.get_image()

    def draw_pose(
        self, image: np.ndarray, keypoints: np.ndarray, visible: np.ndarray | None = None
    ) -> np.ndarray:
        """Draw keypoints and skeleton in the colours set, and hand them to nobody.

        Args:
            image: (H, W, 3) RGB uint8.
            keypoints: (N, K, 2) in pixels of the image.
            visible: (N, K) scores; below 0.3 a keypoint is left out. Defaults to all visible.

        Returns:
            (H, W, 3).
        """
        pose = InstanceData(keypoints=np.asarray(keypoints, float))
        if visible is not None:
            pose.keypoints_visible = np.asarray(visible, float)
        return self._draw_instances_kpts(image.copy(), pose)


def guide_panels(image: np.ndarray, instances: InstanceData) -> list[np.ndarray]:
    """The map of each of the S guides over the image, labelled ``guide 1/S`` and so on."""
    maps, inside = guide_maps_in_image(
        instances.guide_maps,
        instances.guide_input_center,
        instances.guide_input_scale,
        (image.shape[0], image.shape[1]),
    )
    return [
        label(paint_map(image, values, inside), f"guide {number}/{len(maps)}")
        for number, values in enumerate(maps, 1)
    ]


def beside(drawn: np.ndarray, panels: list[np.ndarray]) -> np.ndarray:
    """Put panels to the right of a picture that is a whole number R of panels high, in R rows."""
    rows = drawn.shape[0] // panels[0].shape[0]
    columns = -(-len(panels) // rows)
    panels = panels + [np.zeros_like(panels[0])] * (rows * columns - len(panels))
    grid = [np.concatenate(panels[r * columns : (r + 1) * columns], 1) for r in range(rows)]
    return np.concatenate([drawn, np.concatenate(grid)], axis=1)
