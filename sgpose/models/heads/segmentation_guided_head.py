# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from mmpose.models.heads import EDPoseHead, HeatmapHead, RTMCCHead, SimCCHead
from mmpose.models.losses import RLELoss
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..layers import GuidedFeatures
from ..losses.segmentation_loss import LOSS_WEIGHT


def resize_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize segmentation logits bilinearly to the size of the mask.

    Args:
        logits: (B, M, h, w).
        size: Height H and width W of the mask.

    Returns:
        (B, M, H, W).

    Raises:
        ValueError: If the aspect ratios differ by more than the rounding of strides explains.
    """
    h, w = logits.shape[-2:]
    height, width = size
    if abs(h - w * height / width) >= 1 and abs(w - h * width / height) >= 1:
        raise ValueError(
            f"a segmentation map of {h}x{w} (height x width) cannot be compared with a mask of "
            f"{height}x{width}: the aspect ratios differ. Set SegmentationTarget's mask_size or "
            "the codec's heatmap_size, which are (width, height), to that of the input"
        )
    if (h, w) == tuple(size):
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def attention_maps(feats: GuidedFeatures) -> Tensor:
    """Return the segmentation maps of all S guides at the finest guide's size, (B, S, h, w).

    Of a guide with several maps it is their maximum.
    """
    sizes = [(x.shape[-2], x.shape[-1]) for x in feats.segmentation_logits]
    size = max(sizes, key=lambda s: s[0] * s[1])
    maps = [resize_logits(x, size).sigmoid() for x in feats.segmentation_logits]
    return torch.cat([x.amax(dim=1, keepdim=True) for x in maps], dim=1)


if TYPE_CHECKING:

    class _Head(nn.Module):
        """What a head has: the mix-in calls it by ``super()``."""

        def loss(self, feats, batch_data_samples: list, train_cfg: dict) -> dict: ...

        def predict(self, feats, batch_data_samples: list, test_cfg: dict): ...

else:
    _Head = object


class SegmentationGuidedHeadMixin(_Head):
    """Add the segmentation loss to a head: ``class MyHead(SegmentationGuidedHeadMixin, Head)``.

    In training the head's own losses and the segmentation loss of the features' guides are
    weighted against each other (paper, section 3.4, https://doi.org/10.18280/ts.410522): all the
    head's losses get one weight, ``loss_seg`` the other. ``raw_kpt``, ``raw_seg`` (the losses
    before weighting) and ``weight_kpt``, ``weight_seg`` are logged beside them.

    Prediction is the head's own. With ``output_heatmaps=True`` in the test config, each
    ``pred_instances`` also holds

        - guide_maps (np.ndarray): (N, S, h, w), the segmentation maps of the S guides in [0, 1]
          for each of its N persons, the same for all of an image; under flip test the mean of
          both passes
        - guide_input_center, guide_input_scale (np.ndarray): (N, 2), centre and size of the crop
          (the input, where a network finds all persons) in pixels of the image

    Args:
        segmentation_loss (dict, optional): Config of the segmentation loss, None for none.
            Defaults to ``dict(type='SegmentationLoss', loss_weight=0.002)``; ``type`` may be left
            out. ``loss_weight='auto'`` finds the weight in the first steps; beside RLELoss, a
            likelihood without a magnitude, it is the number.
        loss_weighting (dict, optional): Config of the weighting, None for none. Defaults to
            ``dict(type='DynamicWeightAverage', temperature=1.0, interval=1)``; ``type`` may be
            left out. Another module needs what is used of that one: ``weights()`` and the call
            with losses and weights. With a ``loss_weight`` of 0 nothing is weighted.
        args, kwargs: The head's own.

    Raises:
        TypeError: If a class names a head before the mix-in, whose methods would then not be used,
            or the head is EDPoseHead, which MMPose cannot train.

    Example:
        >>> @MODELS.register_module()
        ... class SGMyHead(SegmentationGuidedHeadMixin, MyHead):
        ...     pass
    """

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        before = cls.__mro__[: cls.__mro__.index(SegmentationGuidedHeadMixin)]
        for base in before:
            if issubclass(base, nn.Module) and not issubclass(base, SegmentationGuidedHeadMixin):
                raise TypeError(
                    f"{cls.__name__} takes its losses from {base.__name__}, not from the mix-in: "
                    "name SegmentationGuidedHeadMixin first, class "
                    f"{cls.__name__}(SegmentationGuidedHeadMixin, {base.__name__})"
                )

    def __init__(
        self,
        *args,
        segmentation_loss: dict | None = dict(type="SegmentationLoss", loss_weight=LOSS_WEIGHT),
        loss_weighting: dict | None = dict(
            type="DynamicWeightAverage", temperature=1.0, interval=1
        ),
        **kwargs,
    ) -> None:
        if segmentation_loss is not None and isinstance(self, EDPoseHead):
            raise TypeError(
                f"{type(self).__name__}: MMPose 1.3.2 cannot train EDPoseHead, so there is no loss "
                "to guide. Set segmentation_loss=None to predict with it"
            )
        super().__init__(*args, **kwargs)
        self.segmentation_loss: nn.Module | None = None
        self.loss_weighting: Any = None  # a module with one more method
        if segmentation_loss is not None:
            segmentation_loss = dict(dict(type="SegmentationLoss"), **segmentation_loss)
            if segmentation_loss.get("loss_weight") == "auto" and self._is_likelihood():
                segmentation_loss["loss_weight"] = LOSS_WEIGHT
            self.segmentation_loss = MODELS.build(segmentation_loss)
        if loss_weighting is not None:
            self.loss_weighting = MODELS.build(
                dict(dict(type="DynamicWeightAverage"), **loss_weighting)
            )

    def _is_likelihood(self) -> bool:
        """Whether the head's loss crosses zero; if so it is said what 'auto' means then."""
        likelihood = any(isinstance(module, RLELoss) for module in self.modules())
        if likelihood:
            print_log(
                f"{type(self).__name__}: loss_weight='auto' is {LOSS_WEIGHT} here, since RLELoss "
                "is a likelihood, whose magnitude says nothing. Set a number that suits it",
                logger="current",
                level=logging.WARNING,
            )
        return likelihood

    def forward(self, feats: GuidedFeatures, *args, **kwargs):
        """Run the head.

        Raises:
            ValueError: If the head is built for feature maps of another size (SimCC, RTMPose).
        """
        needed: tuple[int, int] | None = getattr(self, "in_featuremap_size", None)
        if needed is not None and (given := tuple(feats[-1].shape[:1:-1])) != tuple(needed):
            raise ValueError(
                f"{type(self).__name__} is built for feature maps of (width, height) "
                f"{tuple(needed)} and got {given}: set its in_featuremap_size to that, or give it "
                "another output of the backbone"
            )
        return super().forward(feats, *args, **kwargs)

    def loss(self, feats: GuidedFeatures, batch_data_samples: list, train_cfg: dict = {}) -> dict:
        """Compute the head's losses and the segmentation loss, weighted.

        Raises:
            TypeError: If the features carry no segmentation logits.
            ValueError: If the targets hold no segmentation, or one whose aspect ratio is not that
                of the maps, or are of another number of keypoints than the head's.
        """
        self._check_keypoints(batch_data_samples[0])
        losses = super().loss(feats, batch_data_samples, train_cfg)
        if self.segmentation_loss is None:
            getattr(feats, "segmentation_logits", ())  # seen, and left alone
            return losses
        target = _segmentation_target(batch_data_samples)
        height, width = target.shape[-2:]
        logits = [resize_logits(x, (height, width)) for x in _segmentation_logits(feats)]
        segmentation = self.segmentation_loss(logits, target)
        names = [name for name in losses if "loss" in name]
        keypoint = torch.stack([_total(losses[name]) for name in names]).sum()
        auto = getattr(self.segmentation_loss, "auto_weight", None)
        # the weighting compares each loss with itself: it must not see the factor settle
        scale = 1.0 if auto is None else auto(keypoint, segmentation)
        if self.loss_weighting is None or getattr(self.segmentation_loss, "loss_weight", 1) == 0:
            return dict(losses, loss_seg=scale * segmentation)

        weights = self.loss_weighting.weights()
        weighted = self.loss_weighting(dict(keypoint=keypoint, segmentation=segmentation), weights)
        losses.update({name: _scale(losses[name], weights["keypoint"]) for name in names})
        losses.update(
            loss_seg=scale * weighted["segmentation"],
            raw_kpt=keypoint.detach(),
            raw_seg=scale * segmentation.detach(),
            weight_kpt=weights["keypoint"],
            weight_seg=weights["segmentation"],
        )
        return losses

    def _check_keypoints(self, sample) -> None:
        """Raise a ValueError if the targets have not as many channels as the head predicts."""
        needed = getattr(self, "out_channels", None)
        if needed is not None:  # of which some are tags in associative embedding
            needed = getattr(self, "num_keypoints", needed)
        labels = sample.get("gt_instance_labels", {})
        heatmaps = sample.gt_fields.get("heatmaps") if "gt_fields" in sample else None
        if isinstance(heatmaps, Tensor):
            given = len(heatmaps)
        elif "keypoint_weights" in labels:
            given = labels.keypoint_weights.shape[-1]
        else:
            return
        if needed is not None and given != needed:
            raise ValueError(
                f"{type(self).__name__} predicts {needed} channels, the targets have {given}: set "
                "the head's out_channels to the number of keypoints in the dataset's metainfo"
            )

    def predict(self, feats, batch_data_samples: list, test_cfg: dict = {}):
        """Predict as the head does; add the guides' maps where heatmaps are asked for."""
        preds = super().predict(feats, batch_data_samples, test_cfg)
        if test_cfg.get("multiscale_test", False):
            feats = feats[0]  # of the first scale
        passes = feats if isinstance(feats, list) else [feats]
        guided = bool(getattr(passes[0], "segmentation_logits", ()))
        if guided and test_cfg.get("output_heatmaps", False):
            maps = attention_maps(passes[0])
            if test_cfg.get("flip_test", False):
                flipped = flip_heatmaps(
                    attention_maps(passes[1]),
                    shift_heatmap=test_cfg.get("shift_heatmap", False),
                )
                maps = (maps + flipped) * 0.5
            instances = preds[0] if isinstance(preds, tuple) else preds
            for instance, sample, sample_maps in zip(
                instances, batch_data_samples, maps.detach().float().cpu().numpy()
            ):
                _add_maps(instance, sample_maps, sample.metainfo)
        return preds


