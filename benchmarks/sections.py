# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The sections of the benchmark. Each takes its :class:`Settings` and yields its cases."""

from __future__ import annotations

import copy
import json
import multiprocessing
import re
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.apis import MMPoseInferencer, inference_topdown, init_model
from mmpose.codecs import MSRAHeatmap
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sgpose.codecs import SegmentationTarget, keypoint_discs
from sgpose.deploy.folding import fold_guides, fuse_layers

from .subjects import (
    build_model,
    picture,
    read_config,
    training_batch,
    training_step,
)
from .timing import Candidates, Case


@dataclass(frozen=True)
class Settings:
    """What all sections share.

    Args:
        configs: Folder of the configs.
        threads: Threads of PyTorch and ONNX Runtime in ``forward`` and ``persons``.
        rounds: Factor by which every number of measurements is multiplied.
        folder: Existing folder for exported files, which the sections share.
    """

    configs: Path
    threads: int
    rounds: float = 1.0
    folder: Path = Path(".")

    def times(self, count: int) -> int:
        return max(1, round(count * self.rounds))


@contextmanager
def ready(prepare: Callable[[], Candidates], threads: int) -> Iterator[Candidates]:
    """Give what ``prepare`` returns, and keep to a number of PyTorch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield prepare()
    finally:
        torch.set_num_threads(before)


# encode


def encode(settings: Settings) -> Iterator[Case]:
    """Targets of one person: MMPose's heatmaps alone, and our heatmaps with the mask."""
    kinds = (
        ("17 keypoints, 64x48", 17, (192, 256), 2, 5.0, False),
        ("17 keypoints, 64x48, unbiased", 17, (192, 256), 2, 5.0, True),
        ("133 keypoints, 64x48", 133, (192, 256), 2, 5.0, False),
        ("17 keypoints, 96x72", 17, (288, 384), 3, 7.5, False),
        ("17 keypoints, 96x72, unbiased", 17, (288, 384), 3, 7.5, True),
        ("133 keypoints, 96x72", 133, (288, 384), 3, 7.5, False),
    )
    for name, *kind in kinds:
        prepare = partial(_encoders, *kind)
        yield Case("encode", name, partial(ready, prepare, 1), settings.times(40), calls=20)


