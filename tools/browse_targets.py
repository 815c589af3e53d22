# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Show what the codec makes of a config's dataset after augmentation, as one picture.

Per sample: the model's input with its keypoints (L and blue: the person's left, R and orange: its
right), the heatmaps and, for guided configs, the segmentation mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import Config, DictAction
from PIL import Image
from tqdm import tqdm

import sgpose  # noqa: F401
from sgpose.analysis.target_sheet import (
    encoder_of,
    target_dataset,
    target_items,
    target_panels,
)
from sgpose.visualization.sheet import Cell, contact_sheet


def target_sheet(
    cfg: Config, split: str, num: int, seed: int, title: str
) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Draw the sheet.

    Args:
        cfg: Any top-down config.
        split: "train" or "val".
        num: Number of samples, >= 1; all there are if there are fewer.
        seed: Chooses the samples and the augmentation.
        title: The sheet's title.

    Returns:
        The sheet, (H, W, 3) RGB uint8; the places of its R x C pictures, (R, C, 4), x0, y0, x1, y1;
        and the items of the dataset. A sample's pictures lie side by side, samples from left to
        right.
    """
    dataset = target_dataset(cfg, split)
    encoder = encoder_of(dataset)
    items, samples = [], []
    for index, item in tqdm(target_items(dataset, num, seed), total=num, disable=None):
        panels = target_panels(item, encoder, dataset.metainfo)
        flip = ", flipped" if item["data_samples"].metainfo.get("flip") else ""
        captions = [f"#{index}{flip}"] + [""] * (len(panels) - 1)
        items.append(item)
        samples.append([Cell(*cell) for cell in zip(panels.values(), captions)])
    across = max(1, 9 // len(panels))
    rows = [sum(samples[i : i + across], []) for i in range(0, len(samples), across)]
    codec = getattr(encoder, "codec", encoder)
    radius = f", mask radius {encoder.radius:g}" if hasattr(encoder, "radius") else ""
    note = (
        f"{type(codec).__name__}{radius}, {split} split, seed {seed}. "
        "L, blue: the person's left; R, orange: its right."
    )
    sheet, places = contact_sheet(
        rows, title=title, note=note, columns=list(panels) * min(across, len(samples))
    )
    return sheet, places, items


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="any top-down config, guided or not")
    parser.add_argument("--num", type=int, default=12, help="number of samples (default: 12)")
    parser.add_argument("--out", type=Path, default=Path("targets.png"), help="the picture")
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--seed", type=int, default=0, help="chooses samples and augmentation")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    if args.num < 1:
        parser.error(f"--num must be at least 1, got {args.num}")
    return args


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    try:
        sheet, _, items = target_sheet(cfg, args.split, args.num, args.seed, args.config.stem)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"browse_targets: {error}") from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(args.out)
    print(f"{args.out}: {len(items)} samples, {sheet.shape[1]} x {sheet.shape[0]} pixels")


if __name__ == "__main__":
    main()
