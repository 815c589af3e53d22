# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Measure sgpose beside MMPose and write tables of the ratios.

    python -m benchmarks                        one run of everything but torch.compile
    python -m benchmarks --run 2                a second run, shown beside the first
    python -m benchmarks --only encode step     some sections
    python -m benchmarks --only compiled        torch.compile, which compiles for minutes

What is measured is kept in OUT/runN.json and not measured again: a run that was cut off goes on
where it was, --fresh starts it anew. OUT/README.md shows all runs in OUT.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from mmengine.registry import init_default_scope

import sgpose  # noqa: F401

from . import SECTIONS, run_sections, write_report
from .sections import Settings

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
DEFAULT = [name for name in SECTIONS if name != "compiled"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=DEFAULT)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmark"), help="folder")
    parser.add_argument("--run", type=int, default=1, help="number of the run")
    parser.add_argument("--fresh", action="store_true", help="measure anew what the run holds")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="for forward, compiled, persons, growth"
    )
    parser.add_argument("--rounds", type=float, default=1.0, help="factor on all repetitions")
    args = parser.parse_args(arguments)

    path = args.out / f"run{args.run}.json"
    if args.fresh and path.exists():
        content = json.loads(path.read_text())
        content["cases"] = [c for c in content["cases"] if c["section"] not in args.only]
        path.write_text(json.dumps(content))
    init_default_scope("mmpose")
    run_sections(path, Settings(CONFIGS, args.threads, args.rounds), args.only)
    runs = [json.loads(p.read_text()) for p in sorted(args.out.glob("run*.json"))]
    print(write_report(args.out, runs))


if __name__ == "__main__":
    main()
