# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""A training step reads no tensor's value: a GPU would have to be awaited for it."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch.utils._python_dispatch import TorchDispatchMode

#: Operators whose result, or its shape, depends on values: each waits for the device.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero"}


class NoWaiting(TorchDispatchMode):
    """Refuse operators that wait for the device; copies to the host are refused by ``host``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in WAITING, f"{name} waits for the device"
        if name == "index":
            assert all(i is None or i.dtype != torch.bool for i in args[1]), "boolean index waits"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def host(monkeypatch):
    def refuse(self, *args, **kwargs):
        raise AssertionError("a copy to the host waits for the device")

    for name in ("cpu", "numpy", "tolist", "item", "__array__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)


def estimator(extra, **head):
    return MODELS.build(
        dict(
            type="TopdownPoseEstimator",
            data_preprocessor=dict(type="PoseDataPreprocessor"),
            backbone=dict(type="SGHRNet", extra=extra),
            head=dict(
                type="SGHeatmapHead",
                in_channels=8,
                out_channels=3,
                deconv_out_channels=None,
                loss=dict(type="KeypointMSELoss", use_target_weight=True),
                **head,
            ),
            train_cfg=dict(compute_acc=False),  # MMPose's accuracy is NumPy's
        )
    ).train()


def batch():
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(2):
        sample = PoseDataSample(metainfo=dict(input_size=(64, 64)))
        mask = torch.from_numpy(rng.integers(0, 2, (1, 16, 16)).astype(np.float32))
        sample.gt_fields = PixelData(heatmaps=torch.rand(3, 16, 16), segmentation=mask)
        sample.gt_instance_labels = InstanceData(keypoint_weights=torch.ones(1, 3))
        samples.append(sample)
    return dict(inputs=torch.randn(2, 3, 64, 64), data_samples=samples)


@pytest.mark.parametrize("weight", [0.002, "auto"])
@pytest.mark.parametrize("interval", [1, 3])
def test_a_training_step_waits_for_nothing(small_extra, host, interval, weight):
    weighting = dict(type="DynamicWeightAverage", interval=interval)
    model = estimator(
        small_extra, loss_weighting=weighting, segmentation_loss=dict(loss_weight=weight)
    )
    data = batch()
    for _ in range(3):
        with NoWaiting():
            loss, _ = model.parse_losses(model(**data, mode="loss"))
            loss.backward()


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.item(),
        lambda x: bool(x > 0),
        lambda x: float(x),
        lambda x: x.reshape(1)[x.reshape(1) > 0],
        lambda x: x.reshape(1).nonzero(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
    ],
)
def test_the_check_sees_what_waits(host, wait):
    with pytest.raises(AssertionError, match="waits"), NoWaiting():
        wait(torch.tensor(1.0))
