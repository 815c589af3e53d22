# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import cv2
import numpy as np

from .keypoint_error_types import sample_error_types


def points_in_map(
    points: np.ndarray, center: np.ndarray, scale: np.ndarray, map_size: tuple[int, int]
) -> np.ndarray:
    """Move points from the image into a map over a crop of it.

    As with MSRA's heatmaps, the cell in column i and row j lies at x = cx + (i / w - 1/2) * sx,
    y = cy + (j / h - 1/2) * sy; UDP's, at i / (w - 1), are half a cell off at most.

    Args:
        points: (..., 2) in pixels of the image.
        center: (2,) centre (cx, cy) of the crop in pixels of the image.
        scale: (2,) size (sx, sy) of the crop in pixels of the image.
        map_size: Width w and height h of the map.

    Returns:
        (..., 2) columns and rows of the map.
    """
    return ((np.asarray(points, float) - center) / scale + 0.5) * map_size


def values_at(maps: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Read maps between their cells, bilinearly; beyond the edge counts the edge.

    Args:
        maps: (S, h, w).
        points: (K, 2) columns and rows.

    Returns:
        (S, K).
    """
    columns, rows = np.asarray(points, np.float32).T[:, None]
    return np.concatenate(
        [
            cv2.remap(
                np.asarray(one, np.float32),
                columns,
                rows,
                interpolation=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for one in maps
        ]
    )


def guides_at_keypoints(sample: dict, metainfo: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a person's guides where the keypoints are, and where the network put them.

    Args:
        sample: With ``gt_instances`` and, predicted with ``output_heatmaps=True``,
            ``pred_instances`` that hold ``guide_maps``: of a guide with several maps their
            maximum, under flip test the mean of both passes.
        metainfo: The dataset's, with ``flip_indices`` and ``skeleton_links``.

    Returns:
        (K,) indices into ``TYPES``, -1 where the keypoint is not labelled, see
        ``error_types``; (S, K) values of the S guides at the true places; (S, K) at the
        predicted ones.

    Raises:
        ValueError: If there are no maps.
    """
    truth, predicted = sample["gt_instances"], sample["pred_instances"]
    if "guide_maps" not in predicted:
        raise ValueError(
            "the prediction holds no maps of guides: take a guided model and set its "
            "test_cfg.output_heatmaps=True"
        )
    places = [np.asarray(truth["keypoints"])[0, :, :2], np.asarray(predicted["keypoints"])[0]]
    types = sample_error_types(sample, metainfo)
    maps = np.asarray(predicted["guide_maps"])[0]
    crop = (
        np.asarray(predicted["guide_input_center"])[0],
        np.asarray(predicted["guide_input_scale"])[0],
        maps.shape[:0:-1],
    )
    at_truth, at_prediction = (values_at(maps, points_in_map(p, *crop)) for p in places)
    return types, at_truth, at_prediction