def _add_maps(instance: InstanceData, maps: np.ndarray, metainfo: dict) -> None:
    """Give each of the N persons of an image, N >= 0, the image's or crop's maps (S, h, w)."""
    count = len(instance) if instance.keys() else 1
    center, scale = (np.reshape(metainfo[name], (1, 2)) for name in ("input_center", "input_scale"))
    instance.guide_maps = np.broadcast_to(maps, (count, *maps.shape))
    instance.guide_input_center = np.repeat(center, count, axis=0)
    instance.guide_input_scale = np.repeat(scale, count, axis=0)


@MODELS.register_module()
class SGHeatmapHead(SegmentationGuidedHeadMixin, HeatmapHead):
    """MMPose's HeatmapHead with the segmentation loss of :class:`SegmentationGuidedHeadMixin`.

    Example:
        >>> head = dict(type="SGHeatmapHead", segmentation_loss=dict(loss_weight="auto"))
    """

    _target_size: tuple[int, int] | None = None  # height and width, while a loss is computed

    def loss(self, feats: GuidedFeatures, batch_data_samples: list, train_cfg: dict = {}) -> dict:
        """Compute the losses of :class:`SegmentationGuidedHeadMixin`.

        Raises:
            ValueError: As there, and if the targets' heatmaps have not the size of the head's.
        """
        fields = batch_data_samples[0].get("gt_fields", {})
        self._target_size = tuple(fields.heatmaps.shape[-2:]) if "heatmaps" in fields else None
        try:
            return super().loss(feats, batch_data_samples, train_cfg)
        finally:
            self._target_size = None

    def forward(self, feats: GuidedFeatures) -> Tensor:
        """Predict heatmaps (B, K, H, W)."""
        heatmaps = super().forward(feats)
        target = self._target_size
        if target is not None and tuple(heatmaps.shape[-2:]) != target:
            raise ValueError(
                f"{type(self).__name__} predicts heatmaps of (width, height) "
                f"{tuple(heatmaps.shape[:1:-1])}, the targets' are {target[::-1]}: set the codec's "
                "heatmap_size, which is (width, height), to the first, in the head's decoder and "
                "in GenerateTarget's encoder"
            )
        return heatmaps


