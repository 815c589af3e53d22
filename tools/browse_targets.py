# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Show what the codec makes of a config's dataset after augmentation, as one picture.

Per sample: the model's input with its keypoints (L and blue: the person's left, R and orange: its
right), the heatmaps and, for guided configs, the segmentation mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config, DictAction
from PIL import Image

import sgpose  # noqa: F401
from sgpose.analysis.target_sheet import target_sheet


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
        sheet, _, items, notes = target_sheet(
            cfg, args.split, args.num, args.seed, args.config.stem
        )
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"browse_targets: {error}") from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(args.out)
    for note in notes:
        print(f"note: {note}")
    print(f"{args.out}: {len(items)} samples, {sheet.shape[1]} x {sheet.shape[0]} pixels")


if __name__ == "__main__":
    main()
