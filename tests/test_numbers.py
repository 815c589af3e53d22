# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Training steps on inputs and with settings from the edges of what is sensible."""

import copy
import math

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.optim import OptimWrapper
from mmpose.registry import MODELS
from torch.nn.utils import parameters_to_vector
from toy_runs import fabricated_batch, small_estimator

MODEL = small_estimator()
RNG = np.random.default_rng(0)
POINTS = RNG.uniform(4, 60, (2, 5, 2))
SEEN = np.ones((2, 5))


def build(cfg=MODEL, frozen_statistics=False):
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg)).train()
    if frozen_statistics:
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
    return model


def sgd(model, lr=1.0, **kwargs):
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=lr), **kwargs)


def step(model, batch, optimizer=None):
    """Take one step; check that the log and the weights are finite; return the log."""
    log = model.train_step(copy.deepcopy(batch), optimizer or sgd(model, lr=1e-3))
    log = {k: float(v) for k, v in log.items()}
    assert all(math.isfinite(v) for v in log.values()), log
    assert parameters_to_vector(model.parameters()).isfinite().all()
    return log


def losses(model, batch):
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    return model.loss(data["inputs"], data["data_samples"])


def history(model):
    return model.head.loss_weighting.history


def test_bfloat16_autocast():
    # MMPose computes the training accuracy with NumPy, which has no bfloat16
    cfg = dict(MODEL, train_cfg=dict(compute_acc=False))
    batch = fabricated_batch(MODEL, POINTS, SEEN)
    expected = losses(build(frozen_statistics=True), batch)
    model = build(cfg, frozen_statistics=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(model, batch)
    for name in ("raw_kpt", "raw_seg"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=0.05)
        assert found[name] != expected[name], "computed in half precision"
    assert found["loss_seg"].dtype == torch.float32 == history(model).dtype
    (found["loss_kpt"] + found["loss_seg"]).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_accumulated_gradients_are_those_of_the_whole_batch():
    batch = fabricated_batch(MODEL, POINTS, SEEN)
    whole = build(frozen_statistics=True)
    step(whole, batch, sgd(whole))
    model = build(frozen_statistics=True)
    optimizer = sgd(model, accumulative_counts=2)
    optimizer.initialize_count_status(model, 0, 4)
    start = parameters_to_vector(model.parameters())
    for i in range(2):
        step(model, {k: v[i : i + 1] for k, v in batch.items()}, optimizer)
        moved = not torch.equal(parameters_to_vector(model.parameters()), start)
        assert moved == (i == 1)
    torch.testing.assert_close(
        parameters_to_vector(model.parameters()),
        parameters_to_vector(whole.parameters()),
        rtol=1e-4,
        atol=1e-6,
    )
    assert model.head.loss_weighting.num_intervals == 2, "a step is a training forward"


def test_clipped_gradients_have_the_norm_asked_for():
    model = build()
    before = parameters_to_vector(model.parameters()).detach()
    step(
        model,
        fabricated_batch(MODEL, POINTS, SEEN),
        sgd(model, lr=1.0, clip_grad=dict(max_norm=1e-3)),
    )
    moved = parameters_to_vector(model.parameters()).detach() - before
    assert moved.double().norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_a_step_with_a_loss_that_is_not_finite_is_not_in_the_history():
    good = fabricated_batch(MODEL, POINTS, SEEN)
    bad = copy.deepcopy(good)
    bad["inputs"][0] = torch.full((3, 96, 64), math.inf)
    model = build(frozen_statistics=True)
    losses(model, good), losses(model, good)
    before = history(model).clone()
    assert not losses(model, bad)["raw_kpt"].isfinite()
    assert torch.equal(history(model), before)
    found = losses(model, good)
    assert found["weight_kpt"] == found["weight_seg"] == 1, "equal losses, equal weights"


def test_pytorch_can_end_a_run_before_a_gradient_that_is_not_finite_gets_into_the_weights():
    bad = fabricated_batch(MODEL, POINTS, SEEN)
    bad["inputs"][0] = torch.full((3, 96, 64), math.nan)
    model = build()
    before = parameters_to_vector(model.parameters()).detach().clone()
    with pytest.raises(RuntimeError, match="non-finite"):
        model.train_step(bad, sgd(model, clip_grad=dict(max_norm=1e9, error_if_nonfinite=True)))
    assert torch.equal(parameters_to_vector(model.parameters()), before)


@pytest.mark.parametrize(
    "points, seen",
    [
        (POINTS, np.zeros((2, 5))),
        (np.full((2, 5, 2), 1e6), SEEN),
        (np.full((2, 5, 2), -1e6), SEEN),
        (np.full((2, 5, 2), np.float32(3e38)), SEEN),
    ],
    ids=["invisible", "far right", "far left", "largest float32"],
)
def test_no_keypoint_in_any_picture(points, seen):
    batch = fabricated_batch(MODEL, points, seen)
    assert all(not s.gt_fields.segmentation.any() for s in batch["data_samples"])
    assert all(not s.gt_instance_labels.keypoint_weights.any() for s in batch["data_samples"])
    model = build(frozen_statistics=True)
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    with torch.no_grad():
        logits = model.backbone(data["inputs"]).segmentation_logits
        expected = 0.002 * torch.stack([x.exp().log1p().mean() for x in logits]).mean()
    optimizer, log = sgd(model, lr=0.01), []
    for _ in range(4):
        log.append(step(model, batch, optimizer))
    assert all(entry["raw_kpt"] == entry["loss_kpt"] == 0 for entry in log)
    assert log[0]["raw_seg"] == pytest.approx(float(expected), rel=1e-5)
    # the keypoint loss has no rate of descent, for which 1 is taken
    ratio = log[2]["raw_seg"] / log[1]["raw_seg"]
    weight = 2 * math.exp(ratio) / (math.e + math.exp(ratio))
    assert ratio != 1 and log[3]["weight_seg"] == pytest.approx(weight, rel=1e-5)
    assert log[3]["loss"] == pytest.approx(weight * log[3]["raw_seg"], rel=1e-5)


@pytest.mark.parametrize("batch_size, keypoints", [(1, 1), (1, 133)])
@pytest.mark.parametrize("width, height", [(32, 96), (128, 64)])
def test_numbers_of_keypoints_and_sizes(batch_size, keypoints, width, height):
    cfg = small_estimator(keypoints, (width, height), (width // 4, height // 4))
    points = RNG.uniform(0, (width, height), (batch_size, keypoints, 2))
    batch = fabricated_batch(cfg, points, np.ones((batch_size, keypoints)))
    model = build(cfg)
    log = step(model, batch)
    assert log["loss"] == pytest.approx(log["raw_kpt"] + log["raw_seg"])
    assert log["raw_kpt"] > 0 and log["raw_seg"] > 0
    data = model.data_preprocessor(copy.deepcopy(batch), False)
    assert model.head.forward(model.extract_feat(data["inputs"])).shape == (
        batch_size,
        keypoints,
        height // 4,
        width // 4,
    )


def test_odd_heatmaps():
    cfg = small_estimator(4, (96, 160), (3, 5))
    cfg["backbone"] = dict(
        type="SGBackbone",
        backbone=dict(type="ResNet", depth=18, out_indices=(3,)),
        guide_indices=(0,),
    )
    cfg["head"]["in_channels"] = 512
    batch = fabricated_batch(cfg, RNG.uniform(0, 96, (2, 4, 2)), np.ones((2, 4)))
    log = step(build(cfg), batch)
    assert log["loss"] == pytest.approx(log["raw_kpt"] + log["raw_seg"])


def test_one_task_alone():
    batch = fabricated_batch(MODEL, POINTS, SEEN)
    both = losses(build(frozen_statistics=True), batch)
    alone = build(small_estimator(segmentation_loss=None), frozen_statistics=True)
    unweighted = build(small_estimator(loss_weighting=None), frozen_statistics=True)
    for _ in range(4):
        found = losses(alone, batch)
        assert set(found) == {"loss_kpt", "acc_pose"} and found["loss_kpt"] == both["raw_kpt"]
        found = losses(unweighted, batch)
        assert found["loss_seg"] == both["raw_seg"] and found["loss_kpt"] == both["raw_kpt"]
    for model in (alone, unweighted):
        step(model, batch)


def test_synchronised_normalisation_in_a_single_process():
    cfg = copy.deepcopy(MODEL)
    cfg["backbone"]["norm_cfg"] = dict(type="SyncBN")
    batch = fabricated_batch(cfg, POINTS, SEEN)
    assert step(build(cfg), batch) == pytest.approx(step(build(), batch), rel=1e-6)


@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_a_person_box_of_a_pixel_and_of_less(size):
    codec = MODEL["head"]["decoder"]
    pipeline = Compose(
        [
            dict(type="GetBBoxCenterScale"),
            dict(type="TopdownAffine", input_size=codec["input_size"]),
            dict(
                type="GenerateTarget",
                encoder=dict(type="SegmentationTarget", codec=codec, radius=2.0),
            ),
            dict(type="PackPoseInputs"),
        ]
    )
    sample = pipeline(
        dict(
            img=np.full((40, 50, 3), 90, np.uint8),
            bbox=np.array([[10, 20, 10 + size, 20 + size]], np.float32),
            keypoints=np.full((1, 5, 2), (10 + size / 2, 20 + size / 2), np.float32),
            keypoints_visible=np.ones((1, 5), np.float32),
            dataset_keypoint_weights=np.ones(5, np.float32),
        )
    )
    batch = {key: [sample[key]] * 2 for key in sample}
    assert 0 < sample["data_samples"].gt_fields.segmentation.sum() < 20, "one disc in the middle"
    assert sample["data_samples"].gt_fields.segmentation[0, 12, 8] == 1
    step(build(), batch)