def _encoders(
    count: int, size: tuple[int, int], sigma: float, radius: float, unbiased: bool
) -> Candidates:
    maps = (size[0] // 4, size[1] // 4)
    args = dict(input_size=size, heatmap_size=maps, sigma=sigma, unbiased=unbiased)
    plain = MSRAHeatmap(**args)
    ours = SegmentationTarget(dict(args, type="MSRAHeatmap"), radius=radius)
    keypoints = np.random.default_rng(0).uniform(0, size, (1, count, 2)).astype(np.float32)
    visible = np.ones((1, count), np.float32)
    points = keypoints[0] / plain.scale_factor
    return {
        "MSRAHeatmap": lambda: plain.encode(keypoints, visible),
        "SegmentationTarget: heatmaps and mask": lambda: ours.encode(keypoints, visible),
        "the mask alone": lambda: keypoint_discs(points, visible[0], maps, radius),
    }


# step and memory

STEPS = (("W32 256x192", 4), ("W16 128x96", 8), ("W16 128x96", 32))


def step(settings: Settings) -> Iterator[Case]:
    """A training step of HRNet and of SG-HRNet on one thread."""
    for (name, batch), rounds in zip(STEPS, (7, 25, 9)):
        prepare = partial(_steps, settings.configs, name, batch)
        title = f"{name}, batch {batch}, 1 thread"
        yield Case("step", title, partial(ready, prepare, 1), settings.times(rounds))


def _steps(configs: Path, name: str, batch_size: int) -> Candidates:
    guided = read_config(configs, name)
    batch = training_batch(guided, batch_size)
    return {
        "HRNet": training_step(read_config(configs, name, guided=False), batch),
        "SG-HRNet": training_step(guided, batch),
    }


def memory(settings: Settings) -> Iterator[Case]:
    """Peak memory of a process that trains two steps."""
    for name, batch in (("W32 256x192", 4), ("W16 128x96", 32)):
        prepare = partial(_peaks, settings.configs, name, batch)
        yield Case("memory", f"{name}, batch {batch}", partial(ready, prepare, 1), 1, unit="MB")


def _peaks(configs: Path, name: str, batch: int) -> Candidates:
    return {
        "HRNet": lambda: in_process(peak_memory, configs, name, batch, False),
        "SG-HRNet": lambda: in_process(peak_memory, configs, name, batch, True),
    }


def peak_memory(configs: Path, name: str, batch_size: int, guided: bool) -> float:
    """Train two steps; return the peak of this process' resident memory in MB."""
    import sgpose  # noqa: F401

    torch.set_num_threads(1)
    batch = training_batch(read_config(configs, name), batch_size)
    run = training_step(read_config(configs, name, guided), batch)
    run(), run()
    return process_peak()


def process_peak() -> float:
    """Return the most memory that this process has held at a time, in MB.

    Linux alone tells. (``ru_maxrss`` would start at what the parent process held.)
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def in_process(function: Callable, *args) -> object:
    """Run a function of a module in a new process and return what it returns."""
    with processes(1) as pool:
        return pool.submit(function, *args).result()


def processes(count: int) -> ProcessPoolExecutor:
    """Return new processes that share nothing with this one."""
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))


# forward


def forward(settings: Settings) -> Iterator[Case]:
    """Networks from normalised crops to heatmaps: eager, folded, and in ONNX Runtime."""
    rounds = {("W32 256x192", 1): 9, ("W32 256x192", 8): 3, ("W32 384x288", 1): 5}
    rounds |= {("W32 384x288", 8): 3, ("W16 128x96", 1): 30, ("W16 128x96", 8): 15}
    for (name, batch), count in rounds.items():
        prepare = partial(_networks, settings, name, batch)
        title = f"{name}, batch {batch}"
        yield Case("forward", title, prepare, settings.times(count), persons=batch)


@contextmanager
def _networks(settings: Settings, name: str, batch: int) -> Iterator[Candidates]:
    plain_cfg, guided_cfg = (read_config(settings.configs, name, g) for g in (False, True))
    plain, guided = build_model(plain_cfg).eval(), build_model(guided_cfg).eval()
    fused, folded = fuse_layers(copy.deepcopy(plain)), fold_guides(copy.deepcopy(guided))
    width, height = guided_cfg.codec.input_size
    x = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    crops = np.random.default_rng(0).integers(0, 255, (batch, height, width, 3), dtype=np.uint8)

    def run(model: nn.Module) -> Callable[[], Tensor]:
        return lambda: model(x, None, mode="tensor")

    def session(guided: bool) -> Callable[[], list]:
        path = up_to_heatmaps(exported(settings, name, guided))
        return partial(open_session(path, settings.threads).run, None, {"crops": crops})

    candidates = {
        "HRNet": run(plain),
        "SG-HRNet": run(guided),
        "HRNet, fused": run(fused),
        "SG-HRNet, folded": run(folded),
        "HRNet, ONNX Runtime": session(False),
        "SG-HRNet, ONNX Runtime": session(True),
    }
    with ready(lambda: candidates, settings.threads), torch.no_grad():
        yield candidates


def exported(settings: Settings, name: str, guided: bool = True, flip_test: bool = False) -> Path:
    """Export a model with random weights once; they lie beside the file as ``.pth``."""
    from sgpose.deploy import export_onnx

    kind = f"{'guided' if guided else 'plain'}{', flip test' if flip_test else ''}"
    path = settings.folder / f"{name} {kind}.onnx"
    if not path.exists():
        cfg = read_config(settings.configs, name, guided)
        weights = path.with_suffix(".pth")
        torch.save(dict(state_dict=build_model(cfg).state_dict()), weights)
        export_onnx(cfg, weights, path, flip_test=flip_test)
    return path


def up_to_heatmaps(path: Path) -> Path:
    """Cut the decoder off an exported file once."""
    import onnx

    cut = path.with_suffix(".heatmaps.onnx")
    if not cut.exists():
        onnx.utils.extract_model(path, cut, ["crops"], ["heatmaps"])
    return cut


def in_8_bits(path: Path, size: tuple[int, int]) -> Path:
    """Quantise an exported file once, calibrated on noise: for its speed, not its accuracy."""
    from sgpose.deploy.smaller import quantize

    quantized = path.with_suffix(".int8.onnx")
    if not quantized.exists():
        noise = np.random.default_rng(0).integers(0, 255, (2, *size[::-1], 3), dtype=np.uint8)
        quantized.write_bytes(quantize(path.read_bytes(), [noise]))
    return quantized


def open_session(path: Path, threads: int):
    """Open an ONNX file on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def compiled(settings: Settings) -> Iterator[Case]:
    """``torch.compile`` of the fused and of the folded network."""
    prepare = partial(_compiled, settings, "W16 128x96", 1)
    yield Case("compiled", "W16 128x96, batch 1", prepare, settings.times(20), persons=1)


@contextmanager
def _compiled(settings: Settings, name: str, batch: int) -> Iterator[Candidates]:
    cfgs = [read_config(settings.configs, name, guided) for guided in (False, True)]
    plain, guided = (build_model(cfg).eval() for cfg in cfgs)
    width, height = cfgs[0].codec.input_size
    x = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))

    def run(model: nn.Module, compile_it: bool) -> Callable[[], Tensor]:
        network = nn.Sequential(model.backbone, model.head)
        network = torch.compile(network) if compile_it else network
        return lambda: network(x)

    fused, folded = fuse_layers(plain), fold_guides(guided)
    candidates = {
        "HRNet, fused": run(fused, False),
        "SG-HRNet, folded": run(folded, False),
        "HRNet, fused and compiled": run(fused, True),
        "SG-HRNet, folded and compiled": run(folded, True),
    }
    with ready(lambda: candidates, settings.threads), torch.no_grad():
        yield candidates


