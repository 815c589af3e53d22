# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpose.registry import KEYPOINT_CODECS, MODELS

from sgpose.models.losses import AutoLossWeight, auto_loss_weight

positive = st.floats(1e-4, 1e4)
#: Losses as they come: of unlabelled batches and of overflows too.
any_loss = st.one_of(positive, st.sampled_from([0.0, math.nan, math.inf]))
STEPS = 6


def build(steps=STEPS, otherwise=0.002):
    return AutoLossWeight(otherwise, steps).train()


def weigh(auto, reference, loss):
    return float(auto(torch.tensor(reference), torch.tensor(loss)))


@pytest.fixture
def log(monkeypatch):
    messages = []
    monkeypatch.setattr(auto_loss_weight, "print_log", lambda text, **kw: messages.append(text))
    return messages


def usable(pair):
    return all(math.isfinite(x) and x > 0 for x in pair)


@given(st.lists(st.tuples(any_loss, any_loss), min_size=1, max_size=12))
def test_it_is_the_geometric_mean_of_the_first_steps(pairs):
    auto = build()
    for i, pair in enumerate(pairs, 1):
        found = weigh(auto, *pair)
        ratios = [a / b for a, b in filter(usable, pairs[: min(i, STEPS)])]
        expected = np.exp(np.log(ratios).mean()) if ratios else 0.002
        assert found == pytest.approx(expected, rel=1e-4)


@given(
    st.lists(st.tuples(positive, positive), min_size=1, max_size=8),
    st.floats(1e-3, 1e3),
    st.floats(1e-3, 1e3),
)
def test_it_is_in_proportion_to_the_losses(pairs, a, b):
    """Map size, sigma, the number of keypoints and their labelled share are such factors."""
    one, other = build(), build()
    for reference, loss in pairs:
        found, scaled = weigh(one, reference, loss), weigh(other, a * reference, b * loss)
    assert scaled == pytest.approx(found * a / b, rel=1e-4)


@settings(max_examples=25)
@given(st.permutations([(4.0, 1.0), (1.0, 3.0), (0.5, 0.1), (2.0, 2.0)]))
def test_the_order_of_the_steps_does_not_matter(pairs):
    auto = build()
    for pair in pairs:
        found = weigh(auto, *pair)
    assert found == pytest.approx((4 / 3 * 5) ** 0.25, rel=1e-5)


def test_one_wild_step_changes_little():
    auto = build(steps=50)
    for i in range(50):
        found = weigh(auto, 10.0 if i == 3 else 1.0, 1.0)
    assert found == pytest.approx(10 ** (1 / 50)) and found < 1.05


def test_it_does_not_change_after_the_first_steps_and_is_said_once(log):
    auto = build()
    for _ in range(STEPS):
        assert not log
        first = weigh(auto, 1.0, 4.0)
    assert weigh(auto, 7.0, 1.0) == weigh(auto, -1.0, 1.0) == first == 0.25
    assert len(log) == 1 and "0.25 from now on" in log[0]


def test_a_loss_that_crosses_zero_has_no_magnitude(log):
    auto = build(otherwise=0.002)
    assert weigh(auto, 5.0, 1.0) == 5
    assert weigh(auto, -5.0, 1.0) == pytest.approx(0.002)
    for _ in range(STEPS):
        assert weigh(auto, 5.0, 1.0) == pytest.approx(0.002)
    assert len(log) == 1 and "0.002 from now on" in log[0] and "was not positive" in log[0]


def test_nothing_to_compare(log):
    auto = build()
    for _ in range(STEPS + 2):
        assert weigh(auto, 0.0, 1.0) == pytest.approx(0.002)
    assert len(log) == 1 and "was 0 or not finite" in log[0]


def test_outside_of_training_nothing_is_recorded():
    auto = build().eval()
    before = copy.deepcopy(auto.state_dict())
    assert weigh(auto, 3.0, 1.0) == pytest.approx(0.002)
    assert all(torch.equal(v, before[k]) for k, v in auto.state_dict().items())


@pytest.mark.parametrize("ended", [1, STEPS - 1, STEPS, STEPS + 2])
def test_a_resumed_run_goes_on_bit_for_bit(ended, log):
    pairs = np.random.default_rng(0).uniform(0.1, 3, (STEPS + 4, 2)).tolist()
    auto = build()
    for pair in pairs[:ended]:
        weigh(auto, *pair)
    resumed = build()
    resumed.load_state_dict(copy.deepcopy(auto.state_dict()))
    for pair in pairs[ended:]:
        assert weigh(auto, *pair) == weigh(resumed, *pair)
    assert all(torch.equal(v, auto.state_dict()[k]) for k, v in resumed.state_dict().items())
    assert len(log) == (1 if ended >= STEPS else 2), "what was settled is not said again"


def test_buffers_are_of_kinds_that_ranks_can_average():
    assert {b.dtype for b in build().buffers()} == {torch.float32, torch.int64}


def test_no_gradient_passes():
    loss = torch.tensor(2.0, requires_grad=True)
    weight = build()(loss * 3, loss)
    assert weight == 3 and not weight.requires_grad


def settled(head, inputs, batch, logits):
    from sgpose.models import GuidedFeatures

    for _ in range(head.segmentation_loss.auto_weight.steps):
        head.loss(GuidedFeatures(inputs, logits), batch)
    return float(head.segmentation_loss.auto_weight.weight())


@pytest.mark.parametrize(
    "size, sigma, low, high", [((24, 32), 2.0, 0.015, 0.024), ((48, 64), 2.0, 0.003, 0.006)]
)
@pytest.mark.parametrize("share", [0.6, 1.0])
@pytest.mark.parametrize("unbiased", [False, True])
def test_rule_of_thumb(size, sigma, low, high, share, unbiased):
    """What predicts nothing costs pi sigma^2 / (W H) times the labelled share, and ln 2."""
    from mmengine.structures import InstanceData, PixelData
    from mmpose.structures import PoseDataSample

    codec = dict(
        type="MSRAHeatmap",
        input_size=(4 * size[0], 4 * size[1]),
        heatmap_size=size,
        sigma=sigma,
        unbiased=unbiased,
    )
    encoder = KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=codec, radius=3.0))
    rng, batch = np.random.default_rng(0), []
    for _ in range(2):
        # far enough from the border for whole Gaussians
        keypoints = rng.uniform(30, 4 * np.array(size) - 30, (1, 20, 2))
        visible = (np.arange(20) < share * 20).astype(np.float32)[None]
        encoded = encoder.encode(keypoints.astype(np.float32), visible)
        fields = {k: torch.from_numpy(encoded[k]) for k in ("heatmaps", "segmentation")}
        batch.append(PoseDataSample())
        batch[-1].gt_fields = PixelData(**fields)
        weights = torch.from_numpy(encoded["keypoint_weights"])
        batch[-1].gt_instance_labels = InstanceData(keypoint_weights=weights)
    head = MODELS.build(
        dict(
            type="SGHeatmapHead",
            in_channels=4,
            out_channels=20,
            deconv_out_channels=None,
            loss=dict(type="KeypointMSELoss", use_target_weight=True),
            segmentation_loss=dict(loss_weight="auto"),
            decoder=codec,
        )
    ).train()
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    features = [torch.zeros(2, 4, size[1], size[0])]
    found = settled(head, features, batch, [torch.zeros(2, 1, size[1], size[0])])
    rule = math.pi * sigma**2 / (size[0] * size[1]) * share / math.log(2)
    # 3 sigma are drawn, around whole pixels if not unbiased
    assert found == pytest.approx(rule, rel=0.02)
    assert low * share <= found <= high
