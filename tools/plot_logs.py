# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Plot losses, loss weights, accuracy and validation metrics of one run or several."""

from __future__ import annotations

import argparse
from pathlib import Path

from sgpose.analysis.curves import plot_runs, read_run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="work dirs, or scalars.json files")
    parser.add_argument("--names", nargs="+", help="the runs' names (default: the folders')")
    parser.add_argument(
        "--metrics", nargs="+", help="validation metrics, e.g. coco/AP (default: the first)"
    )
    parser.add_argument("--no-training", action="store_true", help="the metrics alone")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="PNG, PDF or SVG")
    args = parser.parse_args()
    if args.names and len(args.names) != len(args.runs):
        parser.error(f"--names: {len(args.runs)} runs need as many names, got {args.names}")
    return args


def main() -> None:
    args = parse_args()
    names = args.names or [path.name if path.is_dir() else str(path) for path in args.runs]
    if len(set(names)) != len(names):
        names = [str(path) for path in args.runs]
    try:
        runs = {name: read_run(path) for name, path in zip(names, args.runs)}
        figure = plot_runs(runs, args.metrics, training=not args.no_training)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"plot_logs: {error}") from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=100)
    print(args.out)


if __name__ == "__main__":
    main()
