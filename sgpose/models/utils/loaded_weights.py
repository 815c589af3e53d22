# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log
from torch import Tensor, nn

NEW = "guides."


def check_loaded_weights(
    backbone: nn.Module, weights: Mapping[str, Tensor], prefix: str, unexpected: Sequence[str]
) -> None:
    """Refuse weights that would leave a guided backbone as random as it was.

    MMEngine loads what fits and reports the rest in one warning; weights of another width or
    under other names would thus go unnoticed. That the guides alone are missing is said in the log.

    Args:
        backbone: The guided backbone, which holds its guides as ``guides``.
        weights: What is about to be loaded into the backbone.
        prefix: What stands before the backbone's keys in ``weights``.
        unexpected: Keys of the checkpoint that belong to no part of the network.

    Raises:
        ValueError: If none of the backbone's weights is there though the checkpoint is not just
            another part of the network, or one of another shape.
    """
    if not weights and not unexpected:  # the head's alone, say
        return
    own = {k: v.shape for k, v in backbone.state_dict().items() if not k.startswith(NEW)}
    given = {k[len(prefix) :]: v.shape for k, v in weights.items() if k.startswith(prefix)}
    common = [k for k in own if k in given]
    name = type(backbone).__name__
    if not common:
        count = len({*weights, *unexpected})
        raise ValueError(
            f"the checkpoint holds no weights of {name}: none of its {count} keys is "
            f"'{prefix}{next(iter(own))}' or the like. Bare HRNet weights (ImageNet) belong into "
            "model.backbone.init_cfg = dict(type='Pretrained', checkpoint=...), with "
            "prefix='backbone.' where the file holds a whole pose estimator; one to go on from "
            "as a whole belongs into load_from"
        )
    misfits = [k for k in common if given[k] != own[k]]
    if misfits:
        examples = ", ".join(f"{k} {_size(given[k])} for {_size(own[k])}" for k in misfits[:3])
        raise ValueError(
            f"{len(misfits)} of {len(common)} weights in the checkpoint have another shape than in "
            f"{name}, the first (given for needed): {examples}. It is of another width or input: "
            "take a checkpoint of this backbone, or set model.backbone.extra to the checkpoint's"
        )
    lacking = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    if lacking:
        print_log(
            f"{name}: {len(lacking)} of {len(own)} weights are not in the checkpoint and start "
            f"fresh, {lacking[0]} the first: it is of a network with fewer layers or outputs",
            logger="current",
            level=logging.WARNING,
        )
    elif len(backbone.guides) and not any(k.startswith(NEW) for k in given):
        print_log(
            f"{name}: the checkpoint is of a backbone without guides, which start fresh; "
            "missing keys with 'guides' are expected",
            logger="current",
        )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def check_folded_alike(guide: nn.Module, weights: Mapping[str, Tensor], prefix: str) -> None:
    """Refuse weights of a guide that are folded where it is not, or the reverse.

    Args:
        guide: The guide, which has ``folded``.
        weights: What is about to be loaded.
        prefix: What stands before the guide's keys in ``weights``.

    Raises:
        ValueError: If they are not alike; loaded, they would leave the guide half random.
    """
    given = {key for key in weights if key.startswith(prefix)}
    if not given or (prefix + "weight" in given) == guide.folded:
        return
    raise ValueError(
        f"{prefix[:-1]}: the model is folded, the weights are not: load them first, then "
        "fold_guides(model)"
        if guide.folded
        else f"{prefix[:-1]}: the weights are of a model that fold_guides folded, the model is "
        "not: load them with load_checkpoint(fold_guides(init_model(config)), file)"
    )
