# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Two processes on the CPU train as MMEngine's launchers let one process per GPU train."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.hooks import Hook, SyncBuffersHook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmpose.registry import MODELS

import sgpose  # noqa: F401
from sgpose.datasets import write_toy_people

ROOT = Path(__file__).resolve().parents[1]
RANKS = 2
# (steps, ranks, tasks); the third step of the second rank is not finite
LOSSES = np.random.default_rng(0).uniform(0.1, 2, (6, RANKS, 2)).astype(np.float32)
LOSSES[2, 1, 0] = np.inf


def weighting() -> torch.nn.Module:
    return MODELS.build(dict(type="DynamicWeightAverage"))


def weigh(module: torch.nn.Module, losses: np.ndarray) -> tuple[list, torch.Tensor]:
    """Give the losses (steps, tasks) one by one; return each step's weights and the history."""
    weights = []
    for step in losses:
        weights.append(list(module.weights().values()))
        module({task: torch.tensor(loss) for task, loss in zip(module.tasks, step)})
    return weights, module.history.clone()


def fabricated_losses(rank: int) -> dict:
    module = weighting()
    weights, history = weigh(module, LOSSES[:, rank])
    SyncBuffersHook().after_train_epoch(SimpleNamespace(model=module))
    return dict(weights=weights, history=history, synchronised=dict(module.named_buffers()))


class RawLosses(Hook):
    def __init__(self) -> None:
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append([float(outputs["raw_kpt"]), float(outputs["raw_seg"])])


def toy_training(root: Path) -> dict:
    """Train three steps through the runner, one image per rank and step, then validate."""
    cfg = Config.fromfile(ROOT / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py")
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(root)
    cfg.val_evaluator.ann_file = str(root / "annotations/person_keypoints_val.json")
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.work_dir, cfg.log_level = str(root / "work_dir"), "ERROR"
    cfg.launcher = "pytorch"
    # the device of this rank is the CPU, not the GPU whose number is LOCAL_RANK
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False
    )
    runner = Runner.from_cfg(cfg)
    losses = RawLosses()
    runner.register_hook(losses)
    runner.train()
    return dict(
        losses=losses.values,
        state=runner.model.module.state_dict(),
        weights=runner.model.module.head.loss_weighting.weights(),
        score=runner.message_hub.get_scalar("val/coco/AP").current(),
    )


def unsupervised_guides(find_unused_parameters: bool) -> str | None:
    """Train two steps with guides that nothing supervises; return the error, if there is one."""
    torch.manual_seed(0)
    backbone = dict(
        type="SGHRNet",
        detach_guide=True,
        extra=dict(
            stage1=_stage(1, "BOTTLENECK"), stage2=_stage(2), stage3=_stage(3), stage4=_stage(4)
        ),
    )
    model = MMDistributedDataParallel(
        MODELS.build(backbone), find_unused_parameters=find_unused_parameters
    )
    try:
        for _ in range(2):
            model(torch.ones(2, 3, 64, 64))[0].mean().backward()
    except RuntimeError as error:
        return str(error)
    return None


def _stage(branches: int, block: str = "BASIC") -> dict:
    return dict(
        num_modules=1,
        num_branches=branches,
        block=block,
        num_blocks=(1,) * branches,
        num_channels=(4, 4, 4, 4)[:branches],
    )


