# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Find poses in pictures and videos: ``python -m sgpose.deploy run pose.onnx INPUT...``."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from .frames import Source, Still, Video, find_sources
from .onnx_pose import OnnxPose
from .people import Tracker, load_detector, read_boxes
from .skeleton import draw_poses

WHOLE = (
    "no --detector and no --boxes: each picture is taken as one person from head to foot. Where "
    "there are several people, or one in a part of it, the pose will be wrong"
)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m sgpose.deploy", description=__doc__.split(":")[0])
    commands = parser.add_subparsers(required=True, metavar="run")
    run = commands.add_parser("run", help="find poses in pictures, videos or a webcam")
    run.add_argument("model", help="file that tools/export_onnx.py wrote")
    run.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="pictures, folders of pictures, patterns in quotes, videos, or a webcam's number",
    )
    run.add_argument(
        "--detector",
        help="what finds the people: FILE.onnx (YOLOX), RTMDet:FILE.onnx, RFDETR:FILE.onnx, rtmlib "
        "(downloads its small YOLOX), or mmdet:NAME",
    )
    run.add_argument("--boxes", help="JSON file of their boxes instead, see the documentation")
    run.add_argument("--out", type=Path, help="folder for drawn pictures and videos")
    run.add_argument(
        "--json",
        action="store_true",
        help="write poses as lines of JSON, to poses.jsonl in --out or to the terminal",
    )
    run.add_argument("--show", action="store_true", help="show what is drawn; q ends it")
    run.add_argument(
        "--threshold", type=float, default=0.3, help="of drawn keypoints (%(default)s)"
    )
    run.add_argument(
        "--detect-every",
        type=int,
        default=1,
        metavar="N",
        help="frames of a video; in between people are looked for where they were (%(default)s)",
    )
    run.add_argument("--threads", type=int, help="else one per core")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if an input could not be read."""
    args = parse_arguments(arguments)
    if args.detector and args.boxes:
        sys.exit("give --detector or --boxes, not both")
    if args.detect_every < 1:
        sys.exit(f"--detect-every must be 1 or more, got {args.detect_every}")
    if not (args.out or args.json or args.show):
        args.out = Path("poses")
    try:
        sources = find_sources(args.inputs)
        pose = OnnxPose(args.model, threads=args.threads)
        detector = load_detector(args.detector) if args.detector else None
        boxes = read_boxes(args.boxes) if args.boxes else {}
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"sgpose.deploy run: {error}")
    if not (detector or boxes):
        print(WHOLE, file=sys.stderr)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    with open_lines(args) as lines:
        failed = [s for s in sources if not run(s, pose, detector, boxes, args, lines)]
    if failed:
        print(f"left out: {', '.join(str(source.path) for source in failed)}", file=sys.stderr)
    elif args.out:
        print(f"written: {args.out}", file=sys.stderr)
    return int(bool(failed))


def run(
    source: Source,
    pose: OnnxPose,
    detector,
    boxes: dict,
    args: argparse.Namespace,
    lines: TextIO | None,
) -> bool:
    """Find, write and show the poses of one source; return whether it could be read."""
    try:
        frames = (Video if source.moves else Still)(source)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return False
    tracker = Tracker() if source.moves and detector else None
    near: np.ndarray | None = None
    with Writer(args.out and args.out / source.name, source.moves, frames.rate) as drawn:
        for number, image in enumerate(progress(frames, source)):
            if detector and (near is None or number % args.detect_every == 0):
                near = detector(image)
            elif boxes:
                near = boxes.get((source.name, number), boxes.get((source.name, None)))
                if near is None:
                    print(f"{args.boxes} has no boxes for {source.name}", file=sys.stderr)
                    return False
            poses = pose(image, near)
            people, labels = poses.instances(), []
            if tracker:
                numbers, near = tracker(poses.keypoints)
                labels = [str(number) if number >= 0 else "" for number in numbers]
                for person, track in zip(people, numbers):
                    person["track_id"] = track
            if lines:
                line = dict(input=str(source.path), frame_id=number, instances=people)
                print(json.dumps(line), file=lines, flush=lines is sys.stdout)
            if args.out or args.show:
                picture = draw_poses(image, poses, pose.spec, args.threshold, labels)
                drawn.write(picture)
                if args.show and not shown(picture, source.moves):
                    break
    return True


class Writer:
    """Write drawn frames to a picture or a video; to nothing without a path."""

    def __init__(self, path: Path | None, moves: bool, rate: float) -> None:
        self._path = path.with_suffix(".mp4") if path and moves else path
        self._moves, self._rate = moves, rate
        self._video: cv2.VideoWriter | None = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_) -> None:
        if self._video:
            self._video.release()

    def write(self, image: np.ndarray) -> None:
        """Write the next frame.

        Raises:
            OSError: If it cannot be written.
        """
        if not self._path:
            return
        if not self._moves:
            if not cv2.imwrite(str(self._path), image):
                raise OSError(f"{self._path} cannot be written")
            return
        if self._video is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            size = image.shape[1::-1]
            self._video = cv2.VideoWriter(str(self._path), code, self._rate, size)
            if not self._video.isOpened():
                raise OSError(f"{self._path} cannot be written: this OpenCV has no encoder for it")
        self._video.write(image)


@contextlib.contextmanager
def open_lines(args: argparse.Namespace) -> Iterator[TextIO | None]:
    """Open where lines of JSON go: a file in ``--out``, the terminal, or nowhere."""
    if not args.json:
        yield None
    elif args.out:
        with open(args.out / "poses.jsonl", "w", encoding="utf-8") as file:
            yield file
    else:
        yield sys.stdout


def progress(frames: Video | Still, source: Source) -> Iterator[np.ndarray]:
    """Show how far a video is, where tqdm is installed."""
    if isinstance(frames, Video):
        with contextlib.suppress(ImportError):
            from tqdm import tqdm

            return iter(tqdm(frames, source.name, frames.count, disable=None, unit="frame"))
    return iter(frames)


def shown(image: np.ndarray, moves: bool) -> bool:
    """Show an image, a still until a key is pressed; return False if that was q or Escape."""
    try:
        cv2.imshow("sgpose", image)
        return cv2.waitKey(1 if moves else 0) & 0xFF not in (ord("q"), 27)
    except cv2.error as error:
        sys.exit(f"--show: this OpenCV cannot open a window, use --out ({error})")


if __name__ == "__main__":
    sys.exit(main())
