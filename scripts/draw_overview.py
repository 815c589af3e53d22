# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Draw the README's picture: SG-HRNet in one strip, and a photograph with its maps and pose.

python scripts/draw_overview.py CONFIG CHECKPOINT PHOTOGRAPH OUT.png --box X1 Y1 X2 Y2
"""

import argparse

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from mmpose.apis import inference_topdown, init_model

import sgpose  # noqa: F401

FEATURES, MAP, FUSION = "#c9d7ea", "#f6c85f", "#e4e4e4"


def draw_strip(axis) -> None:
    """Draw the high-resolution branch of SG-HRNet, its modules and the fusions."""

    def box(x, y, width, text, colour, height=0.8):
        style = "round,pad=0.02,rounding_size=0.12"
        axis.add_patch(
            FancyBboxPatch((x, y - height / 2), width, height, boxstyle=style, fc=colour, ec="#444")
        )
        axis.text(x + width / 2, y, text, ha="center", va="center", fontsize=12)

    def arrow(start, end, dashed=False):
        axis.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=13,
                color="#444",
                linestyle="--" if dashed else "-",
            )
        )

    box(0.2, 0, 1.7, "photograph,\nstage 1", FEATURES)
    x = 1.9
    for stage in (2, 3, 4):
        arrow((x, 0), (x + 0.5, 0))
        box(x + 0.5, 0, 1.5, f"stage {stage}", FEATURES)
        arrow((x + 0.25, 0), (x + 0.25, 1.1))
        box(x + 0.1, 1.5, 1.6, "SGM: map", MAP)
        arrow((x + 1.7, 1.3), (x + 2.3, 0.22))
        arrow((x + 2.0, 0), (x + 2.2, 0))
        axis.text(x + 2.3, 0, r"$\times$", ha="center", va="center", fontsize=19)
        arrow((x + 2.4, 0), (x + 2.6, 0))
        box(x + 2.6, 0, 0.9, "fuse", FUSION)
        x += 3.5
    arrow((x, 0), (x + 0.95, 0))
    arrow((x + 0.25, 0), (x + 0.25, 1.1))
    box(x + 0.1, 1.5, 1.6, "SGM: map", MAP)
    arrow((x + 1.0, 1.1), (x + 1.05, 0.22))
    axis.text(x + 1.05, 0, r"$\times$", ha="center", va="center", fontsize=19)
    arrow((x + 1.15, 0), (x + 1.55, 0))
    box(x + 1.55, 0, 1.4, "heatmaps", FEATURES)
    text = "Each map is taught the mask of discs around the keypoints. "
    text += "It gates the features, or is auxiliary supervision only."
    axis.text((x + 3.1) / 2, -0.95, text, ha="center", fontsize=12, style="italic")
    axis.set_xlim(0, x + 3.1)
    axis.set_ylim(-1.2, 2.0)
    axis.set_aspect("equal")
    axis.set_axis_off()


def crop(image: np.ndarray, center: np.ndarray, scale: np.ndarray):
    """Cut the model's view out of an image; return it and its left upper corner."""
    corner = center - scale / 2
    move = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]])
    return cv2.warpAffine(image, move, tuple(np.round(scale).astype(int))), corner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("config", "checkpoint", "photograph", "out"):
        parser.add_argument(name)
    parser.add_argument("--box", nargs=4, type=float, required=True)
    args = parser.parse_args()
    options = dict(model=dict(test_cfg=dict(output_heatmaps=True)))
    model = init_model(args.config, args.checkpoint, device="cpu", cfg_options=options)
    (sample,) = inference_topdown(model, args.photograph, [args.box])
    predicted = sample.pred_instances
    photograph = cv2.imread(args.photograph)[..., ::-1]
    view, corner = crop(photograph, predicted.guide_input_center[0], predicted.guide_input_scale[0])
    height, width = view.shape[:2]

    figure = plt.figure(figsize=(15, 6.6))
    rows = figure.add_gridspec(2, 1, height_ratios=(1, 1.75), hspace=0.02)
    draw_strip(figure.add_subplot(rows[0]))
    axes = rows[1].subgridspec(1, 6, wspace=0.04).subplots()
    axes[0].imshow(view)
    axes[0].set_title("photograph", fontsize=14)
    names = ("stage 2", "stage 3", "stage 4", "output")
    for axis, name, values in zip(axes[1:5], names, predicted.guide_maps[0]):
        axis.imshow(view)
        axis.imshow(values, cmap="gray", vmin=0, vmax=1, alpha=0.7, extent=(0, width, height, 0))
        axis.set_title(f"map of the {name}" if name == "output" else f"map of {name}", fontsize=14)
    axes[5].imshow(view)
    points = predicted.keypoints[0] - corner
    meta = model.dataset_meta
    for (a, b), colour in zip(meta["skeleton_links"], meta["skeleton_link_colors"]):
        axes[5].plot(*points[[a, b]].T, color=np.asarray(colour) / 255, linewidth=3)
    axes[5].scatter(*points.T, s=18, color="white", edgecolor="black", linewidth=0.6, zorder=3)
    axes[5].set_title("pose", fontsize=14)
    for axis in axes:
        axis.set_xlim(0, width)
        axis.set_ylim(height, 0)
        axis.set_axis_off()
    figure.savefig(args.out, dpi=80, bbox_inches="tight")


if __name__ == "__main__":
    main()
