# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import numpy as np
from mmpose.datasets.datasets import BaseCocoStyleDataset
from mmpose.registry import DATASETS


@DATASETS.register_module()
class LspetDataset(BaseCocoStyleDataset):
    """Leeds Sports Pose extended as COCO-style JSON, one person per image.

    `Learning effective human pose estimation from inaccurate annotation
    <https://doi.org/10.1109/CVPR.2011.5995318>`__ by Johnson and Everingham (2011). A keypoint's
    visibility is 2 where it is labelled, else 0; 1 (hidden) is taken too. Keypoints may be a flat
    list or one of (x, y, visibility) for each joint.

    LSPET keypoints::

        0: 'right_ankle',
        1: 'right_knee',
        2: 'right_hip',
        3: 'left_hip',
        4: 'left_knee',
        5: 'left_ankle',
        6: 'right_wrist',
        7: 'right_elbow',
        8: 'right_shoulder',
        9: 'left_shoulder',
        10: 'left_elbow',
        11: 'left_wrist',
        12: 'neck',
        13: 'head_top'

    The arguments are those of :class:`BaseCocoStyleDataset`.

    Raises:
        ValueError: When the annotations are read, if there is no usable person in them, or one
            whose keypoints or box are no finite numbers, or not as many as there are joints, or
            with another visibility.
    """

    METAINFO: dict = dict(
        dataset_name="lspet",
        paper_info=dict(
            author="Sam Johnson and Mark Everingham",
            title="Learning effective human pose estimation from inaccurate annotation",
            container="IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
            year="2011",
            homepage="http://sam.johnson.io/research/lspet.html",
        ),
        keypoint_info={
            0: dict(
                name="right_ankle",
                id=0,
                color=[255, 128, 0],
                type="lower",
                swap="left_ankle",
            ),
            1: dict(
                name="right_knee",
                id=1,
                color=[255, 128, 0],
                type="lower",
                swap="left_knee",
            ),
            2: dict(
                name="right_hip",
                id=2,
                color=[255, 128, 0],
                type="lower",
                swap="left_hip",
            ),
            3: dict(
                name="left_hip",
                id=3,
                color=[0, 255, 0],
                type="lower",
                swap="right_hip",
            ),
            4: dict(
                name="left_knee",
                id=4,
                color=[0, 255, 0],
                type="lower",
                swap="right_knee",
            ),
            5: dict(
                name="left_ankle",
                id=5,
                color=[0, 255, 0],
                type="lower",
                swap="right_ankle",
            ),
            6: dict(
                name="right_wrist",
                id=6,
                color=[255, 128, 0],
                type="upper",
                swap="left_wrist",
            ),
            7: dict(
                name="right_elbow",
                id=7,
                color=[255, 128, 0],
                type="upper",
                swap="left_elbow",
            ),
            8: dict(
                name="right_shoulder",
                id=8,
                color=[255, 128, 0],
                type="upper",
                swap="left_shoulder",
            ),
            9: dict(
                name="left_shoulder",
                id=9,
                color=[0, 255, 0],
                type="upper",
                swap="right_shoulder",
            ),
            10: dict(
                name="left_elbow",
                id=10,
                color=[0, 255, 0],
                type="upper",
                swap="right_elbow",
            ),
            11: dict(
                name="left_wrist",
                id=11,
                color=[0, 255, 0],
                type="upper",
                swap="right_wrist",
            ),
            12: dict(
                name="neck",
                id=12,
                color=[51, 153, 255],
                type="upper",
                swap="",
            ),
            13: dict(
                name="head_top",
                id=13,
                color=[51, 153, 255],
                type="upper",
                swap="",
            ),
        },
        skeleton_info={
            0: dict(link=("right_ankle", "right_knee"), id=0, color=[255, 128, 0]),
            1: dict(link=("right_knee", "right_hip"), id=1, color=[255, 128, 0]),
            2: dict(link=("right_hip", "left_hip"), id=2, color=[51, 153, 255]),
            3: dict(link=("left_hip", "left_knee"), id=3, color=[0, 255, 0]),
            4: dict(link=("left_knee", "left_ankle"), id=4, color=[0, 255, 0]),
            5: dict(link=("right_wrist", "right_elbow"), id=5, color=[255, 128, 0]),
            6: dict(link=("right_elbow", "right_shoulder"), id=6, color=[255, 128, 0]),
            7: dict(link=("right_shoulder", "left_shoulder"), id=7, color=[51, 153, 255]),
            8: dict(link=("left_shoulder", "left_elbow"), id=8, color=[0, 255, 0]),
            9: dict(link=("left_elbow", "left_wrist"), id=9, color=[0, 255, 0]),
            10: dict(link=("right_shoulder", "neck"), id=10, color=[255, 128, 0]),
            11: dict(link=("left_shoulder", "neck"), id=11, color=[0, 255, 0]),
            12: dict(link=("neck", "head_top"), id=12, color=[51, 153, 255]),
        },
        joint_weights=[1.2, 1.2, 1.0, 1.0, 1.2, 1.2, 1.2, 1.2, 1.0, 1.0, 1.2, 1.2, 1.0, 1.0],
        # COCO's; neck and head top, which COCO lacks, get the shoulder's
        sigmas=[
            0.089,
            0.087,
            0.107,
            0.107,
            0.087,
            0.089,
            0.062,
            0.072,
            0.079,
            0.079,
            0.072,
            0.062,
            0.079,
            0.079,
        ],
    )

    def load_data_list(self) -> list[dict]:
        """Read the persons as :class:`BaseCocoStyleDataset` does."""
        persons = super().load_data_list()
        if not persons:
            raise ValueError(
                f"{self.bbox_file or self.ann_file} holds no usable person: each needs a box with "
                "an area, its image in `images`, and in annotations at least one labelled keypoint"
            )
        return persons

    def parse_data_info(self, raw_data_info: dict) -> dict | None:
        """Check an annotation and read it as :class:`BaseCocoStyleDataset` does."""
        annotation = raw_data_info["raw_ann_info"]
        count = self.metainfo["num_keypoints"]
        where = (
            f"annotation {annotation.get('id')} (image "
            f"{raw_data_info['raw_img_info'].get('file_name')})"
        )
        for name, shapes in (("keypoints", ((3 * count,), (count, 3))), ("bbox", ((4,),))):
            if name not in annotation:
                continue  # MMPose leaves such an annotation out
            values, needed = _numbers(annotation[name]), shapes[0][0]
            if values.shape not in shapes or not np.isfinite(values).all():
                found = f"{values.size} of shape {values.shape}"
                if values.shape in shapes:
                    found = "NaN, null or infinity"
                elif values.size == 0:
                    found = "none, or rows of different lengths"
                raise ValueError(
                    f"{self.ann_file}: {name} of {where} needs {needed} finite numbers, found "
                    f"{found}"
                )
            visibilities = values.reshape(-1, 3)[:, 2] if name == "keypoints" else np.zeros(1)
            odd = np.flatnonzero(~np.isin(visibilities, (0, 1, 2)))
            if odd.size:
                raise ValueError(
                    f"{self.ann_file}: keypoint {odd[0]} of {where} has visibility "
                    f"{visibilities[odd[0]]:g}, which must be 0 (not labelled), 1 (hidden) or 2: "
                    "write 0 where the set says otherwise that a keypoint is not labelled, 2 for "
                    "confidences"
                )
        return super().parse_data_info(raw_data_info)


def _numbers(values) -> np.ndarray:
    """Return an annotation's numbers, None as NaN; an empty table if they are none."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):  # words, or rows of different lengths
        return np.zeros((0, 0))
