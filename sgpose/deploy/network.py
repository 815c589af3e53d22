# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What becomes the graph: from crops to keypoints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from mmengine.model import ImgDataPreprocessor
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from ..models.heads.segmentation_guided_head import attention_maps
from .decoders import Decoder
from .pose_spec import PoseSpec


class ExportedNetwork(nn.Module):
    """A pose estimator with what MMPose does before and after it.

    It normalises crops, runs the model, on the mirrored crops too, and decodes. The mirrored pass
    is that of the head's own ``predict``, which is given a ``decode`` that returns what it gets.

    Args:
        model: The pose estimator, folded or not. Its head's ``decode`` is replaced.
        spec: What the file will say about itself.

    Attributes:
        output_names: ``keypoints`` and ``scores``, what they are decoded from, and the maps.

    Shape:
        crops, as :class:`PoseSpec` describes them -> a tuple of the outputs.
    """

    def __init__(self, model: nn.Module, spec: PoseSpec) -> None:
        super().__init__()
        model.head.decode = lambda outputs: outputs
        self.model = model
        self.spec = spec
        self.decoder = Decoder(spec.codec, spec.input_size)
        self.output_names = ["keypoints", "scores", *spec.decoded]
        self.output_names += [name for name in spec.outputs if name == "guide_maps"]
        self.test_cfg = dict(model.test_cfg or {}, flip_test=spec.flip_test, output_heatmaps=False)
        self.samples = [
            PoseDataSample(
                metainfo=dict(flip_indices=list(spec.flip_indices), input_size=spec.input_size)
            )
        ]

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        images = crops if self.spec.input_layout == "NCHW" else crops.permute(0, 3, 1, 2)
        decoded, maps = self.predict(images)
        outputs = [*self.decoder(*decoded), *decoded]
        if "guide_maps" in self.spec.outputs:
            outputs.append(maps)
        return tuple(outputs)

    def predict(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Return what the head decodes for images (B, 3, h, w), and the guides' maps if any."""
        preprocessor = self.model.data_preprocessor
        images = ImgDataPreprocessor.forward(preprocessor, dict(inputs=images))["inputs"]
        if not self.spec.flip_test:
            feats = self.model.extract_feat(images)
            maps = self._maps(feats)
            return _listed(self.model.head.predict(feats, self.samples, self.test_cfg)), maps
        feats = self.model.extract_feat(torch.cat([images, images.flip(-1)]))
        both = [_apply(feats, partial(_half, index=i)) for i in range(2)]
        maps = self._maps(feats)
        if maps is not None:
            mirrored = flip_heatmaps(
                _half(maps, 1), shift_heatmap=self.test_cfg.get("shift_heatmap", False)
            )
            maps = (_half(maps, 0) + mirrored) * 0.5
        return _listed(self.model.head.predict(both, self.samples, self.test_cfg)), maps

    def _maps(self, feats) -> Tensor | None:
        return attention_maps(feats) if "guide_maps" in self.spec.outputs else None


def _half(x: Tensor, index: int) -> Tensor:
    """Return the first or the second half of a batch."""
    # not chunk or split, which the exporter would fix to the traced number of persons
    return x.reshape(2, -1, *x.shape[1:])[index]


def _apply(feats, function: Callable[[Tensor], Tensor]):
    """Apply a function to each tensor of nested lists and tuples, which become plain ones."""
    if isinstance(feats, Tensor):
        return function(feats)
    return (list if isinstance(feats, list) else tuple)(_apply(x, function) for x in feats)


def _listed(outputs) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)
