#!/usr/bin/env python3
# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Print which operators of an exported model the time goes to, by ONNX Runtime's profiler.

For convolutions it prints, too, how many floating-point operations a second they do: for all of
them, and for the shapes of kernel and output (N, C, H, W) that take longest.

    python scripts/onnx_operators.py MODEL.onnx [--batch 8] [--rounds 20] [--threads 1]

The first round, which allocates, is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections import Counter

import numpy as np
import onnxruntime as ort


def profile(model: str, batch: int, rounds: int, threads: int) -> list[dict]:
    """Run a model on crops of noise and return ONNX Runtime's events."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (crops,) = session.get_inputs()
        shape = [batch, *crops.shape[1:]]
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        for _ in range(rounds + 1):
            session.run(None, {crops.name: noise})
        with open(session.end_profiling(), encoding="utf-8") as file:
            return json.load(file)


def after_the_first(events: list[dict]) -> list[dict]:
    """Return the events of operators in all rounds but the first."""
    starts = sorted(e["ts"] for e in events if e["name"] == "model_run")
    return [e for e in events if e.get("cat") == "Node" and e["ts"] >= starts[1]]


def operator_times(events: list[dict]) -> Counter[str]:
    """Return the microseconds of each kind of operator."""
    times: Counter[str] = Counter()
    for event in events:
        times[event["args"]["op_name"]] += event["dur"]
    return times


def convolution_work(events: list[dict]) -> tuple[Counter[tuple], Counter[tuple]]:
    """Return microseconds and operations (2 a multiply-add) of each shape of convolution.

    A shape is that of the kernel and of the output. Where ONNX Runtime pads channels to blocks,
    the padding counts as work, too.
    """
    times: Counter[tuple] = Counter()
    work: Counter[tuple] = Counter()
    for event in events:
        args = event["args"]
        if args["op_name"] != "Conv":
            continue
        (kernel,) = args["input_type_shape"][1].values()
        (output,) = args["output_type_shape"][0].values()
        shape = (tuple(kernel), tuple(output))
        times[shape] += event["dur"]
        work[shape] += 2 * math.prod(kernel) * math.prod(output) // output[1]
    return times, work


def main() -> None:
    parser = argparse.ArgumentParser(description="Where an exported model spends its time.")
    parser.add_argument("model", help="a file that tools/export_onnx.py wrote")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    events = after_the_first(profile(args.model, args.batch, args.rounds, args.threads))
    times = operator_times(events)
    total = sum(times.values())
    for name, microseconds in times.most_common():
        milliseconds = microseconds / 1000 / args.rounds
        print(f"{name:24} {100 * microseconds / total:5.1f} %  {milliseconds:8.2f} ms a round")
    times, work = convolution_work(events)
    rate = sum(work.values()) / max(sum(times.values()), 1) / 1e3
    print(f"convolutions: {rate:.1f} GFLOP/s, of these")
    for shape, microseconds in times.most_common(5):
        share = 100 * microseconds / sum(times.values())
        print(f"  {share:5.1f} %  {work[shape] / microseconds / 1e3:6.1f} GFLOP/s  {shape}")


if __name__ == "__main__":
    main()
