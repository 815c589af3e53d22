# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Poses with OpenCV 5 alone, of a file that was exported with --float-input.

python run.py pose.onnx picture.jpg [--boxes "x1,y1,x2,y2; ..."] [--out drawn.png]
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np


def crop_person(image: np.ndarray, box: list[float], spec: dict) -> tuple:
    """Return the crop (h, w, 3), and its upper left corner and size in the image."""
    w, h = spec["input_size"]
    left, top, right, bottom = box
    width = spec["padding"] * max(right - left, (bottom - top) * w / h)
    size = np.array([width, width * h / w])
    corner = np.array([left + right, top + bottom]) / 2 - size / 2
    scale = (np.array([w, h]) - spec["use_udp"]) / size
    matrix = np.array([[scale[0], 0, -corner[0] * scale[0]], [0, scale[1], -corner[1] * scale[1]]])
    return cv2.warpAffine(image, matrix, (w, h), flags=cv2.INTER_LINEAR), corner, size


def find_poses(net: cv2.dnn.Net, spec: dict, image: np.ndarray, boxes: list) -> list[dict]:
    """Find the pose in each box (left, top, right, bottom)."""
    crops, corners, sizes = zip(*(crop_person(image, box, spec) for box in boxes))
    net.setInput(np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32), "crops")
    names = net.getUnconnectedOutLayersNames()
    outputs = dict(zip(names, net.forward(names)))
    found = []
    for box, corner, size, keypoints, scores in zip(
        boxes, corners, sizes, outputs["keypoints"], outputs["scores"]
    ):
        keypoints = corner + keypoints * size / spec["input_size"]
        found.append(dict(box=box, keypoints=keypoints.tolist(), scores=scores.tolist()))
    return found


def draw(image: np.ndarray, poses: list[dict], spec: dict, threshold: float = 0.3) -> None:
    """Draw the limbs between keypoints from a score on."""
    width = max(1, round(max(image.shape[:2]) / 200))
    for pose in poses:
        for (a, b), color in zip(spec["skeleton"], spec["skeleton_colors"]):
            if min(pose["scores"][a], pose["scores"][b]) >= threshold:
                ends = (tuple(map(round, pose["keypoints"][k])) for k in (a, b))
                cv2.line(image, *ends, color[::-1], width, cv2.LINE_AA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("picture")
    parser.add_argument("--boxes", default="", help="x1,y1,x2,y2; ... or the whole picture")
    parser.add_argument("--out", help="file for the drawn picture")
    args = parser.parse_args()
    spec = json.loads(args.model.with_suffix(".json").read_text())
    if spec["input_layout"] != "NCHW":
        raise SystemExit(f"{args.model} takes {spec['input_layout']}: export it with --float-input")
    net = cv2.dnn.readNetFromONNX(str(args.model))
    image = cv2.imread(args.picture)
    whole = [0, 0, image.shape[1], image.shape[0]]
    texts = [text for text in args.boxes.split(";") if text.strip()]
    boxes = [list(map(float, text.split(","))) for text in texts] or [whole]
    poses = find_poses(net, spec, image, boxes)
    print(json.dumps(poses))
    if args.out:
        draw(image, poses, spec)
        cv2.imwrite(args.out, image)


if __name__ == "__main__":
    main()
