# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

import sgpose  # noqa: F401


@pytest.fixture(autouse=True)
def mmpose_scope():
    """Look names up in MMPose's registries and keep its long initialisation log away."""
    MMLogger.get_instance("mmengine").setLevel(logging.WARNING)
    init_default_scope("mmpose")
    torch.manual_seed(0)


@pytest.fixture
def small_extra() -> dict:
    """Return the ``extra`` of an HRNet with every structure of the real one but few channels."""
    channels = (8, 16, 24, 32)

    def stage(branches, modules):
        return dict(
            num_modules=modules,
            num_branches=branches,
            block="BASIC",
            num_blocks=(1,) * branches,
            num_channels=channels[:branches],
        )

    return dict(
        stage1=dict(
            num_modules=1,
            num_branches=1,
            block="BOTTLENECK",
            num_blocks=(1,),
            num_channels=(8,),
        ),
        stage2=stage(2, 1),
        stage3=stage(3, 2),
        stage4=stage(4, 2),
    )