@MODELS.register_module()
class SGSimCCHead(SegmentationGuidedHeadMixin, SimCCHead):
    """MMPose's SimCCHead with the segmentation loss of :class:`SegmentationGuidedHeadMixin`.

    Example:
        >>> model = dict(head=dict(type="SGSimCCHead"))  # the codec: SegmentationTarget(mask_size=)
    """


@MODELS.register_module()
class SGRTMCCHead(SegmentationGuidedHeadMixin, RTMCCHead):
    """MMPose's RTMCCHead with the segmentation loss of :class:`SegmentationGuidedHeadMixin`.

    Example:
        >>> model = dict(head=dict(type="SGRTMCCHead"))  # the codec: SegmentationTarget(mask_size=)
    """


def _segmentation_logits(feats) -> tuple[Tensor, ...]:
    logits = getattr(feats, "segmentation_logits", ())
    if not logits:
        raise TypeError(
            f"the head needs features that carry segmentation logits, got {type(feats).__name__} "
            "without: use a guided backbone (SGHRNet, SGBackbone), wrap a neck between them in "
            "GuidedNeck(neck=...), or set segmentation_loss=None"
        )
    return logits


def _segmentation_target(batch_data_samples: list) -> Tensor:
    if not all(
        "gt_fields" in sample and "segmentation" in sample.gt_fields
        for sample in batch_data_samples
    ):
        raise ValueError(
            "the targets hold no segmentation: wrap the codec of GenerateTarget, "
            "encoder=dict(type='SegmentationTarget', codec=codec, radius=5.0), or set the head's "
            "segmentation_loss=None"
        )
    return torch.stack([sample.gt_fields.segmentation for sample in batch_data_samples])


def _total(loss: Tensor | list[Tensor]) -> Tensor:
    """Reduce a loss as MMEngine's ``parse_losses`` does."""
    return torch.stack([x.mean() for x in ([loss] if isinstance(loss, Tensor) else loss)]).sum()


def _scale(loss: Tensor | list[Tensor], weight: Tensor) -> Tensor | list[Tensor]:
    return loss * weight if isinstance(loss, Tensor) else [x * weight for x in loss]
