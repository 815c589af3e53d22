# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Sequence

from mmpose.models.backbones.hrnet import HRModule, HRNet
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..layers import (
    GuidedFeatures,
    GuideModulation,
    build_guides,
    check_guide_op,
    guide_features,
    resize_maps,
)
from ..loaded_weights import check_loaded_weights

STAGES = (2, 3, 4)
GUIDE_SOURCES = ("stage_input", "branch_output", "all_branches")
GUIDE_MODULES = ("last", "first", "all")
GUIDE_TARGETS = ("branch_output", "stage_inputs")


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
    """HRNet whose high-resolution branch is guided by segmentation maps.

    In each guided stage a :class:`SegmentationGuidedModule` predicts a map that weights the
    output of the high-resolution branch before the stage's fusion; one more map weights the
    high-resolution output of the network (paper, section 3.3,
    https://doi.org/10.18280/ts.410522). The state-dict keys of HRNet are unchanged, and with the
    same seed every tensor of HRNet starts with the same values as in HRNet itself.

    Args:
        guide_stages: The guided places: stages out of 2, 3, 4 and ``'out'`` for the output.
        guide_source: What a stage's map is predicted from: ``'stage_input'``, the
            high-resolution input of the stage, or ``'branch_output'``, the branch output that
            it weights (the paper's two descriptions); or ``'all_branches'``, the inputs of the
            stage at all resolutions.
        guide_module: The modules of a stage in which its guide acts: ``'last'``, ``'first'``
            or ``'all'``. A stage has one guide; from ``'branch_output'`` it predicts one map
            per module in which it acts.
        guide_target: What a stage's map weights: ``'branch_output'``, the output of the
            high-resolution branch before the fusion, as in the paper; or ``'stage_inputs'``,
            the inputs of the modules in which the guide acts, at all resolutions; with
            ``guide_module='first'``, or one module a stage, all convolutions of the stage work on
            guided features. The map of ``'out'`` is then only supervised.
        guide_op: ``'multiply'`` (the paper), ``'residual'`` or ``'none'``, see
            :func:`guide_features`; or ``'modulate'``, see :class:`GuideModulation`.
        guide_init_bias: Bias of the guides' logits at the start.
        detach_guide: Pass no gradient from the guided features to the maps.
        num_maps: Number of maps of each guide: 1 as in the paper, or that of the target's
            channels, such as the number of limbs. Several need ``'modulate'`` or ``'none'``.
        guide_kernel_size: Size of the guides' kernels, 3 (the paper) or 1.
        args, kwargs: HRNet's own. ``frozen_stages`` freezes HRNet's layers, never the guides.

    Returns of forward:
        :class:`GuidedFeatures`: HRNet's outputs, which carry the segmentation logits.

    Raises:
        ValueError: If a guide argument is none of its options.
    """

    returns_maps = True  # a folded backbone returns a plain tuple

    def __init__(
        self,
        *args,
        guide_stages: Sequence[int | str] = (2, 3, 4, "out"),
        guide_source: str = "stage_input",
        guide_module: str = "last",
        guide_target: str = "branch_output",
        guide_op: str = "multiply",
        guide_init_bias: float = 0.0,
        detach_guide: bool = False,
        num_maps: int = 1,
        guide_kernel_size: int = 3,
        **kwargs,
    ) -> None:
        check_guide_op(guide_op, num_maps)
        _check_option("guide_source", guide_source, GUIDE_SOURCES)
        _check_option("guide_module", guide_module, GUIDE_MODULES)
        _check_option("guide_target", guide_target, GUIDE_TARGETS)
        _check_option("guide_kernel_size", guide_kernel_size, (1, 3))
        if guide_target == "stage_inputs" and guide_source == "branch_output":
            raise ValueError(
                "guide_target='stage_inputs' needs a map before the stage runs, and "
                "guide_source='branch_output' predicts it after: use 'stage_input' or "
                "'all_branches'"
            )
        places = (*STAGES, "out")
        if len(set(guide_stages)) != len(guide_stages) or not set(guide_stages) <= set(places):
            raise ValueError(
                f"guide_stages must be different ones of {places}, got {tuple(guide_stages)}"
            )
        super().__init__(*args, **kwargs)
        self.guide_source = guide_source
        self.guide_module = guide_module
        self.guide_target = guide_target
        self.guide_op = guide_op
        self.detach_guide = detach_guide
        branches = {
            _guide_name(place): self._branch_channels(place)
            for place in places
            if place in guide_stages
        }
        every = guide_source == "all_branches"
        self.guides = build_guides(
            {name: c if every else c[0] for name, c in branches.items()},
            guide_init_bias,
            num_maps,
            guide_kernel_size,
        )
        self.modulations = nn.ModuleDict()
        for name, c in branches.items():
            if guide_op == "modulate" and self._acts(name):
                self.modulations[name] = (
                    GuideModulation(c[0], num_maps)
                    if guide_target == "branch_output"
                    else nn.ModuleList(GuideModulation(n, num_maps) for n in c)
                )

    def _acts(self, name: str) -> bool:
        """Whether the guide of this name weights features; if not it is only supervised."""
        if self.guide_target == "stage_inputs" and name == "out":
            return False
        return self.guide_op != "none"

    def _used_guides(self) -> list[str]:
        return [name for name in self.guides if self.returns_maps or self._acts(name)]

    def _branch_channels(self, place: int | str) -> list[int]:
        """Channels of each feature map from which the guide of a place can predict."""
        if place == "out":
            module = self.stage4[-1]
            return module.in_channels[: len(module.fuse_layers or [None])]
        return getattr(self, f"stage{place}")[-1].in_channels

    def forward(self, x: Tensor) -> GuidedFeatures:
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        outputs, logits = [self.layer1(x)], []
        for stage in STAGES:
            inputs = self._transition(stage, outputs)
            outputs, stage_logits = self._forward_stage(stage, inputs)
            logits += stage_logits
        if "out" in self._used_guides():
            logits.append(self.guides["out"](self._source(outputs)))
            if self._acts("out"):
                outputs[0] = self._guide(outputs[0], logits[-1], self._modulation("out"))
        return GuidedFeatures(outputs, logits) if self.returns_maps else tuple(outputs)

    def _transition(self, stage: int, outputs: list[Tensor]) -> list[Tensor]:
        layers = getattr(self, f"transition{stage - 1}")
        return [
            outputs[i] if layer is None else layer(outputs[-1]) for i, layer in enumerate(layers)
        ]

    def _forward_stage(self, stage: int, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Run one stage; return its outputs and the logits predicted in it."""
        modules = getattr(self, f"stage{stage}")
        name = _guide_name(stage)
        if name not in self._used_guides():
            return modules(x), []
        guide = self.guides[name]
        from_input = self.guide_source != "branch_output"
        logits = [guide(self._source(x))] if from_input else []
        modulation = self._modulation(name)
        for i, module in enumerate(modules):
            if not self._acts_in(i, len(modules)):
                x = module(x)
            elif self.guide_target == "stage_inputs":
                x = module(self._guide_all(x, logits[-1], modulation))
            else:
                branches = [branch(x[j]) for j, branch in enumerate(module.branches)]
                if not from_input:
                    logits.append(guide(branches[0]))
                branches[0] = self._guide(branches[0], logits[-1], modulation)
                x = fuse_branches(module, branches)
        return x, logits

    def _acts_in(self, index: int, num_modules: int) -> bool:
        if self.guide_module == "all":
            return True
        return index == (0 if self.guide_module == "first" else num_modules - 1)

    def _source(self, x: list[Tensor]) -> Tensor | list[Tensor]:
        return x if self.guide_source == "all_branches" else x[0]

    def _modulation(self, name: str) -> GuideModulation | nn.ModuleList | None:
        # torch.compile cannot do dict(ModuleDict), which has no get of its own
        return self.modulations[name] if name in self.modulations else None  # noqa: SIM401

    def _guide(
        self, features: Tensor, logits: Tensor, modulation: GuideModulation | None
    ) -> Tensor:
        if modulation is None:
            return guide_features(features, logits, self.guide_op, self.detach_guide)
        return modulation(features, logits.detach() if self.detach_guide else logits)

    def _guide_all(
        self, x: list[Tensor], logits: Tensor, modulations: nn.ModuleList | None
    ) -> list[Tensor]:
        """Guide the feature maps of all resolutions by maps of the first's."""
        return [
            self._guide(y, resize_maps(logits, y.shape[-2:]), modulation)
            for y, modulation in zip(x, modulations or [None] * len(x))
        ]

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        check_loaded_weights(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def train(self, mode: bool = True) -> SGHRNet:
        """Set the training mode as HRNet does; return self, as PyTorch's modules do."""
        super().train(mode)
        return self


def _guide_name(place: int | str) -> str:
    return "out" if place == "out" else f"stage{place}"


def _check_option(name: str, value: str | int, options: tuple[str | int, ...]) -> None:
    if value not in options:
        raise ValueError(f"{name} must be one of {options}, got {value!r}")
