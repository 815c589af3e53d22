# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import logging
from importlib.util import find_spec

import mmengine.config.config
import pytest
import torch
from hypothesis import Phase, settings
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpose.visualization import PoseLocalVisualizer

import sgpose  # noqa: F401
from sgpose.visualization import SGLocalVisualizer

settings.register_profile("slow machines too", deadline=None)
# of scripts/mutants.py: the same few examples every time, and none made smaller
settings.register_profile(
    "mutants",
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=20,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("slow machines too")

# OpenMIM is not in the modern set, see requirements/modern.txt.
collect_ignore = [] if find_spec("mim") else ["tests/test_mim.py"]


@pytest.fixture(autouse=True)
def mmpose_scope():
    """Look names up in MMPose's registries and keep its long initialisation log away."""
    for logger in MMLogger._instance_dict.values():  # one that an earlier test closed has no file
        for handler in list(logger.handlers):
            if isinstance(handler, logging.FileHandler) and handler.stream is None:
                logger.removeHandler(handler)
    MMLogger.get_instance("mmengine").setLevel(logging.WARNING)
    init_default_scope("mmpose")
    for visualizer in (PoseLocalVisualizer, SGLocalVisualizer):
        visualizer._instance_dict.clear()  # it writes to the folder of an earlier test
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def unformatted_configs():
    """Write configs as they are: laying their text out takes MMEngine longer than a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine.config.config, "FormatCode", lambda text, **style: (text, False))
        yield


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