# persons a second

INFERENCER, TOPDOWN, ONNX = "MMPoseInferencer", "inference_topdown", "OnnxPose"
ONNX_INT8 = "OnnxPose, 8-bit integers"


def persons(settings: Settings) -> Iterator[Case]:
    """From a picture and boxes to keypoints, with MMPose's two ways in and with OnnxPose."""
    for name, count, rounds in (("W16 128x96", 8, 9), ("W32 256x192", 2, 9)):
        for flip in (False, True):
            prepare = partial(_ways, settings, name, count, 4, flip)
            title = f"{name}, 4 persons a picture, flip test {'on' if flip else 'off'}"
            yield Case("persons", title, prepare, settings.times(rounds), persons=count * 4)


OPENVINO, OPENVINO_BF16 = "OnnxPose, OpenVINO", "OnnxPose, OpenVINO in bfloat16"


def openvino(settings: Settings) -> Iterator[Case]:
    """The same with ONNX Runtime's OpenVINO provider; nothing where it is not installed."""
    import onnxruntime

    provider = "OpenVINOExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        return
    options = dict(device_type="CPU", num_of_threads=str(settings.threads))
    in_bf16 = json.dumps(dict(CPU=dict(INFERENCE_PRECISION_HINT="bf16")))
    providers = {
        OPENVINO: (provider, options),
        OPENVINO_BF16: (provider, dict(options, load_config=in_bf16)),
    }
    for case in persons(settings):
        yield replace(
            case,
            section="openvino",
            prepare=partial(case.prepare, providers),
            note=f"ONNX Runtime {onnxruntime.__version__}",
        )


