# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Two and four processes: what the ranks share at every step, and ranks that see nothing."""

from __future__ import annotations

import multiprocessing
import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from toy_runs import Diary, fabricated_batch, small_estimator, small_toy_run, train

import sgpose  # noqa: F401
from sgpose.datasets import write_toy_people
from sgpose.models.losses import AutoLossWeight

PEOPLE, EPOCHS, BATCH = 18, 2, 4
WORLDS = (2, 4)
MODEL = small_estimator()


class History(Diary):
    """Keep the loss weighting's buffers after each step too."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: list[dict] = []
        self.sizes: list[int] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        weighting = runner.model.module.head.loss_weighting
        self.buffers.append({k: v.clone() for k, v in weighting.named_buffers()})
        self.sizes.append(len(data_batch["inputs"]))


def toy_training(root: Path, world: int, ema: bool) -> dict:
    cfg = small_toy_run(root, root / f"world{world}{ema}", epochs=EPOCHS)
    cfg.train_dataloader.batch_size = BATCH
    cfg.model.head.loss_weighting.interval = 2
    cfg.launcher = "pytorch"
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False
    )
    if ema:  # averages the buffers too
        cfg.custom_hooks.append(dict(type="EMAHook", update_buffers=True, momentum=0.1))
    history = History()
    steps, state = train(cfg, history)
    return dict(steps=steps, state=state, buffers=history.buffers, sizes=history.sizes)


def persons(rank: int, count: int, labelled: bool = True) -> dict:
    rng = np.random.default_rng(rank)
    keypoints = rng.uniform(4, 44, (count, 5, 2))
    return fabricated_batch(MODEL, keypoints, np.full((count, 5), float(labelled)), seed=rank)


class KeepGradients(OptimWrapper):
    def zero_grad(self, **kwargs) -> None:
        pass


def gradients(module: torch.nn.Module, batches: list[dict]) -> tuple[dict, dict]:
    """Take steps without changing the weights; return the last losses and gradients."""
    optimizer = KeepGradients(torch.optim.SGD(module.parameters(), lr=0.0))
    for batch in batches:
        optimizer.optimizer.zero_grad()
        log = module.train_step(batch, optimizer)
    named = {k.removeprefix("module."): p.grad.clone() for k, p in module.named_parameters()}
    return {k: float(v) for k, v in log.items()}, named


def estimator() -> torch.nn.Module:
    init_default_scope("mmpose")
    torch.manual_seed(0)
    model = MODELS.build(MODEL)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # each rank has its own statistics otherwise
            module.eval()
            module.train = lambda mode=True, module=module: module
    return model


def automatic_weights(rank: int) -> list[float]:
    """Weights in five steps, of which three settle them; rank 1 has no labels in the second."""
    auto = AutoLossWeight(otherwise=0.002, steps=3).train()
    losses = [(1.0 + rank, 2.0), (0.0 if rank == 1 else 3.0, 1.0 + rank), (4.0, 1.0 + 2 * rank)]
    return [float(auto(torch.tensor(a), torch.tensor(b))) for a, b in losses + losses[:2]]


def work(rank: int, world: int, root: str) -> None:
    """What one rank does."""
    os.environ.update(WORLD_SIZE=str(world), RANK=str(rank), LOCAL_RANK=str(rank))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    Config.pretty_text = property(lambda self: f"{self.to_dict()!r}")
    dist.init_process_group(
        "gloo",
        init_method=f"file://{root}/store{world}",
        rank=rank,
        world_size=world,
        timeout=timedelta(minutes=2),
    )
    wrapped = MMDistributedDataParallel(estimator(), broadcast_buffers=False)
    # rank 1 has no labelled keypoint in the last batch, and only one person in the one before
    uneven = persons(rank, 1 if rank == 1 else 2)
    found = dict(
        unlabelled=gradients(wrapped, [uneven, persons(rank, 2, labelled=rank != 1)]),
        history=wrapped.module.head.loss_weighting.history.clone(),
        automatic=automatic_weights(rank),
        toy=toy_training(Path(root), world, ema=False),
    )
    if world == 2:
        found["ema"] = toy_training(Path(root), world, ema=True)
    torch.save(found, f"{root}/{rank}of{world}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> dict[int, list[dict]]:
    """What each rank of each world found."""
    root = tmp_path_factory.mktemp("ranks")
    write_toy_people(root, PEOPLE, 1)
    context = multiprocessing.get_context("forkserver")  # imports the stack once
    context.set_forkserver_preload(["sgpose", "mmpose.apis", "mmengine.runner"])
    for world in WORLDS:
        ranks = [context.Process(target=work, args=(i, world, str(root))) for i in range(world)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        assert [process.exitcode for process in ranks] == [0] * world
    return {
        world: [torch.load(root / f"{rank}of{world}.pth") for rank in range(world)]
        for world in WORLDS
    }


@pytest.mark.parametrize("world", WORLDS)
def test_the_history_is_the_same_on_all_ranks_at_every_step(worlds, world):
    runs = [rank["toy"] for rank in worlds[world]]
    share = -(-PEOPLE // world)
    sizes = [BATCH] * (share // BATCH) + [share % BATCH] * (share % BATCH > 0)
    assert all(run["sizes"] == sizes * EPOCHS for run in runs) and len(set(sizes)) == 2
    first, *others = runs
    for other in others:
        for ours, theirs in zip(first["buffers"], other["buffers"], strict=True):
            assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
        # the same weights, too, though each saw other losses
        assert all(a[3:] == other["steps"][i][3:] for i, a in first["steps"].items())
        assert all(a[1:3] != other["steps"][i][1:3] for i, a in first["steps"].items())


@pytest.mark.parametrize("world", WORLDS)
def test_the_history_is_the_mean_over_ranks_and_steps(worlds, world):
    runs = [rank["toy"] for rank in worlds[world]]
    losses = np.mean([[run["steps"][i][1:3] for i in run["steps"]] for run in runs], axis=0)
    for step, buffers in enumerate(runs[0]["buffers"]):
        complete = (step + 1) // 2  # intervals of two steps
        assert buffers["num_intervals"] == complete and buffers["num_steps"] == (step + 1) % 2
        for row, interval in enumerate(range(complete - 1, max(complete - 3, -1), -1)):
            expected = losses[2 * interval : 2 * interval + 2].mean(axis=0)
            np.testing.assert_allclose(buffers["history"][row], expected, rtol=1e-5)


def test_an_automatic_weight_is_the_same_on_all_ranks(worlds):
    ranks = [rank["automatic"] for rank in worlds[2]]
    assert ranks[0] == ranks[1]
    ratios = [1.5 / 2, 1.5 / 1.5, 4 / 2]  # of the means over both
    expected = [np.exp(np.log(ratios[: i + 1]).mean()) for i in range(3)]
    assert ranks[0] == pytest.approx([*expected, expected[-1], expected[-1]])


def test_averaging_models_leaves_the_weighting_as_it_is(worlds):
    for rank in worlds[2]:
        assert rank["ema"]["steps"] == rank["toy"]["steps"]
        for ours, theirs in zip(rank["ema"]["buffers"], rank["toy"]["buffers"], strict=True):
            assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("world", WORLDS)
def test_a_rank_without_labelled_keypoints_counts_as_its_part_of_the_batch(worlds, world):
    ranks = worlds[world]
    losses = [rank["unlabelled"][0] for rank in ranks]
    assert losses[1]["raw_kpt"] == 0 < losses[1]["raw_seg"]
    # one process with all of the batch
    batches = [persons(rank, 2, labelled=rank != 1) for rank in range(world)]
    whole = {key: [x for batch in batches for x in batch[key]] for key in batches[0]}
    log, expected = gradients(estimator(), [whole])
    for name in ("raw_kpt", "raw_seg"):
        assert np.mean([x[name] for x in losses]) == pytest.approx(log[name], rel=1e-5)
    for rank in ranks:
        torch.testing.assert_close(
            rank["history"][0], torch.tensor([log["raw_kpt"], log["raw_seg"]]), rtol=1e-5, atol=0
        )
        for name, gradient in rank["unlabelled"][1].items():
            assert gradient.isfinite().all(), name
            torch.testing.assert_close(
                gradient, expected[name], rtol=1e-3, atol=1e-7, msg=f"gradient of {name}"
            )
