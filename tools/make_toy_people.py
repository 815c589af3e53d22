# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Write a set of toy people in COCO's layout."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tqdm import tqdm

from sgpose.datasets.toy_people import write_toy_people


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("out", type=Path, help="new or empty folder, or one this tool wrote")
    parser.add_argument("--train", type=int, default=800, help="number of training persons")
    parser.add_argument("--val", type=int, default=200, help="number of validation persons")
    parser.add_argument("--clutter", type=float, default=0.2, help="background, 0 plain to 1")
    parser.add_argument(
        "--occlusion", type=float, default=0.3, help="probability of an object before the person"
    )
    parser.add_argument("--seed", type=int, default=0, help="names the series of persons")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    start = time.perf_counter()
    try:
        write_toy_people(
            args.out,
            args.train,
            args.val,
            clutter=args.clutter,
            occlusion=args.occlusion,
            seed=args.seed,
            progress=lambda numbers: tqdm(numbers, unit="person", leave=False, disable=None),
        )
    except (ValueError, OSError) as error:
        raise SystemExit(f"make_toy_people: {error}") from error
    seconds = time.perf_counter() - start
    count = args.train + args.val
    print(
        f"{args.out}: {args.train} training and {args.val} validation persons in {seconds:.1f} s "
        f"({count / seconds:.0f} persons/s), clutter {args.clutter}, occlusion {args.occlusion}, "
        f"seed {args.seed}"
    )


if __name__ == "__main__":
    main()
