# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpose.registry import MODELS

from sgpose.models.losses import dwa_weights, dynamic_weight_average

positive = st.floats(1e-3, 1e3)


def build(**kwargs):
    return MODELS.build(dict(type="DynamicWeightAverage", **kwargs)).train()


def weigh(dwa, keypoint, segmentation):
    """Return the weights that one step applies."""
    losses = dict(keypoint=torch.tensor(keypoint), segmentation=torch.tensor(segmentation))
    weights = {task: float(w) for task, w in dwa.weights().items()}
    weighted = dwa(losses)
    for task, loss in losses.items():
        expected = weights[task] * float(loss)
        assert float(weighted[task]) == pytest.approx(expected, rel=1e-6, nan_ok=True)
    return weights["keypoint"], weights["segmentation"]


def reference(history, temperature, interval):
    """Follow eq. 8-10 over a list of (keypoint, segmentation) steps in float64."""
    weights = []
    for t in range(len(history)):
        intervals = [
            np.mean(history[i * interval : (i + 1) * interval], axis=0)
            for i in range(t // interval)
        ]
        if len(intervals) < 2:
            weights.append(np.ones(2))
            continue
        ratio = intervals[-1] / intervals[-2]
        exp = np.exp(ratio / temperature - (ratio / temperature).max())
        weights.append(2 * exp / exp.sum())
    return weights


def test_hand_worked_sequence():
    dwa = build()
    # L(1) = (4, 1) and L(2) = (2, 1): nothing known yet
    assert weigh(dwa, 4.0, 1.0) == (1, 1)
    assert weigh(dwa, 2.0, 1.0) == (1, 1)
    # r = (2/4, 1/1): w = 2 e^0.5 / (e^0.5 + e) and the rest
    w = 2 * math.exp(0.5) / (math.exp(0.5) + math.e)
    assert weigh(dwa, 1.0, 0.5) == pytest.approx((w, 2 - w), rel=1e-6)
    assert w == pytest.approx(0.755081)
    # r = (1/2, 1/2): equal rates, equal weights, whatever the losses are
    assert weigh(dwa, 3.0, 0.5) == pytest.approx((1, 1))
    # r = (3/1, 1): the rising keypoint loss gets the larger weight
    w = 2 * math.exp(3) / (math.exp(3) + math.e)
    assert weigh(dwa, 1.0, 1.0) == pytest.approx((w, 2 - w), rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(positive, positive), min_size=1, max_size=14),
    st.sampled_from([1.0, 2.0, 5.0]),
    st.integers(1, 4),
)
def test_sequences_equal_the_reference(history, temperature, interval):
    dwa = build(temperature=temperature, interval=interval)
    for losses, expected in zip(history, reference(history, temperature, interval)):
        assert weigh(dwa, *losses) == pytest.approx(tuple(expected), rel=1e-3, abs=1e-5)


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=5), st.floats(0.5, 5))
def test_weights_are_positive_sum_to_n_and_ignore_scale(pairs, temperature):
    latest, previous = torch.tensor(pairs, dtype=torch.float64).T
    weights = dwa_weights(latest, previous, temperature)
    assert (weights >= 0).all() and weights.sum().item() == pytest.approx(len(pairs))
    scaled = dwa_weights(latest * 7, previous * 7, temperature)
    torch.testing.assert_close(weights, scaled, rtol=1e-6, atol=1e-9)
    order = torch.arange(len(pairs)).flip(0)
    torch.testing.assert_close(
        dwa_weights(latest[order], previous[order], temperature), weights[order]
    )


def test_the_faster_falling_task_gets_the_smaller_weight():
    latest, previous = torch.tensor([1.0, 1.0]), torch.tensor([10.0, 1.1])
    fast, slow = dwa_weights(latest, previous)
    assert fast < 1 < slow


def test_extreme_ratios_stay_finite():
    weights = dwa_weights(torch.tensor([1e30, 1.0]), torch.tensor([1e-30, 1.0]), 0.01)
    assert weights.tolist() == [2.0, 0.0]
    assert dwa_weights(torch.zeros(2), torch.zeros(2)).tolist() == [1, 1]


@pytest.mark.parametrize("latest, previous", [(0, 3), (-1, 3), (3, -1), (-1, -2), (0, 0), (5, 0)])
def test_a_loss_that_is_not_positive_has_ratio_one(latest, previous):
    weights = dwa_weights(torch.tensor([latest, 1.0]), torch.tensor([previous, 2.0]))
    expected = 2 * np.exp([1, 0.5]) / np.exp([1, 0.5]).sum()
    assert weights.tolist() == pytest.approx(expected.tolist())


def test_from_the_first_negative_loss_on_the_ratio_is_one(monkeypatch):
    messages = []
    monkeypatch.setattr(
        dynamic_weight_average, "print_log", lambda text, **kw: messages.append(text)
    )
    dwa = build()
    for keypoint in (9.0, 3.0, -0.1, 0.1, 30.0):  # as a likelihood does
        weigh(dwa, keypoint, 1.0)
    # the ratio of 300 would leave nothing of the other loss
    assert weigh(dwa, 2.0, 0.5) == (1, 1)
    w = 2 * math.exp(1) / (math.exp(0.5) + math.e)
    assert weigh(dwa, 2.0, 0.5) == pytest.approx((w, 2 - w))
    resumed = build()
    resumed.load_state_dict(dwa.state_dict())
    assert weigh(resumed, 2.0, 0.5) == (1, 1), "and in the run that is resumed"
    assert not messages
    for mode in (False, True, False, True):
        dwa.train(mode)
    assert len(messages) == 1 and "the loss of keypoint has been negative" in messages[0]


