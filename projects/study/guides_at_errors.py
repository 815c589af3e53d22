# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Show what the guides say where a model's keypoints go wrong.

Prints for each type of error the mean value of each guide at the keypoint's true place and at the
predicted one, and how often the guide is at least as bright at the wrong place. Writes errors.png:
the maps where keypoints of each type are wrong, taken at equal steps from the test set, without the
photographs. Of a guide with several maps it is their maximum, under flip test the mean of both
passes.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS
from PIL import Image

from sgpose.analysis.data_sets import use_annotated_boxes
from sgpose.analysis.predictions import kept_predictions
from sgpose.visualization.attention import map_in_crop, paint_map
from sgpose.visualization.sheet import Cell, contact_sheet

from .guide_values import guides_at_keypoints, points_in_map
from .keypoint_error_types import TYPES

HEIGHT = 160
BONE, RIGHT_PLACE, WRONG_PLACE = (150, 150, 150), (80, 255, 120), (60, 160, 255)


def table(types: np.ndarray, at_truth: np.ndarray, at_prediction: np.ndarray) -> str:
    """Format the values of N keypoints as Markdown.

    Args:
        types: (N,) indices into ``TYPES``, -1 is left out.
        at_truth, at_prediction: (S, N) values of the guides.
    """
    guides = range(1, len(at_truth) + 1)
    lines = [
        "| where they are put | keypoints | "
        + " | ".join(f"guide {g}: true place, there, there not darker" for g in guides)
        + " |",
        "|---" * (2 + len(at_truth)) + "|",
    ]
    for number, name in enumerate(TYPES):
        chosen = types == number
        if not chosen.any():
            continue
        cells = [
            f"{true.mean():.2f}, {there.mean():.2f}, {100 * (there >= true).mean():.0f} %"
            for true, there in zip(at_truth[:, chosen], at_prediction[:, chosen])
        ]
        lines.append(f"| {name} | {chosen.sum()} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(members: np.ndarray, num: int) -> np.ndarray:
    """Take the middles of ``num`` equal parts of the members, all of them if there are no more."""
    if len(members) <= num:
        return members
    return members[((np.arange(num) + 0.5) * len(members) / num).astype(int)]


def picture(sample: dict, guide: int, keypoint: int, links: list) -> np.ndarray:
    """Draw a guide's map with the true skeleton, a ring at the keypoint and a cross where it went.

    Returns:
        (HEIGHT, W, 3) RGB uint8.
    """
    truth, predicted = sample["gt_instances"], sample["pred_instances"]
    values = predicted["guide_maps"][0, guide]
    center, scale = predicted["guide_input_center"][0], predicted["guide_input_scale"][0]
    size = (round(HEIGHT * scale[0] / scale[1]), HEIGHT)
    black = np.zeros((HEIGHT, size[0], 3), np.uint8)
    step = np.divide(size, values.shape[::-1])
    canvas = paint_map(black, map_in_crop(values, size, step, cv2.INTER_LINEAR), alpha=1.0)

    def drawn(points) -> np.ndarray:
        return points_in_map(points, center, scale, size).round().astype(int)

    joints = drawn(truth["keypoints"][0, :, :2])
    visible = np.asarray(truth["keypoints_visible"])[0] > 0
    visible = visible[:, 0] if visible.ndim == 2 else visible
    for a, b in links:
        if visible[a] and visible[b]:
            cv2.line(canvas, joints[a].tolist(), joints[b].tolist(), BONE, 1, cv2.LINE_AA)
    there = drawn(predicted["keypoints"][0, keypoint]).tolist()
    cv2.circle(canvas, joints[keypoint].tolist(), 5, RIGHT_PLACE, 2, cv2.LINE_AA)
    cv2.drawMarker(canvas, there, WRONG_PLACE, cv2.MARKER_TILTED_CROSS, 10, 2, cv2.LINE_AA)
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config of a guided top-down model")
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, default=Path("guides_at_errors"), help="folder")
    parser.add_argument(
        "--num", type=int, default=3, help="pictures per type of error (default: 3)"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    cfg.merge_from_dict({"model.test_cfg.output_heatmaps": True})
    init_default_scope(cfg.get("default_scope", "mmpose"))
    dataset = copy.deepcopy(cfg.test_dataloader.dataset)
    use_annotated_boxes(dataset)
    metainfo = DATASETS.build(dataset).metainfo
    (first,) = kept_predictions(cfg, args.checkpoint, args.out / "cache", [0])
    if "guide_maps" not in first["pred_instances"]:
        raise SystemExit(f"guides_at_errors: {args.config} has no guides, take a guided model")
    samples = kept_predictions(cfg, args.checkpoint, args.out / "cache")
    read = [guides_at_keypoints(sample, metainfo) for sample in samples]
    types = np.concatenate([types for types, _, _ in read])
    values = [np.concatenate([r[i] for r in read], axis=1) for i in (1, 2)]
    print(table(types, *values))

    per_sample = len(read[0][0])
    wrong = [
        (name, *divmod(int(place), per_sample))
        for number, name in enumerate(TYPES)
        if name != "correct"
        for place in spread(np.flatnonzero(types == number), args.num)
    ]
    if not wrong:
        print("no keypoint is wrong: there is nothing to draw")
        return
    links = metainfo["skeleton_links"]
    rows = [
        [
            Cell(picture(samples[s], g, k, links), metainfo["keypoint_id2name"][k])
            for _, s, k in wrong
        ]
        for g in range(len(values[0]))
    ]
    sheet, _ = contact_sheet(
        rows,
        title="Maps of the guides where a keypoint is wrong",
        note="Black: 0; bright yellow: 1. "
        "Ring: the keypoint; cross: where it was put; lines: the true pose.",
        columns=[name for name, _, _ in wrong],
        names=[f"guide {g + 1}" for g in range(len(rows))],
    )
    Image.fromarray(sheet).quantize(256).save(args.out / "errors.png", optimize=True)
    print(args.out / "errors.png")


if __name__ == "__main__":
    main()
