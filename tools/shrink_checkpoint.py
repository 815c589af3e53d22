# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Keep of a training checkpoint what inference needs, with the weights in float16.

The file loads like any checkpoint: PyTorch copies the weights into the model's float32.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

import torch
from mmengine.runner import CheckpointLoader

import sgpose  # noqa: F401
from sgpose.engine.atomic_backend import replace_file

#: What only matters in training: the histories of loss weighting and automatic loss weight.
TRAINING = ("head.loss_weighting.", "head.segmentation_loss.")


def weights_of(checkpoint: dict) -> dict[str, torch.Tensor]:
    """Find the weights in a checkpoint, whoever saved it.

    Args:
        checkpoint: What MMEngine saved, the weights alone, or a dict that holds them once under any
            key.

    Raises:
        ValueError: If there are none, or several.
    """
    if "state_dict" in checkpoint:
        return checkpoint["state_dict"]
    candidates = [x for x in (checkpoint, *checkpoint.values()) if _are_weights(x)]
    if len(candidates) != 1:
        raise ValueError(
            f"the checkpoint holds {len(candidates)} sets of weights, one is needed: its keys are "
            f"{', '.join(map(str, list(checkpoint)[:9]))}. Save a dict with the weights as "
            "'state_dict'"
        )
    return candidates[0]


def _are_weights(value) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(x, torch.Tensor) for x in value.values())
    )


def shrink_checkpoint(checkpoint: dict) -> dict:
    """Return the weights in float16 and the data set's metainfo.

    The optimizer, the training's history and the loss weighting's are left out, and so is the
    config, which names folders of the machine that trained.

    Args:
        checkpoint: See :func:`weights_of`.

    Raises:
        ValueError: If there are no weights or several sets of them, or a weight does not fit into
            float16.
    """
    weights = {}
    for name, value in weights_of(checkpoint).items():
        name = name.removeprefix("module.")  # of DistributedDataParallel
        if name.startswith(TRAINING):
            continue
        if value.is_floating_point():
            half = value.half()
            if not half.isfinite().all():
                raise ValueError(f"{name} holds values up to {value.abs().max()}: not in float16")
            value = half
        weights[name] = value.contiguous().clone()
    meta = checkpoint.get("meta", {})
    kept = {key: meta[key] for key in ("dataset_meta", "epoch", "seed") if key in meta}
    return dict(state_dict=weights, meta=kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    args = parser.parse_args()
    try:
        shrunk = shrink_checkpoint(CheckpointLoader.load_checkpoint(args.checkpoint, "cpu"))
    except ValueError as error:
        parser.error(f"{args.checkpoint}: {error}")
    unfinished = f"{args.out}.unfinished"
    torch.save(shrunk, unfinished)
    replace_file(unfinished, args.out)
    print(f"{args.out}: {os.path.getsize(args.out) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
