# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Export a trained top-down model as one ONNX file that sgpose.deploy.OnnxPose runs.

The file is compared with PyTorch on pictures and written only if it agrees.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from mmengine.config import Config, DictAction

from sgpose.deploy import export_onnx


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("config", help="config of the model")
    parser.add_argument("checkpoint", help="its weights")
    parser.add_argument(
        "--out",
        type=Path,
        help="file to write, else CHECKPOINT with .onnx, in this folder for a URL",
    )
    parser.add_argument(
        "--no-flip-test",
        action="store_true",
        help="leave out the mirrored crop, where the config's test settings average with it",
    )
    parser.add_argument(
        "--heatmaps", action="store_true", help="return what keypoints are decoded from, too"
    )
    parser.add_argument("--guide-maps", action="store_true", help="return the guides' maps, too")
    parser.add_argument(
        "--float-input", action="store_true", help="take crops of float32, (B, 3, h, w), 0 to 255"
    )
    parser.add_argument(
        "--int8",
        type=int,
        nargs="?",
        const=128,
        default=0,
        metavar="PERSONS",
        help="quantise to 8 bits, calibrated on 128 or as many persons of the training data",
    )
    parser.add_argument(
        "--half", action="store_true", help="store the weights in float16, in half the room"
    )
    parser.add_argument("--fp16", action="store_true", help="compute in float16, for GPUs")
    parser.add_argument("--opset", type=int, default=17, help="version of ONNX's operators")
    parser.add_argument(
        "--dynamo",
        action="store_true",
        help="export with PyTorch's newer exporter (PyTorch 2.6 and onnxscript)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        help="pictures to compare on, else persons of the config's test data",
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="for outputs, as a part of the largest"
    )
    parser.add_argument(
        "--keypoint-tolerance",
        type=float,
        help="for keypoints in pixels of the crop: the largest difference, else 0.05; with --int8, "
        "--half or --fp16 the median, else 2",
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    return parser.parse_args()


def beside(checkpoint: str) -> Path:
    """Return where the file goes by itself: beside the checkpoint, or here for one of a URL."""
    if "://" in checkpoint:
        return Path(Path(urlsplit(checkpoint).path).name).with_suffix(".onnx")
    return Path(checkpoint).with_suffix(".onnx")


def main() -> None:
    args = parse_args()
    try:
        config = Config.fromfile(args.config)
        config.merge_from_dict(args.cfg_options)
        report = export_onnx(
            config,
            args.checkpoint,
            args.out or beside(args.checkpoint),
            flip_test=not args.no_flip_test,
            heatmaps=args.heatmaps,
            guide_maps=args.guide_maps,
            float_input=args.float_input,
            int8=args.int8,
            half=args.half,
            fp16=args.fp16,
            opset=args.opset,
            dynamo=args.dynamo,
            images=args.images,
            tolerance=args.tolerance,
            keypoint_tolerance=args.keypoint_tolerance,
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise SystemExit(f"export_onnx: {error}") from error
    for name, (largest, value) in report.differences.items():
        print(f"{name}: largest difference to PyTorch {largest:.2g}, largest value {value:.3g}")
    print(
        f"keypoints: largest difference to MMPose {report.keypoint_difference:.2g} px of the crop, "
        f"median {report.median_difference:.2g} px, {report.num_persons} boxes; left out of the "
        f"largest: {report.num_skipped} keypoints of {report.num_keypoints + report.num_skipped} "
        "that rounding moves in MMPose, too"
    )
    print(
        f"written: {report.path}, {report.path.stat().st_size / 1e6:.1f} MB, and what it says of "
        f"itself: {report.path.with_suffix('.json').name}"
    )


if __name__ == "__main__":
    main()
