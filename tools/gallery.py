# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Show the hardest, the median and the best samples of a test set, for one model or several.

Writes gallery.png and gallery.html: the ground truth, each model's pose with its score (OKS or PCK
of that sample) and beneath the maps of the guides. Samples are ordered by the models' mean score.
Predictions are kept in OUT/cache: run again after an interruption, or with another --num or
--score, it goes on with what is there. Any other dataset: --cfg-options test_dataloader....
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config, DictAction

import sgpose  # noqa: F401
from sgpose.analysis.gallery import gallery


def name_of(cfg: Config, taken: list[str]) -> str:
    """Name a model after its backbone, with a number if that name is taken."""
    name = cfg.model.backbone.type
    return name if name not in taken else f"{name} {len(taken) + 1}"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument(
        "--also",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "CHECKPOINT"),
        help="another model on the same test set, beside the first; may be repeated",
    )
    parser.add_argument("--names", nargs="+", help="the models' names (default: their backbones')")
    parser.add_argument("--out", type=Path, default=Path("gallery"), help="folder")
    parser.add_argument("--num", type=int, default=3, help="samples per group (default: 3)")
    parser.add_argument("--score", choices=("oks", "pck"), help="default: the config's metric")
    parser.add_argument("--height", type=int, default=192, help="of a picture in pixels")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    if args.names and len(args.names) != 1 + len(args.also):
        parser.error(f"--names: {1 + len(args.also)} models need as many names, got {args.names}")
    return args


def main() -> None:
    args = parse_args()
    models: list[tuple[Config, str, str]] = []
    for number, (path, checkpoint) in enumerate([(args.config, args.checkpoint), *args.also]):
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(args.cfg_options)
        name = args.names[number] if args.names else name_of(cfg, [m[2] for m in models])
        models.append((cfg, checkpoint, name))
    try:
        gallery(models, args.out, args.num, args.score, args.height)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"gallery: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(
            f"gallery: interrupted; run again to go on from {args.out}/cache"
        ) from None
    print(f"{args.out / 'gallery.png'} and {args.out / 'gallery.html'}")


if __name__ == "__main__":
    main()
