# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Train and infer for long, and see whether memory, file handles, logs and checkpoints grow.

    python scripts/soak.py --iterations 2000 --inferences 2000 [--onnx MODEL.onnx] --out soak.json

Trains the toy SG-HRNet on toy people, batch 4, with data workers; then runs the inferencer, and
ONNX Runtime if a model is given, on one picture again and again. Ends with status 1 if something
grows. Needs psutil.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import cv2
import psutil
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner

import sgpose  # noqa: F401
from sgpose.datasets import toy_sample, write_toy_people

TOY = Path(__file__).parents[1] / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
EPOCHS, BATCH, WORKERS = 20, 4, 2
MB = 2**20
# MMEngine keeps every logged number: a few hundred bytes per iteration, in checkpoints too
ALLOWED = dict(process_mb=16.0, workers_mb=16.0, handles=0.0, worker_handles=0.0)


def usage() -> dict[str, float]:
    """Memory and file handles of this process, and those of its children per child."""
    process = psutil.Process()
    found = dict(process_mb=process.memory_info().rss / MB, handles=process.num_fds())
    children = process.children()
    if children:
        unshared = [child.memory_full_info().uss for child in children]
        found["workers_mb"] = sum(unshared) / MB / len(children)
        found["worker_handles"] = sum(c.num_fds() for c in children) / len(children)
    return found


def growth(samples: list[dict[str, float]]) -> dict[str, float]:
    """Last quarter's median less that of the second quarter, when all is warmed up."""
    quarter = len(samples) // 4
    found = {}
    for name in samples[-1]:
        late = [s[name] for s in samples[-quarter:] if name in s]
        early = [s[name] for s in samples[quarter : 2 * quarter] if name in s]
        found[name] = round(median(late) - median(early), 2)
    return found


class Watch(Hook):
    """Take a sample of the usage every so often, always at the same place in an epoch."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.samples: list[dict[str, float]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.every_n_train_iters(runner, self.every):
            self.samples.append(usage())


def train(folder: Path, iterations: int) -> tuple[dict, str]:
    """Train; return what was found and the path of the checkpoint."""
    per_epoch = max(2, iterations // EPOCHS)
    write_toy_people(folder / "toy", per_epoch * BATCH, 1)
    cfg = Config.fromfile(TOY)
    cfg.train_dataloader.update(batch_size=BATCH, num_workers=WORKERS)
    cfg.train_dataloader.dataset.data_root = str(folder / "toy")
    for part in ("val", "test"):
        for name in ("dataloader", "evaluator", "cfg"):
            cfg[f"{part}_{name}"] = None
    cfg.train_cfg.max_epochs = EPOCHS
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=EPOCHS, save_best=None)
    cfg.randomness = dict(seed=0)
    cfg.work_dir, cfg.log_level = str(folder / "run"), "WARNING"
    runner = Runner.from_cfg(cfg)
    watch = Watch(every=per_epoch // 2)
    runner.register_hook(watch)
    start = time.monotonic()
    runner.train()
    seconds = time.monotonic() - start
    sizes = [(folder / f"run/epoch_{i + 1}.pth").stat().st_size for i in range(EPOCHS)]
    logs = sum(p.stat().st_size for p in (folder / "run").rglob("*.json"))
    grown = growth(watch.samples)
    steps = EPOCHS * per_epoch
    found = dict(
        iterations=steps,
        seconds=round(seconds),
        first=watch.samples[0],
        last=watch.samples[-1],
        growth=grown,
        checkpoint_mb=round(sizes[-1] / MB, 2),
        checkpoint_bytes_per_iteration=round((sizes[-1] - sizes[0]) / (steps - per_epoch), 1),
        log_bytes_per_iteration=round(logs / steps, 1),
        files=len([p for p in (folder / "run").rglob("*") if p.is_file()]) - EPOCHS,
    )
    return found, str(folder / f"run/epoch_{EPOCHS}.pth")


def infer(call: Callable[[], object], count: int) -> dict:
    """Call an inference again and again."""
    samples = []
    start = time.monotonic()
    for i in range(count):
        call()
        if i % max(1, count // 40) == 0:
            samples.append(usage())
    seconds = time.monotonic() - start
    return dict(
        inferences=count,
        seconds=round(seconds),
        first=samples[0],
        last=samples[-1],
        growth=growth(samples),
    )


def callables(checkpoint: str, onnx: Path | None) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the name and the call of each way of inference."""
    from mmpose.apis import MMPoseInferencer

    image, _ = toy_sample(0, 0)
    inferencer = MMPoseInferencer(
        pose2d=str(TOY), pose2d_weights=checkpoint, det_model="whole_image", device="cpu"
    )
    yield "inferencer", lambda: next(inferencer(image))
    if onnx is not None:
        from sgpose.deploy import OnnxPose

        pose = OnnxPose(onnx)
        yield "onnx", lambda: pose(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--inferences", type=int, default=2000)
    parser.add_argument("--onnx", type=Path, help="a file that tools/export_onnx.py wrote")
    parser.add_argument("--out", type=Path, help="JSON file to write; printed if left out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    init_default_scope("mmpose")
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        found["training"], checkpoint = train(Path(folder), args.iterations)
        DefaultScope._instance_dict.clear()
        for name, call in callables(checkpoint, args.onnx):
            found[name] = infer(call, args.inferences)
    grows = [
        f"{part}: {name} by {value}"
        for part, entry in found.items()
        for name, value in entry["growth"].items()
        if value > ALLOWED[name]
    ]
    text = json.dumps(dict(found, allowed=ALLOWED, grows=grows), indent=2)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)
    sys.exit(bool(grows))


if __name__ == "__main__":
    main()
