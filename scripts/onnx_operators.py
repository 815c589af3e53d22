#!/usr/bin/env python3
# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Print which operators of an exported model the time goes to, by ONNX Runtime's profiler.

    python scripts/onnx_operators.py MODEL.onnx [--batch 8] [--rounds 20] [--threads 1]

The first round, which allocates, is left out.
"""

from __future__ import annotations

import argparse
import json
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


def operator_times(events: list[dict]) -> Counter[str]:
    """Return the microseconds of each kind of operator in all rounds but the first."""
    starts = sorted(e["ts"] for e in events if e["name"] == "model_run")
    times: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["ts"] >= starts[1]:
            times[event["args"]["op_name"]] += event["dur"]
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="Where an exported model spends its time.")
    parser.add_argument("model", help="a file that tools/export_onnx.py wrote")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    times = operator_times(profile(args.model, args.batch, args.rounds, args.threads))
    total = sum(times.values())
    for name, microseconds in times.most_common():
        milliseconds = microseconds / 1000 / args.rounds
        print(f"{name:24} {100 * microseconds / total:5.1f} %  {milliseconds:8.2f} ms a round")


if __name__ == "__main__":
    main()
