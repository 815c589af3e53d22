# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Where people are in a picture, and who is who from one frame to the next: by other libraries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

INSTALL = 'pip install "sgpose[video]"'
KINDS = ("YOLOX", "RTMDet", "RFDETR")
MIN_SCORE = 0.5
#: Takes an image (H, W, 3) in BGR, returns boxes (N, 4) of left, top, right, bottom.
Detector = Callable[[np.ndarray], np.ndarray]


def load_detector(text: str) -> Detector:
    """Load a detector of people.

    Args:
        text: ``FILE.onnx`` for a YOLOX as rtmlib takes it, ``RTMDet:FILE.onnx`` or
            ``RFDETR:FILE.onnx`` for its other kinds, ``rtmlib`` for its small YOLOX, which rtmlib
            downloads, or ``mmdet:NAME`` for a model of MMDetection that finds people as its first
            class, such as ``mmdet:rtmdet_tiny_8xb32-300e_coco``.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the library is not installed.
        ValueError: If it is none of these.
    """
    kind, _, rest = text.rpartition(":")
    if kind == "mmdet":
        return _of_mmdet(rest)
    try:
        import rtmlib
    except ImportError as error:
        raise ImportError(
            f"detectors come from rtmlib, which is not installed: {INSTALL}"
        ) from error
    if text == "rtmlib":
        mode = rtmlib.Body.MODE["lightweight"]
        return _people(rtmlib.YOLOX(mode["det"], model_input_size=mode["det_input_size"]))
    if kind not in ("", *KINDS) or not rest.endswith(".onnx"):
        raise ValueError(
            f"--detector {text}: give FILE.onnx, {' or '.join(f'{k}:FILE.onnx' for k in KINDS)}, "
            "rtmlib or mmdet:NAME"
        )
    if not Path(rest).is_file():  # rtmlib would try to download it
        raise FileNotFoundError(f"--detector {text}: there is no file {rest}")
    import onnxruntime

    session = onnxruntime.InferenceSession(rest, providers=["CPUExecutionProvider"])
    sizes = session.get_inputs()[0].shape[2:]
    size = tuple(sizes) if all(isinstance(n, int) for n in sizes) else (640, 640)
    return _people(getattr(rtmlib, kind or "YOLOX")(rest, model_input_size=size))


def _people(detector) -> Detector:
    """Keep of a detector of many classes the first one, people."""
    last = detector.session.get_outputs()[0].shape[-1]
    many = isinstance(last, int) and last > 6  # a box, a score for it, and scores of classes
    if many:
        detector.det_mode = "multiclass"

    def detect(image: np.ndarray) -> np.ndarray:
        found = detector(image)
        boxes, classes = found if many else (found, None)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        return boxes if classes is None else boxes[np.asarray(classes) == 0]

    return detect


def _of_mmdet(name: str) -> Detector:
    try:
        from mmdet.apis import DetInferencer
    except ImportError as error:
        raise ImportError(f"MMDetection is not installed ({error}): mim install mmdet") from error
    inferencer = DetInferencer(name)
    inferencer.show_progress = False

    def detect(image: np.ndarray) -> np.ndarray:
        (found,) = inferencer(image)["predictions"]
        sure = (np.array(found["labels"]) == 0) & (np.array(found["scores"]) >= MIN_SCORE)
        return np.array(found["bboxes"], np.float32).reshape(-1, 4)[sure]

    return detect


def read_boxes(path: str | Path) -> dict[tuple[str, int | None], np.ndarray]:
    """Read boxes from a file.

    Args:
        path: JSON ``{"a.jpg": [[left, top, right, bottom], ...], ...}``, for each file the boxes
            of each of its frames; or the lines that ``--json`` wrote.

    Returns:
        (name of the file, number of the frame or None for all) -> (N, 4).

    Raises:
        ValueError: If it is neither.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        try:
            content = json.loads(text)
        except json.JSONDecodeError:
            content = [json.loads(line) for line in text.splitlines() if line.strip()]
        if isinstance(content, dict) and "instances" in content:
            content = [content]
        if isinstance(content, dict):
            return {(name, None): _boxes(boxes) for name, boxes in content.items()}
        return {
            (Path(line["input"]).name, line["frame_id"]): _boxes(
                [person["bbox"][0] for person in line["instances"]]
            )
            for line in content
        }
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} holds no boxes: it must be {{"a.jpg": [[left, top, right, bottom], ...]}} or '
            f"what --json wrote ({type(error).__name__}: {error})"
        ) from error


def _boxes(boxes: list) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


class Tracker:
    """Numbers for people that stay the same from frame to frame, by rtmlib's ``PoseTracker``.

    Raises:
        ImportError: If rtmlib is not installed.
    """

    def __init__(self) -> None:
        try:
            from rtmlib.tools.solution.pose_tracker import PoseTracker, pose_to_bbox
        except ImportError as error:
            raise ImportError(f"people are tracked by rtmlib: {INSTALL}") from error
        # Its call detects, estimates and loses the numbers; what matters is how it matches boxes.
        self._tracker = PoseTracker(lambda **_: SimpleNamespace(pose_model=None), tracking=False)
        self._box = pose_to_bbox

    def __call__(self, keypoints: np.ndarray) -> tuple[list[int], np.ndarray]:
        """Return for poses (N, K, 2) their numbers, -1 for tiny ones, and boxes (N, 4)."""
        boxes, numbers = [self._box(pose) for pose in keypoints], []
        for box in boxes:
            numbers.append(int(self._tracker.track_by_iou(box)[0]))
        known = [(n, box) for n, box in zip(numbers, boxes) if n >= 0]
        self._tracker.track_ids_last_frame = [number for number, _ in known]
        self._tracker.bboxes_last_frame = [box for _, box in known]
        return numbers, np.array(boxes, np.float32).reshape(-1, 4)