@contextmanager
def _ways(
    settings: Settings,
    name: str,
    num_pictures: int,
    per_picture: int,
    flip: bool,
    providers: Mapping[str, tuple[str, dict]] = MappingProxyType({}),
) -> Iterator[Candidates]:
    """Give the ways in; ``providers`` are of OnnxPose, beside the CPU's."""
    from sgpose.deploy import OnnxPose

    cfg = read_config(settings.configs, name)
    cfg.model.test_cfg.flip_test = flip
    pictures = [picture(i, per_picture) for i in range(num_pictures)]
    path = exported(settings, name, flip_test=flip)
    weights = str(path.with_suffix(".pth"))
    model = init_model(cfg, weights, device="cpu")
    files = {ONNX: path, ONNX_INT8: in_8_bits(path, cfg.codec.input_size)}
    poses = {title: OnnxPose(file, threads=settings.threads) for title, file in files.items()}
    poses |= {title: OnnxPose(path, providers=[provider]) for title, provider in providers.items()}
    inferencer = MMPoseInferencer(
        pose2d=cfg, pose2d_weights=weights, det_model="whole_image", device="cpu"
    )
    inferencer.inferencer.show_progress = False
    candidates = {
        INFERENCER: lambda: [_infer(inferencer, *given) for given in pictures],
        TOPDOWN: lambda: [inference_topdown(model, *given) for given in pictures],
        **{title: partial(_estimate, pose, pictures) for title, pose in poses.items()},
    }
    with ready(lambda: candidates, settings.threads):
        yield candidates


def _estimate(pose: Callable, pictures: Sequence[tuple]) -> list:
    return [pose(*given) for given in pictures]


def _infer(inferencer: MMPoseInferencer, image: np.ndarray, boxes: np.ndarray) -> list:
    """Run MMPose's inferencer with boxes, which it takes from a detector alone."""
    inferencer.inferencer.detector = GivenBoxes(boxes)
    inferencer.inferencer.det_cat_ids = (0,)
    return list(inferencer(image, nms_thr=1.0))


class GivenBoxes:
    """Stand in for a detector that has found these boxes (N, 4) at no cost."""

    def __init__(self, boxes: np.ndarray) -> None:
        found = InstanceData(
            bboxes=torch.from_numpy(boxes),
            scores=torch.ones(len(boxes)),
            labels=torch.zeros(len(boxes), dtype=torch.long),
        )
        self.answer = dict(predictions=[SimpleNamespace(pred_instances=found)])

    def __call__(self, image: np.ndarray, return_datasamples: bool = True) -> dict:
        return self.answer


# runtime

BARE, RTMLIB = "session.run", "rtmlib"


def runtime(settings: Settings) -> Iterator[Case]:
    """OnnxPose beside its bare graph, rtmlib (where it is installed) and MMPose."""
    for name, rounds in (("W16 128x96", 9), ("W32 256x192", 5)):
        for count in (1, 4, 16):
            for size in ((640, 480), (1920, 1080)):
                prepare = partial(_runtimes, settings, name, count, size)
                title = f"{name}, {count} persons in {size[0]}x{size[1]}"
                yield Case("runtime", title, prepare, settings.times(rounds), persons=count)


@contextmanager
def _runtimes(
    settings: Settings, name: str, count: int, size: tuple[int, int]
) -> Iterator[Candidates]:
    from sgpose.deploy import OnnxPose
    from sgpose.deploy.crops import crop_persons

    cfg = read_config(settings.configs, name)
    cfg.model.test_cfg.flip_test = False
    image, boxes = picture(0, count)
    boxes = boxes * np.tile(np.array(size) / image.shape[1::-1], 2).astype(np.float32)
    image = cv2.resize(image, size)
    path = exported(settings, name)
    pose = OnnxPose(path, threads=settings.threads)
    model = init_model(cfg, str(path.with_suffix(".pth")), device="cpu")
    crops, *_ = crop_persons(image, boxes, pose.spec)
    session = open_session(path, settings.threads)
    candidates = {
        BARE: lambda: session.run(None, {"crops": crops}),
        ONNX: lambda: pose(image, boxes),
        TOPDOWN: lambda: inference_topdown(model, image, boxes),
    }
    if find_spec("rtmlib"):
        theirs = of_rtmlib(settings, name)
        candidates[RTMLIB] = lambda: theirs(image, boxes)
    with ready(lambda: candidates, settings.threads):
        yield candidates


