# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Kill a run with SIGKILL at random moments of saving, again and again, and resume it each time.

Each run is MMEngine's own, of a model that costs nothing but its checkpoints, with one step per
epoch, a checkpoint after each, one kept, and mostly a new best one. A run that cannot be resumed,
goes back in time, holds weights of two epochs, or has lost its best checkpoint is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

import sgpose  # noqa: F401

NUMBERS = 500_000  # of the model: a checkpoint of 2 MB


class Model(BaseModel):
    """Weights that all equal the number of steps made."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(NUMBERS))

    def forward(self, inputs: torch.Tensor, mode: str = "tensor"):
        # SGD with a learning rate of 1 adds 1 to each weight
        return dict(loss=-self.weight.sum()) if mode == "loss" else [inputs]


class Score(BaseMetric):
    """A score of which most are the best so far."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(random.random() + time.monotonic())

    def compute_metrics(self, results: list) -> dict:
        return dict(score=results[0])


class Report(Hook):
    """Tell the parent the epoch with which a run starts, then each that it has saved."""

    priority = "LOWEST"

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def before_train(self, runner) -> None:
        weights = set(runner.model.weight.unique().tolist())
        assert weights == {float(runner.epoch)} and runner.iter == runner.epoch, weights
        if best := runner.message_hub.runtime_info.get("best_ckpt"):
            torch.load(best)
        self.say(runner.epoch)

    def after_train_epoch(self, runner) -> None:
        self.say(runner.epoch + 1)

    def say(self, epoch: int) -> None:
        os.write(self.pipe, f"{epoch}\n".encode())


def run(folder: Path, hook: str, pipe: int, number: int) -> None:
    """Train until killed."""
    data = [dict(inputs=torch.zeros(1))]
    loader = dict(dataset=data, batch_size=1, sampler=dict(type="DefaultSampler", shuffle=False))
    checkpoint = dict(type=hook, interval=1, max_keep_ckpts=1, save_best="score", rule="greater")
    runner = Runner(
        Model(),
        str(folder),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=[Score()],
        train_cfg=dict(by_epoch=True, max_epochs=10**6),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=1.0)),
        default_hooks=dict(logger=None, timer=None, checkpoint=checkpoint),
        custom_hooks=[Report(pipe)],
        log_level="CRITICAL",
        resume=True,
        experiment_name=f"run{number}",
        default_scope="mmpose",
    )
    runner.train()


def started(folder: Path, hook: str, number: int) -> tuple[int, int]:
    """Fork a run; return its process id and the pipe that it reports to."""
    read, write = os.pipe()
    if pid := os.fork():
        os.close(write)
        return pid, read
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        DefaultScope._instance_dict.clear()
        run(folder, hook, write, number)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def kill_while_saving(folder: Path, kills: int, hook: str, seed: int = 0) -> dict:
    """Start, kill and resume runs.

    Args:
        folder: Empty work dir.
        kills: How often to kill.
        hook: Type of the checkpoint hook.
        seed: Of the moments.

    Returns:
        kills; saved: epochs saved in all; in_a_save: kills that left an unfinished file;
        cannot_resume: runs that failed to go on, after each of which a new one is begun;
        checkpoints: the most that a kill left in a folder.
    """
    moments = random.Random(seed)
    found = dict(hook=hook, kills=0, saved=0, in_a_save=0, cannot_resume=0, checkpoints=0)
    fresh, at_least = 0, 0
    work_dir = folder / f"{fresh}"
    while found["kills"] < kills:
        saves = moments.randint(1, 3)
        pid, pipe = started(work_dir, hook, found["kills"] + found["cannot_resume"])
        with os.fdopen(pipe) as lines:
            first = lines.readline()
            if not first or int(first) < at_least:
                if not work_dir.exists() or not any(work_dir.glob("*.pth*")):
                    raise RuntimeError("the run cannot even be started")
                found["cannot_resume"] += 1
                fresh, at_least = fresh + 1, 0
                work_dir = folder / f"{fresh}"
                if first:
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                continue
            reported = [first]
            while len(reported) <= saves and reported[-1]:
                reported.append(lines.readline())
            time.sleep(moments.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            reported += lines.readlines()
        at_least = max(int(line) for line in reported if line)
        found["kills"] += 1
        found["in_a_save"] += any(work_dir.glob("*.unfinished"))
        found["checkpoints"] = max(found["checkpoints"], len(list(work_dir.glob("*.pth"))))
        found["saved"] += at_least - int(first)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--hook", default="AtomicCheckpointHook")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = kill_while_saving(Path(folder), args.kills, args.hook, args.seed)
    print(json.dumps(dict(found, seconds=round(time.monotonic() - start))))
    sys.exit(found["cannot_resume"] > 0)


if __name__ == "__main__":
    main()
