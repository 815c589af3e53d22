# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""A run that was ended in an epoch and resumed equals one that never was, bit for bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_runs import Diary, small_toy_run, train

from sgpose.datasets import write_toy_people
from sgpose.engine.hooks.epoch_seed_hook import epoch_seed

PEOPLE = 7  # batches of 2: the last one of an epoch has one person
STEPS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    write_toy_people(root, PEOPLE, 1)
    return root


def exact(cfg):
    cfg.model.head.loss_weighting.interval = 3  # an epoch ends within an interval
    cfg.model.head.segmentation_loss.loss_weight = "auto"  # which is not settled yet
    return cfg


def resumed(cfg):
    cfg.resume = True
    cfg.experiment_name += "-resumed"
    return cfg


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.slow
def test_resumed_with_persistent_workers_equals_uninterrupted(data, tmp_path):
    def cfg():
        return exact(small_toy_run(data, tmp_path, workers=2, epochs=2))

    # ended after the last step of the last epoch, before that was saved
    whole, state = train(cfg(), Diary(end_at=2 * STEPS - 1))
    assert len({tuple(losses) for losses in whole.values()}) == 2 * STEPS
    after, resumed_state = train(resumed(cfg()), Diary())
    assert after == {i: whole[i] for i in range(STEPS, 2 * STEPS)}
    assert_same(state, resumed_state)


@pytest.mark.slow
def test_without_the_hook_it_does_not(data, tmp_path):
    """The tests here would notice."""

    def cfg():
        cfg = exact(small_toy_run(data, tmp_path, epochs=2))
        del cfg.default_hooks["epoch_seed"]
        return cfg

    whole, _ = train(cfg(), Diary(end_at=2 * STEPS - 1))
    after, _ = train(resumed(cfg()), Diary())
    assert all(after[i] != whole[i] for i in range(STEPS, 2 * STEPS))


@pytest.mark.slow
def test_killed_in_an_epoch_and_resumed_equals_uninterrupted(data, tmp_path):
    whole, state = train(exact(small_toy_run(data, tmp_path / "whole")), Diary())
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_resume; "
        "test_resume.train_until_killed(*sys.argv[2:])"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(data), str(tmp_path / "cut")],
        # rounding differs by the number of threads
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    after, resumed_state = train(resumed(exact(small_toy_run(data, tmp_path / "cut"))), Diary())
    assert after == {i: whole[i] for i in range(STEPS, 3 * STEPS)}
    assert_same(state, resumed_state)


def train_until_killed(data, work_dir):
    cfg = exact(small_toy_run(Path(data), Path(work_dir)))
    train(cfg, Diary(STEPS + 2, lambda: os.kill(os.getpid(), signal.SIGKILL)))


def test_a_seed_that_was_drawn_is_resumed_with_the_order_of_the_data(data, tmp_path):
    def cfg():
        cfg = exact(small_toy_run(data, tmp_path, epochs=2))
        cfg.randomness.seed = None
        return cfg

    whole, _ = train(cfg(), Diary(end_at=2 * STEPS - 1))
    after, _ = train(resumed(cfg()), Diary())
    assert after == {i: whole[i] for i in range(STEPS, 2 * STEPS)}


def test_seeds_of_epochs_and_ranks_differ():
    seeds = {epoch_seed(s, e, r) for s in range(3) for e in range(50) for r in range(4)}
    assert len(seeds) == 600 and all(0 <= seed < 2**31 for seed in seeds)
    assert epoch_seed(3, 1, 0) == epoch_seed(3, 1)