def of_rtmlib(settings: Settings, name: str) -> Callable:
    """Return rtmlib's model for files with heatmaps, which it decodes by DARK."""
    import rtmlib

    from sgpose.deploy import export_onnx

    cfg = read_config(settings.configs, name)
    whole = settings.folder / f"{name} floats.onnx"
    if not whole.exists():
        weights = exported(settings, name).with_suffix(".pth")
        export_onnx(cfg, weights, whole, float_input=True, flip_test=False)
    path = up_to_heatmaps(whole)
    tool = rtmlib.ViTPose(str(path), model_input_size=cfg.codec.input_size, mean=None)
    tool.session = open_session(path, settings.threads)
    return tool


# growth


def growth(settings: Settings) -> Iterator[Case]:
    """How cost grows with persons in a picture and with keypoints."""
    for count in (1, 4, 16, 64):
        prepare = partial(_ways, settings, "W16 128x96", 1, count, False)
        title = f"W16 128x96, {count} persons a picture"
        yield Case("growth", title, prepare, settings.times(5), persons=count)
    for count in (17, 68, 133):
        prepare = partial(_steps_of_keypoints, settings.configs, count)
        title = f"step, W16 128x96, batch 8, {count} keypoints, 1 thread"
        yield Case("growth", title, partial(ready, prepare, 1), settings.times(9))


def _steps_of_keypoints(configs: Path, count: int) -> Candidates:
    steps = {}
    for title, guided in (("HRNet", False), ("SG-HRNet", True)):
        cfg = read_config(configs, "W16 128x96")
        cfg.model.head.out_channels = count
        batch = training_batch(cfg, 8)
        cfg = read_config(configs, "W16 128x96", guided)
        cfg.model.head.out_channels = count
        steps[title] = training_step(cfg, batch)
    return steps


def ranks(settings: Settings) -> Iterator[Case]:
    """A training step in one process and in two, gloo on the CPU, a thread and a batch each."""
    for world in (1, 2):
        prepare = partial(_ranks, settings.configs, world, settings.times(9))
        title = f"W16 128x96, batch 8 a rank, {world} rank{'s' * (world > 1)}"
        yield Case("ranks", title, partial(ready, prepare, 1), 1, unit="ms a step")


def _ranks(configs: Path, world: int, rounds: int) -> Candidates:
    # both networks are measured in turns in the same processes, on the first call
    found: dict[bool, float] = {}

    def median(guided: bool) -> float:
        if not found:
            found.update(_run_ranks(configs, world, rounds))
        return found[guided]

    return {"HRNet": lambda: median(False), "SG-HRNet": lambda: median(True)}


def _run_ranks(configs: Path, world: int, rounds: int) -> dict[bool, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with processes(world) as pool:
        results = [
            pool.submit(rank_times, configs, world, rank, rounds, address) for rank in range(world)
        ]
        return results[0].result()


def rank_times(
    configs: Path, world: int, rank: int, rounds: int, address: str
) -> dict[bool, float]:
    """Train in one process of several; return the median ms a step of HRNet and SG-HRNet."""
    import sgpose  # noqa: F401

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    steps = {}
    for guided in (False, True):
        cfg = read_config(configs, "W16 128x96", guided)
        batch = training_batch(read_config(configs, "W16 128x96"), 8)
        model = build_model(cfg).train()
        wrapped = DistributedDataParallel(model, broadcast_buffers=False)
        optimizer = torch.optim.Adam(model.parameters())
        steps[guided] = partial(_rank_step, wrapped, optimizer, batch)
    times: dict[bool, list[float]] = {guided: [] for guided in steps}
    for index in range(rounds + 1):
        for guided, run in steps.items():
            start = time.perf_counter()
            run()
            if index:
                times[guided].append((time.perf_counter() - start) * 1e3)
    torch.distributed.destroy_process_group()
    return {guided: statistics.median(values) for guided, values in times.items()}


def _rank_step(model: DistributedDataParallel, optimizer, batch: dict) -> None:
    data = model.module.data_preprocessor(batch, True)
    loss, _ = model.module.parse_losses(model(**data, mode="loss"))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