def work(rank: int, root: str) -> None:
    """What one rank does."""
    os.environ.update(
        WORLD_SIZE=str(RANKS),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        CUDA_VISIBLE_DEVICES="",
    )
    torch.set_num_threads(1)
    Config.pretty_text = property(lambda self: f"{self.to_dict()!r}")
    # before the runner does, which would choose a GPU
    dist.init_process_group(
        "gloo",
        init_method=f"file://{root}/store",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(minutes=5),
    )
    found = dict(
        fabricated=fabricated_losses(rank),
        training=toy_training(Path(root)),
        strict=unsupervised_guides(find_unused_parameters=False),
        lenient=unsupervised_guides(find_unused_parameters=True),
    )
    torch.save(found, f"{root}/rank{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each of two ranks found."""
    root = tmp_path_factory.mktemp("distributed")
    write_toy_people(root, num_train=3 * RANKS, num_val=RANKS)
    mp.spawn(work, args=(str(root),), nprocs=RANKS)
    return [torch.load(root / f"rank{rank}.pth") for rank in range(RANKS)]


def test_the_weights_are_those_of_one_rank_with_the_mean_losses(ranks):
    mean = LOSSES.astype(np.float64).mean(axis=1)
    weights, history = weigh(weighting(), mean)
    finite = np.delete(mean, 2, axis=0)
    np.testing.assert_allclose(history, finite[[-1, -2]], rtol=1e-6)
    ratio = np.exp(finite[3] / finite[2])
    np.testing.assert_allclose(weights[-1], 2 * ratio / ratio.sum(), rtol=1e-6)
    for rank in ranks:
        found = rank["fabricated"]
        torch.testing.assert_close(found["history"], history, rtol=1e-6, atol=0)
        np.testing.assert_allclose(found["weights"], weights, rtol=1e-6)


def test_the_runners_averaging_of_buffers_leaves_the_history_as_it_is(ranks):
    for rank in ranks:
        found = rank["fabricated"]
        torch.testing.assert_close(found["synchronised"]["history"], found["history"])
        assert found["synchronised"]["num_intervals"] == 5  # one of six was not finite
        assert found["synchronised"]["num_intervals"].dtype == torch.long


def test_ranks_that_see_other_images_hold_the_same_model(ranks):
    one, other = (rank["training"] for rank in ranks)
    assert not np.allclose(one["losses"], other["losses"])
    assert one["state"].keys() == other["state"].keys()
    for name, value in one["state"].items():
        torch.testing.assert_close(value, other["state"][name], rtol=0, atol=0, msg=name)
    assert one["weights"] == other["weights"]
    assert one["score"] == other["score"]


def test_the_runs_history_holds_the_mean_losses_of_all_ranks(ranks):
    losses = np.mean([rank["training"]["losses"] for rank in ranks], axis=0)
    assert losses.shape == (3, 2)
    state = ranks[0]["training"]["state"]
    history = state["head.loss_weighting.history"]
    np.testing.assert_allclose(history, losses[[2, 1]], rtol=1e-6)
    assert state["head.loss_weighting.num_intervals"] == 3
    ratio = np.exp(losses[2] / losses[1])
    weights = [float(w) for w in ranks[0]["training"]["weights"].values()]
    np.testing.assert_allclose(weights, 2 * ratio / ratio.sum(), rtol=1e-5)


def test_guides_without_any_gradient_need_find_unused_parameters(ranks):
    for rank in ranks:
        assert "find_unused_parameters=True" in rank["strict"]
        assert rank["lenient"] is None


@pytest.fixture
def words(tmp_path):
    """Runs a script of tools/ with a stand-in for a program; returns the words that it got."""

    def words(script: str, program: str, *arguments: str, **env: str) -> list[str]:
        stand_in = tmp_path / program
        stand_in.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
        stand_in.chmod(0o755)
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **env}
        script = ROOT / "tools" / script
        return subprocess.run(
            [script, *arguments], env=env, check=True, capture_output=True, text=True
        ).stdout.splitlines()

    return words


@pytest.mark.parametrize(
    ("script", "tool", "fourth"),
    [
        ("slurm_train.sh", "train.py", ["--work-dir", "some dir"]),
        ("slurm_test.sh", "test.py", ["some dir"]),
    ],
)
def test_the_slurm_scripts_start_our_tools(words, script, tool, fourth):
    found = words(
        script,
        "srun",
        *("gpus", "job", "config.py", "some dir", "--cfg-options", "a=b c"),
        GPUS="4",
        GPUS_PER_NODE="2",
        SRUN_ARGS="--quotatype spot",
    )
    start = found.index("python")
    assert {"--partition=gpus", "--job-name=job", "--gres=gpu:2", "--ntasks=4"} <= set(
        found[:start]
    )
    assert found[start - 2 : start] == ["--quotatype", "spot"]
    python, unbuffered, path, config, *rest = found[start:]
    assert Path(path).samefile(ROOT / "tools" / tool) and config == "config.py"
    assert rest == [*fourth, "--launcher", "slurm", "--cfg-options", "a=b c"]


@pytest.mark.parametrize(
    ("script", "tool", "positional"),
    [
        ("dist_train.sh", "train.py", ["config.py"]),
        ("dist_test.sh", "test.py", ["config.py", "best.pth"]),
    ],
)
def test_the_scripts_for_one_node_start_our_tools(words, script, tool, positional):
    found = words(script, "python", *positional, "4", "--work-dir", "some dir", PORT="29501")
    assert found[:2] == ["-m", "torch.distributed.run"]
    assert {"--nproc_per_node=4", "--master_port=29501"} <= set(found)
    start = next(i for i, word in enumerate(found) if word.endswith(tool))
    assert Path(found[start]).samefile(ROOT / "tools" / tool)
    assert found[start + 1 :] == [
        *positional,
        *("--launcher", "pytorch", "--work-dir", "some dir"),
    ]
