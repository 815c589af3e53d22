# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Fold a trained model into the fewest layers that compute the same."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator

import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.logging import print_log
from mmpose.models.pose_estimators.base import BasePoseEstimator
from torch import Tensor, nn

from ..models import GuidedNeck, GuidedOutputs, SegmentationGuidedModule, SGHRNet

PROBE_SIZE = (128, 128)  # width and height for a model whose codec says nothing of its input
TOLERANCE = 1e-4  # of the largest output


def fold_guides(model: nn.Module) -> nn.Module:
    """Fold a guided model for inference, in place.

    Every guide keeps only its composed kernel, batch normalisations are fused into the
    convolutions before them, and the features become plain tuples: with
    ``output_heatmaps=True`` a folded model gives heatmaps but no ``guide_maps``. Keypoints stay
    the same. A folded model cannot be trained. Folding again changes nothing.

    The state dict of a folded model loads into a folded model alone:
    ``load_checkpoint(fold_guides(init_model(config, device="cpu")), file)``.

    Args:
        model: A pose estimator with guides, or a part of one, in evaluation mode.

    Returns:
        The same model.

    Raises:
        ValueError: If the model has no guides or is in training mode.
    """
    if not any(isinstance(m, SegmentationGuidedModule) for m in model.modules()):
        raise ValueError(
            f"{type(model).__name__} has no guides to fold: fold_guides takes a model with "
            "SGHRNet or SGBackbone. For a plain network use mmcv.cnn.fuse_conv_bn"
        )
    return drop_maps(fuse_layers(model))


def fuse_layers(model: nn.Module) -> nn.Module:
    """Compose the kernels of all guides and fuse batch normalisations into convolutions, in place.

    MMCV's ``fuse_conv_bn`` takes each batch normalisation for that of the convolution registered
    before it. Whether this holds in a network is tried on a copy, with an image of noise. Where it
    does not, the batch normalisations stay and a warning says so.

    Args:
        model: Any model, guided or not, in evaluation mode.

    Returns:
        The same model.

    Raises:
        ValueError: If a part of the model is in training mode.
    """
    training = [name or "all of it" for name, m in model.named_modules() if m.training]
    if training:
        raise ValueError(
            f"{type(model).__name__} is in training mode ({training[0]}), in which batch "
            "normalisation follows each batch and cannot be fused: call model.eval() first"
        )
    for module in model.modules():
        if isinstance(module, SegmentationGuidedModule):
            module.fold()
    if reason := _unlike(model, copy.deepcopy(model)):
        print_log(
            f"fold_guides: the batch normalisations of {type(model).__name__} stay, MMCV's "
            f"fuse_conv_bn does not fit its order of layers ({reason})",
            logger="current",
            level=logging.WARNING,
        )
        return model
    with torch.no_grad():
        fuse_conv_bn(model).eval()  # the layers that it puts in place are in training mode
    return model


def drop_maps(model: nn.Module) -> nn.Module:
    """Make guided backbones return plain tuples and replace guided necks by the plain ones."""
    for module in list(model.modules()):
        if isinstance(module, (SGHRNet, GuidedOutputs)):
            for name, guide in list(module.guides.items()):
                if guide.op == "none":
                    del module.guides[name]
            module.pack = without_maps
        for name, child in list(module.named_children()):
            if isinstance(child, GuidedNeck):
                setattr(module, name, child.neck)
    return model


def without_maps(features: Iterable[Tensor], logits: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Return the features as HRNet does."""
    return tuple(features)


@torch.no_grad()
def _unlike(model: nn.Module, twin: nn.Module) -> str | None:
    """Fuse the twin; return in what it then differs from the model, or None."""
    try:
        fuse_conv_bn(twin)
    except RuntimeError as error:
        return str(error)
    image = _noise(model)
    for expected, given in zip(_outputs(model, image), _outputs(twin, image)):
        change = float((given - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
        if not change <= TOLERANCE:
            return f"an output would change by {change:.2g} of the largest"
    return None


def _noise(model: nn.Module) -> Tensor:
    decoder = getattr(getattr(model, "head", None), "decoder", None)
    width, height = getattr(decoder, "input_size", PROBE_SIZE)
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 3, height, width, generator=generator).to(device)


def _outputs(model: nn.Module, image: Tensor) -> Iterator[Tensor]:
    if isinstance(model, BasePoseEstimator):
        return _flat(model(image, None, mode="tensor"))
    return _flat(model(image))


def _flat(outputs) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    else:
        for output in outputs:
            yield from _flat(output)