def test_an_unlabelled_batch_is_no_negative_loss():
    dwa = build()
    for keypoint in (2.0, 0.0, 2.0, 1.0):
        weigh(dwa, keypoint, 1.0)
    assert weigh(dwa, 1.0, 1.0)[0] < 1


def test_files_made_for_inference_load_and_leave_the_history():
    dwa = build()
    for value in (4.0, 2.0):
        weigh(dwa, value, 1.0)
    before = copy.deepcopy(dwa.state_dict())
    found = dwa.load_state_dict({}, strict=True)
    assert not found.missing_keys
    older = {k: v for k, v in before.items() if k != "num_negative"}
    build().load_state_dict(older, strict=True)
    assert all(torch.equal(v, before[k]) for k, v in dwa.state_dict().items())


def test_order_of_the_losses_does_not_matter():
    forward, backward = build(), build()
    for a, b in [(4.0, 1.0), (2.0, 3.0), (1.0, 2.0), (5.0, 2.5)]:
        one = forward(dict(keypoint=torch.tensor(a), segmentation=torch.tensor(b)))
        two = backward(dict(segmentation=torch.tensor(b), keypoint=torch.tensor(a)))
        assert one == two and list(two) == ["segmentation", "keypoint"]


def test_no_gradient_passes_through_the_weights():
    dwa = build()
    for value in (4.0, 2.0):
        weigh(dwa, value, 1.0)
    loss = torch.tensor(3.0, requires_grad=True)
    weight = dwa.weights()["keypoint"]
    dwa(dict(keypoint=loss, segmentation=loss.detach()))["keypoint"].backward()
    assert not weight.requires_grad
    assert loss.grad == weight


def test_evaluation_leaves_the_history_alone():
    dwa = build()
    for value in (4.0, 2.0):
        weigh(dwa, value, 1.0)
    before = copy.deepcopy(dwa.state_dict())
    dwa.eval()
    weights = weigh(dwa, 9.0, 9.0)
    assert weights[0] < 1
    assert all(torch.equal(before[k], v) for k, v in dwa.state_dict().items())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("interval", [1, 2])
def test_non_finite_losses_are_left_out(bad, interval):
    clean, dirty = build(interval=interval), build(interval=interval)
    for i, (a, b) in enumerate([(4.0, 1.0), (2.0, 1.0), (3.0, 1.0), (1.0, 2.0), (2.0, 2.0)]):
        weigh(dirty, bad, 1.0)
        if i == 3:
            weigh(dirty, 1.0, bad)
        assert weigh(clean, a, b) == weigh(dirty, a, b)


def test_history_survives_saving():
    dwa, resumed = build(interval=2), build(interval=2)
    steps = [(4.0, 1.0), (2.0, 1.5), (1.0, 1.0), (1.5, 0.5), (1.0, 0.2), (0.5, 0.7), (0.2, 0.1)]
    for step in steps[:5]:
        weigh(dwa, *step)
    resumed.load_state_dict(dwa.state_dict())
    for step in steps[5:]:
        assert weigh(dwa, *step) == weigh(resumed, *step)


def test_another_interval_after_loading_still_averages():
    before, after = build(interval=10), build(interval=3)
    for _ in range(39):
        weigh(before, 1.0, 1.0)
    after.load_state_dict(before.state_dict())
    for _ in range(3):
        weigh(after, 1.0, 1.0)
    torch.testing.assert_close(after.history, torch.ones(2, 2))


def test_buffers_are_of_kinds_that_ranks_can_average():
    assert {b.dtype for b in build().buffers()} == {torch.float32, torch.int64}


def test_any_number_of_tasks():
    one = build(tasks=("keypoint",))
    for value in (3.0, 2.0, 1.0):
        assert one(dict(keypoint=torch.tensor(value)))["keypoint"] == value
    three = build(tasks=("a", "b", "c"))
    for scale in (3.0, 1.0, 2.0):
        weighted = three({t: torch.tensor(scale) for t in "cab"})
    assert [float(v) for v in weighted.values()] == pytest.approx([2.0] * 3)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(tasks=()), "tasks must be one or more different names"),
        (dict(tasks=("a", "a")), "tasks must be one or more different names"),
        (dict(temperature=0.0), "temperature must be positive, got 0.0"),
        (dict(temperature=math.nan), "temperature must be positive"),
        (dict(interval=0), "interval must be a positive number of steps, got 0"),
        (dict(interval=1.5), "interval must be a positive number of steps, got 1.5"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_losses_of_other_tasks():
    with pytest.raises(ValueError, match=r"weights the tasks \('keypoint', 'segmentation'\)"):
        build()(dict(keypoint=torch.tensor(1.0)))
