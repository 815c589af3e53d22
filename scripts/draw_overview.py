# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Draw the README's picture: a person, the free mask, what each guide sees, the pose.

python scripts/draw_overview.py CONFIG CHECKPOINT OUT.png
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from mmpose.apis import inference_topdown, init_model

import sgpose  # noqa: F401
from sgpose.codecs import keypoint_discs
from sgpose.datasets import toy_sample


def overlay(axis, image, values, title):
    axis.imshow(image)
    height, width = image.shape[:2]
    axis.imshow(
        values,
        cmap="gray",
        vmin=0,
        vmax=1,
        alpha=0.65,
        extent=(0, width, height, 0),
        interpolation="bilinear",
    )
    axis.set_title(title, fontsize=13)


def crop(image, center, scale):
    """Cut the model's view out of the image, padded with black."""
    x0, y0 = np.round(center - scale / 2).astype(int)
    w, h = np.round(scale).astype(int)
    canvas = np.zeros((h, w, 3), np.uint8)
    ys, xs = max(y0, 0), max(x0, 0)
    part = image[ys : y0 + h, xs : x0 + w]
    canvas[ys - y0 : ys - y0 + part.shape[0], xs - x0 : xs - x0 + part.shape[1]] = part
    return canvas, np.array([x0, y0])


def main(config, checkpoint, out, seed=2024, index=3):
    image, annotation = toy_sample(seed, index, clutter=0.6)
    model = init_model(
        config,
        checkpoint,
        device="cpu",
        cfg_options=dict(model=dict(test_cfg=dict(output_heatmaps=True))),
    )
    (sample,) = inference_topdown(model, image, np.array([annotation["bbox"]]), bbox_format="xywh")
    predicted = sample.pred_instances
    view, origin = crop(
        image[..., ::-1], predicted.guide_input_center[0], predicted.guide_input_scale[0]
    )
    height, width = view.shape[:2]
    truth = np.array(annotation["keypoints"], float).reshape(-1, 3)
    discs = keypoint_discs((truth[:, :2] - origin) / width * 24, truth[:, 2], (24, 32), radius=2.5)
    figure, axes = plt.subplots(1, 7, figsize=(16, 4))
    axes[0].imshow(view)
    axes[0].set_title("input\n", fontsize=13)
    overlay(axes[1], view, discs, "free mask:\ndiscs at the keypoints")
    names = ["guide of stage 2", "guide of stage 3", "guide of stage 4", "guide of the output"]
    for axis, name, values in zip(axes[2:6], names, predicted.guide_maps[0]):
        overlay(axis, view, values, f"{name}\n(predicted)")
    axes[6].imshow(view)
    points = predicted.keypoints[0] - origin
    for a, b in model.dataset_meta["skeleton_links"]:
        axes[6].plot(*points[[a, b]].T, color="#00d7ff", linewidth=2)
    axes[6].scatter(*points.T, s=14, color="#ff3366", zorder=3)
    axes[6].set_title("predicted pose\n", fontsize=13)
    for axis in axes:
        axis.set_xlim(0, width)
        axis.set_ylim(height, 0)
        axis.set_axis_off()
    figure.subplots_adjust(wspace=0.05)
    figure.savefig(out, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main(*sys.argv[1:4])
