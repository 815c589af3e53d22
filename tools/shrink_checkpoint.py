# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Keep of a training checkpoint what inference needs, with the weights in float16.

The file loads like any checkpoint: PyTorch copies the weights into the model's float32.
"""

from __future__ import annotations

import argparse
import os

import torch
from mmengine.runner import CheckpointLoader

import sgpose  # noqa: F401


def shrink_checkpoint(checkpoint: dict) -> dict:
    """Return the weights in float16 and the data set's metainfo.

    The optimizer, the training's history and the loss weighting's are left out, and so is the
    config, which names folders of the machine that trained.

    Args:
        checkpoint: What MMEngine saved.

    Raises:
        ValueError: If a weight does not fit into float16.
    """
    weights = {}
    for name, value in checkpoint["state_dict"].items():
        if name.startswith("head.loss_weighting."):
            continue
        if value.is_floating_point():
            half = value.half()
            if not half.isfinite().all():
                raise ValueError(f"{name} holds values up to {value.abs().max()}: not in float16")
            value = half
        weights[name] = value.contiguous().clone()
    meta = checkpoint["meta"]
    kept = {key: meta[key] for key in ("dataset_meta", "epoch", "seed") if key in meta}
    return dict(state_dict=weights, meta=kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    args = parser.parse_args()
    shrunk = shrink_checkpoint(CheckpointLoader.load_checkpoint(args.checkpoint, "cpu"))
    unfinished = f"{args.out}.unfinished"
    torch.save(shrunk, unfinished)
    os.replace(unfinished, args.out)
    print(f"{args.out}: {os.path.getsize(args.out) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
