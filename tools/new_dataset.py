# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Check COCO-style keypoint annotations and write configs that train on them.

    mim run sgpose new_dataset --train train.json --val val.json --images DIR --name NAME

Writes report.md, report.png, metainfo.py, baseline.py (plain HRNet) and guided.py (the same with a
guide) to NAME/. The files that are given are only read.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mmengine.config import Config

import sgpose  # noqa: F401
from sgpose.analysis.new_dataset import AnnotationError, new_dataset
from sgpose.analysis.new_dataset.configs import GUIDES
from sgpose.analysis.new_dataset.presets import NETWORKS
from sgpose.analysis.new_dataset.report import counts, terminal_text
from sgpose.analysis.new_dataset.timing import human, seconds_per_epoch, this_machine


def size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or any(int(n) % 32 or not int(n) for n in found.groups()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not WIDTHxHEIGHT, both multiples of 32, for instance 192x256"
        )
    return int(found[1]), int(found[2])


def share(text: str) -> float:
    if not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return float(text)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", nargs="+", type=Path, required=True, help="COCO-style JSON files")
    add("--val", nargs="+", type=Path, default=[], help="JSON files of the validation split")
    add(
        "--val-share",
        type=share,
        help="without --val: part of the images to validate on (default: 0.1)",
    )
    add("--images", type=Path, required=True, help="folder that file_name is relative to")
    add("--val-images", type=Path, help="that of --val, where it is another one")
    add("--name", required=True, help="name of the data set")
    add("--out", type=Path, help="folder to write to (default: NAME)")
    add("--decode", action="store_true", help="decode every picture, to find damaged ones")
    add("--fix", action="store_true", help="train on copies in which all that is certain is mended")
    add("--guide", choices=GUIDES, default="supervision", help="gated: the paper's form")
    add("--network", choices=("auto", *NETWORKS), default="auto")
    add("--input", type=size, metavar="WxH", help="the network's input, for instance 192x256")
    add("--metric", choices=("auto", "ap", "pck"), default="auto")
    add("--epochs", type=int)
    add("--batch-size", type=int)
    add("--category", help="the category to read, where several have other keypoints")
    add("--metainfo", help="take names from a metainfo file or one of MMPose's data sets (wflw)")
    add("--seed", type=int, default=0, help="chooses the validation images and the drawn samples")
    args = parser.parse_args()
    if args.val and args.val_share:
        parser.error("give either --val or --val-share")
    if not re.fullmatch(r"[\w.-]+", args.name):
        parser.error(f"--name {args.name}: letters, digits, '-', '_' and '.' only")
    return args


def main() -> None:
    args = parse_args()
    machine = this_machine()
    try:
        result = new_dataset(
            train=args.train,
            images=args.images,
            name=args.name,
            out=args.out or Path(args.name),
            machine=machine,
            val=args.val,
            val_images=args.val_images,
            val_share=args.val_share or 0.1,
            decode=args.decode,
            fix=args.fix,
            guide=args.guide,
            category=args.category,
            metainfo=args.metainfo,
            seed=args.seed,
            network=args.network,
            input_size=args.input,
            metric=args.metric,
            epochs=args.epochs,
            batch=args.batch_size,
        )
    except AnnotationError as error:
        raise SystemExit(f"new_dataset: {error}") from error
    for split, table in result.tables.items():
        print(f"\n{split}: " + "; ".join(f"{k}: {v}" for k, v in counts(table).items()))
    print(terminal_text(result.findings))
    found = [f for some in result.findings.values() for f in some]
    if (mendable := sum(f.mendable for f in found)) and not args.fix:
        print(f"\n--fix trains on copies in which {mendable} of these {len(found)} are mended.")
    print("\n" + "\n".join(f"- {line}" for line in [*result.notes, *result.preset.reasons]))
    written = ("report.md", "report.png", "metainfo.py", "baseline.py", "guided.py")
    print(f"\nWritten to {result.out}/: {', '.join(written)}")
    try:
        cfg = Config.fromfile(result.out / "guided.py")
        seconds = seconds_per_epoch(cfg, result.samples)
        total = human(seconds * result.preset.max_epochs)
        print(
            f"An epoch will take about {human(seconds)} here, all {result.preset.max_epochs} of "
            f"them {total}: an estimate from one short step, without validation."
        )
    except (AssertionError, FileNotFoundError, KeyError, RuntimeError, ValueError) as error:
        print(f"How long an epoch takes could not be tried: {error}")
    for number, (why, command) in enumerate(result.commands, 1):
        print(f"\n{number}. {why}:\n     {command}")


if __name__ == "__main__":
    main()
