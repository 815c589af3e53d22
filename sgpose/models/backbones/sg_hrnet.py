# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""SG-HRNet, paper section 3.3: https://doi.org/10.18280/ts.410522"""

from __future__ import annotations

from collections.abc import Sequence

from mmpose.models.backbones.hrnet import HRModule, HRNet
from mmpose.registry import MODELS
from torch import Tensor

from ..layers import GuidedFeatures, Pack, build_guides
from ..utils import check_loaded_weights

STAGES = (2, 3, 4)


def fuse_branches(module: HRModule, branches: Sequence[Tensor]) -> list[Tensor]:
    """Fuse the branch outputs of an HRModule as its own forward does.

    Args:
        module: The module whose fusion layers are used.
        branches: One feature map per branch, the highest resolution first.

    Returns:
        The fused feature maps, equal bit for bit to those of ``module.forward``.
    """
    if module.num_branches == 1:
        return list(branches)
    return [
        module.relu(sum(x if i == j else layers[j](x) for j, x in enumerate(branches)))
        for i, layers in enumerate(module.fuse_layers)
    ]


@MODELS.register_module()
class SGHRNet(HRNet):
    """HRNet whose high-resolution branch is gated, stage by stage, by segmentation maps.

    In each guided stage a :class:`SegmentationGuidedModule` predicts a map that gates the output
    of the high-resolution branch before the stage's fusion; one more gates the high-resolution
    output of the network. The state-dict keys of HRNet are unchanged, and with the same seed every
    tensor of HRNet starts with the same values as in HRNet itself.

    Args:
        guide_stages: The guided places: stages out of 2, 3, 4 and ``'out'`` for the output.
        guide_source: What a stage's map is predicted from: ``'stage_input'``, the
            high-resolution input of the stage, or ``'branch_output'``, the branch output that
            it gates (the paper's two descriptions).
        guide_module: The modules of a stage in which its guide acts: ``'last'`` or ``'all'``. A
            stage has one guide; from ``'branch_output'`` it predicts one map per module.
        guide_op: ``'multiply'`` (the paper), ``'residual'`` or ``'none'`` (auxiliary supervision
            only), see :class:`SegmentationGuidedModule`.
        guide_init_bias: Bias of the guides' logits at the start.
        detach_guide: Pass no gradient from the gated features to the maps.
        args, kwargs: HRNet's own. ``frozen_stages`` freezes HRNet's layers, never the guides.

    Returns of forward:
        :class:`GuidedFeatures`: HRNet's outputs, which carry the segmentation logits.

    Raises:
        ValueError: If a guide argument is none of its options, or ``extra`` is no HRNet's.

    Example:
        >>> name = "lspet/td-hm_sghrnet-w16_1xb32-60e_lspet-128x96.py"
        >>> cfg = Config.fromfile(f"configs/sg_hrnet/{name}")
        >>> backbone = MODELS.build(cfg.model.backbone)
        >>> features = backbone(torch.zeros(1, 3, 128, 96))
        >>> features[0].shape, len(features.segmentation_logits)
        (torch.Size([1, 16, 32, 24]), 4)
    """

    pack: Pack = GuidedFeatures  # of a folded network: a plain tuple

    def __init__(
        self,
        *args,
        guide_stages: Sequence[int | str] = (*STAGES, "out"),
        guide_source: str = "stage_input",
        guide_module: str = "last",
        guide_op: str = "multiply",
        guide_init_bias: float = 0.0,
        detach_guide: bool = False,
        **kwargs,
    ) -> None:
        check_option("guide_source", guide_source, ("stage_input", "branch_output"))
        check_option("guide_module", guide_module, ("last", "all"))
        places = (*STAGES, "out")
        if len(set(guide_stages)) != len(guide_stages) or not set(guide_stages) <= set(places):
            raise ValueError(
                f"guide_stages must be different ones of {places}, got {tuple(guide_stages)}"
            )
        _check_extra(args[0] if args else kwargs.get("extra"))
        super().__init__(*args, **kwargs)
        self.guide_source = guide_source
        self.guide_module = guide_module
        self.guides = build_guides(
            {
                place if place == "out" else f"stage{place}": self.branch_channels(place)[0]
                for place in places
                if place in guide_stages
            },
            op=guide_op,
            init_bias=guide_init_bias,
            detach=detach_guide,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run stem and stages, each of which may add its logits."""
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        branches: list[Tensor] = [self.layer1(x)]
        logits: list[Tensor] = []
        for stage in STAGES:
            branches = self._stage(stage, self._transition(stage, branches), logits)
        return self.pack(self._output(branches, logits), logits)

    def _stage(self, stage: int, x: list[Tensor], logits: list[Tensor]) -> list[Tensor]:
        """Run a stage; its guide gates the high-resolution branch before the fusion."""
        modules = getattr(self, f"stage{stage}")
        if f"stage{stage}" not in self.guides:
            return modules(x)
        guide = self.guides[f"stage{stage}"]
        if self.guide_source == "stage_input":
            logits.append(guide.predict(x[0]))
        for i, module in enumerate(modules):
            if self.guide_module == "last" and i < len(modules) - 1:
                x = module(x)
                continue
            branches = [branch(y) for branch, y in zip(module.branches, x)]
            if self.guide_source == "branch_output":
                logits.append(guide.predict(branches[0]))
            branches[0] = guide.gate(branches[0], logits[-1])
            x = fuse_branches(module, branches)
        return x

    def _output(self, x: list[Tensor], logits: list[Tensor]) -> list[Tensor]:
        """Gate the high-resolution output with a map that is predicted from itself."""
        if "out" in self.guides:
            x[0], predicted = self.guides["out"](x[0], source=x[0])
            logits.append(predicted)
        return x

    def _transition(self, stage: int, x: list[Tensor]) -> list[Tensor]:
        layers = getattr(self, f"transition{stage - 1}")
        return [x[i] if layer is None else layer(x[-1]) for i, layer in enumerate(layers)]

    def branch_channels(self, place: int | str) -> list[int]:
        """Return the channels of a stage's branches, or of the outputs for ``'out'``."""
        if place == "out":
            module = self.stage4[-1]
            return module.in_channels[: len(module.fuse_layers or [None])]
        return getattr(self, f"stage{place}")[-1].in_channels

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        check_loaded_weights(self, state_dict, prefix, unexpected=args[3])
        super()._load_from_state_dict(state_dict, prefix, *args)

    def train(self, mode: bool = True) -> SGHRNet:
        """Set the training mode as HRNet does; return self, as PyTorch's modules do."""
        super().train(mode)
        return self


def check_option(name: str, value: str, options: tuple[str, ...]) -> None:
    """Raise a ValueError unless ``value`` is one of ``options``."""
    if value not in options:
        raise ValueError(f"{name} must be one of {options}, got {value!r}")


def _check_extra(extra: dict | None) -> None:
    """Raise a ValueError unless ``extra`` describes the stages of an HRNet."""
    stages = [(extra or {}).get(f"stage{i}") or {} for i in (1, *STAGES)]
    if not all(stage.get("block") in HRNet.blocks_dict for stage in stages):
        raise ValueError(
            f"SGHRNet is an HRNet: its extra needs stage1 to stage4 with a block out of "
            f"{tuple(HRNet.blocks_dict)}, got {extra}. To guide another backbone wrap it: "
            "backbone=dict(_delete_=True, type='SGBackbone', backbone=_base_.model.backbone)"
        )
