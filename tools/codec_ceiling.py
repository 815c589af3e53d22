# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Score the codec itself: encode the ground truth, decode it and evaluate that.

No model can do better than this with the same codec and decoder, except by luck.
"""

from __future__ import annotations

import argparse

from mmengine.config import Config, DictAction

import sgpose  # noqa: F401
from sgpose.analysis.codec_ceiling import codec_ceiling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config of a top-down heatmap model")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    try:
        ceiling = codec_ceiling(cfg)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"codec_ceiling: {error}") from error
    for name, value in ceiling.items():
        print(f"{name} of encoding and decoding the ground truth: {value:.4f}")


if __name__ == "__main__":
    main()
