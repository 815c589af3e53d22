# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""``python -m sgpose.deploy run``: poses in pictures and videos from the command line."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sgpose.datasets import toy_sample
from sgpose.deploy import OnnxPose, Poses
from sgpose.deploy.__main__ import main
from sgpose.deploy.frames import find_sources
from sgpose.deploy.people import Tracker, load_detector, read_boxes
from sgpose.deploy.skeleton import LEFT, MIDDLE, RIGHT, draw_poses, side_colors

RATE, FRAMES, STEP = 10.0, 6, 12


@pytest.fixture
def model(exported) -> str:
    return str(exported("plain"))


@pytest.fixture
def folder(tmp_path, picture):
    """Two pictures and a text."""
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture)
    cv2.imwrite(str(folder / "b.png"), picture[:, ::-1])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def video(tmp_path):
    """A toy person that walks to the right, and one that stands."""
    left, right = (cv2.resize(toy_sample(3, i)[0], (96, 128)) for i in range(2))
    path = str(tmp_path / "walk.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), RATE, (320, 160))
    for frame in range(FRAMES):
        image = np.zeros((160, 320, 3), np.uint8)
        image[16:144, STEP * frame : STEP * frame + 96] = left
        image[16:144, 200:296] = right
        writer.write(image)
    writer.release()
    return path


def read_lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_of_pictures_is_drawn_and_written(model, folder, picture, tmp_path, capsys):
    boxes = {"a.png": [[10, 20, 100, 150], [0, 0, 60, 90]], "b.png": []}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    out = tmp_path / "out"
    options = ["--boxes", str(tmp_path / "boxes.json"), "--out", str(out), "--json"]
    assert main(["run", model, str(folder), *options, "--threshold", "-9"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "poses.jsonl"]
    first, second = read_lines(out / "poses.jsonl")
    assert first["input"] == str(folder / "a.png") and first["frame_id"] == 0
    expected = OnnxPose(model)(picture, boxes["a.png"])
    for person, keypoints, scores, box in zip(first["instances"], *expected, boxes["a.png"]):
        np.testing.assert_allclose(person["keypoints"], keypoints, atol=1e-6)
        np.testing.assert_allclose(person["keypoint_scores"], scores, atol=1e-6)
        assert person["bbox"] == [box]
    assert len(first["instances"]) == 2 and second["instances"] == []
    drawn = draw_poses(picture, expected, OnnxPose(model).spec, threshold=-9)
    np.testing.assert_array_equal(cv2.imread(str(out / "a.png")), drawn)
    np.testing.assert_array_equal(cv2.imread(str(out / "b.png")), picture[:, ::-1])
    assert "one person" not in capsys.readouterr().err
    # what was written are boxes, too
    again = read_boxes(out / "poses.jsonl")
    np.testing.assert_array_equal(again["a.png", 0], boxes["a.png"])
    assert again["b.png", 0].shape == (0, 4)


def test_without_boxes_the_whole_picture_is_a_person_and_a_warning_says_so(
    model, folder, picture, capsys
):
    assert main(["run", model, str(folder / "a.png"), "--json"]) == 0
    said = capsys.readouterr()
    (line,) = [json.loads(text) for text in said.out.splitlines() if text.startswith("{")]
    height, width = picture.shape[:2]
    assert line["instances"][0]["bbox"] == [[0, 0, width, height]]
    assert "each picture is taken as one person from head to foot" in said.err


def test_what_cannot_be_read_is_left_out_and_the_rest_is_done(model, folder, tmp_path, capsys):
    (folder / "c.png").write_bytes(b"no picture")
    assert main(["run", model, str(folder), "--out", str(tmp_path / "out")]) == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "b.png"}
    assert f"left out: {folder / 'c.png'}" in capsys.readouterr().err
    assert main(["run", model, str(folder / "notes.txt"), "--out", str(tmp_path / "out")]) == 1
    assert "no video that OpenCV can open" in capsys.readouterr().err


def save_detector(path, boxes, classes=None):
    """Write a detector with rtmlib's interface: boxes and scores, whatever the picture.

    With classes it has the form of a plain YOLOX: centre, size, and scores of 3 classes.
    """
    boxes = np.float32(boxes)
    if classes is None:
        found = np.hstack([boxes, np.full((len(boxes), 1), 0.9, np.float32)])[None]
    else:  # cells of 416 / 8, of which the first ones hold the boxes
        found = np.zeros((1, 52**2 + 26**2 + 13**2, 8), np.float32)
        center, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        cells = np.stack([np.arange(len(boxes)), np.zeros(len(boxes))], axis=1)
        found[0, : len(boxes), :2] = center / 8 - cells
        found[0, : len(boxes), 2:4] = np.log(size / 8)
        found[0, : len(boxes), 4] = 1
        found[0, np.arange(len(boxes)), 5 + np.array(classes)] = 0.9
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "found"], ["boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 416, 416])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, list(found.shape))],
        [
            numpy_helper.from_array(a, n)
            for n, a in dict(zero=np.zeros(1, np.float32), found=found).items()
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )
    return str(path)


def test_detectors_of_rtmlib_find_people_alone(tmp_path):
    pytest.importorskip("rtmlib")
    image = np.zeros((208, 104, 3), np.uint8)  # enlarged twice for the detector
    boxes = [[20, 40, 80, 200], [100, 60, 160, 300], [10, 10, 50, 90]]
    detect = load_detector(save_detector(tmp_path / "nms.onnx", boxes))
    np.testing.assert_allclose(detect(image), np.array(boxes) / 2, rtol=1e-5)
    detect = load_detector("YOLOX:" + save_detector(tmp_path / "plain.onnx", boxes, [0, 2, 0]))
    found = detect(image)
    np.testing.assert_allclose(found[found[:, 0].argsort()], np.array(boxes)[[2, 0]] / 2, rtol=1e-4)
    detect = load_detector(save_detector(tmp_path / "none.onnx", np.zeros((0, 4))))
    assert detect(image).shape == (0, 4)


def test_people_in_a_video_are_followed(model, video, tmp_path):
    pytest.importorskip("rtmlib")
    scale = 416 / 320
    boxes = np.array([[0, 16, 96, 144], [200, 16, 296, 144]]) * scale
    detector = save_detector(tmp_path / "detector.onnx", boxes)
    out = tmp_path / "out"
    options = ["--detector", detector, "--detect-every", "99", "--out", str(out), "--json"]
    assert main(["run", model, video, *options]) == 0
    lines = read_lines(out / "poses.jsonl")
    assert [line["frame_id"] for line in lines] == list(range(FRAMES))
    assert [person["track_id"] for person in lines[0]["instances"]] == [0, 1]
    capture = cv2.VideoCapture(str(out / "walk.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert capture.get(cv2.CAP_PROP_FPS) == RATE
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 320


def person(x, y, height=100.0) -> np.ndarray:
    """Corners of a person of that height, as keypoints."""
    return np.array([[x, y], [x + height / 2, y + height]])


def test_numbers_stay_when_people_move_leave_and_come():
    pytest.importorskip("rtmlib")
    tracker = Tracker()
    numbers, boxes = tracker(np.stack([person(0, 0), person(200, 0)]))
    assert numbers == [0, 1]
    np.testing.assert_allclose(boxes[0], [-6.25, -12.5, 56.25, 112.5])
    assert tracker(np.stack([person(205, 5), person(8, 0)]))[0] == [1, 0]  # in another order
    assert tracker(np.stack([person(210, 5)]))[0] == [1]
    assert tracker(np.stack([person(215, 5), person(400, 0), person(0, 300, 10)]))[0] == [1, 2, -1]
    assert tracker(np.zeros((0, 2, 2)))[0] == []
    assert tracker(np.stack([person(600, 0)]))[0] == [3]


def test_rtmlib_tracks_with_onnxpose_as_its_model(model, picture):
    rtmlib = pytest.importorskip("rtmlib")
    pose, boxes = OnnxPose(model), np.array([[10, 20, 100, 150], [0, 0, 60, 90]])

    class Detector:
        det_mode = "human"

        def __call__(self, image):
            return boxes

    solution = SimpleNamespace(det_model=Detector(), pose_model=pose)
    tracker = rtmlib.PoseTracker(lambda **_: solution, tracking=False)
    keypoints, scores = tracker(picture)
    expected = pose(picture, boxes)
    np.testing.assert_array_equal(keypoints, expected.keypoints)
    np.testing.assert_array_equal(scores, expected.scores)


def test_inputs_are_found(folder, tmp_path):
    names = [source.name for source in find_sources([str(folder), "7"])]
    assert names == ["a.png", "b.png", "webcam7.mp4"]
    assert [
        s.moves for s in find_sources([str(folder / "a.png"), str(folder / "notes.txt"), "0"])
    ] == [
        *(False, True, True),
    ]
    assert len(find_sources([str(folder / "*.png")])) == 2
    (tmp_path / "empty").mkdir()
    for absent, message in (
        (folder / "x.jpg", "names no file"),
        (tmp_path / "empty", "no pictures"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            find_sources([str(absent)])
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="have the same name"):
        find_sources([str(folder), str(tmp_path / "a.png")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--boxes", "x", "--detector", "y"], "not both"),
        (["--detect-every", "0"], "must be 1 or more, got 0"),
        (["--detector", "absent.onnx"], "there is no file absent.onnx"),
        (["--detector", "somewhat"], "give FILE.onnx, YOLOX:FILE.onnx or"),
        (["--boxes", "absent.json"], "absent.json"),
        (["--boxes", __file__], "holds no boxes: it must be"),
        (["--threads", "0"], "threads must be 1 or more"),
    ],
)
def test_what_cannot_be_run_is_said_first(model, folder, options, message):
    if options[0] == "--detector":
        pytest.importorskip("rtmlib")
    with pytest.raises(SystemExit, match=message):
        main(["run", model, str(folder), *options])


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    monkeypatch.setitem(sys.modules, "rtmlib.tools.solution.pose_tracker", None)
    for use in (lambda: load_detector("a.onnx"), Tracker):
        with pytest.raises(ImportError, match=r'pip install "sgpose\[video\]"'):
            use()


def test_sides_have_their_colours():
    names = ["nose", "left_knee", "R_Knee", "rightHip", "head_top", "L_Eye"]
    keypoints, limbs = side_colors(names, [(0, 4), (0, 1), (2, 3), (1, 2), (2, 4)])
    assert keypoints == [MIDDLE, LEFT, RIGHT, RIGHT, MIDDLE, LEFT]
    assert limbs == [MIDDLE, LEFT, RIGHT, MIDDLE, RIGHT]


def test_skeletons_are_drawn_where_the_poses_are(exported):
    spec = OnnxPose(exported("plain"), threads=1).spec
    image = np.full((200, 200, 3), 128, np.uint8)
    keypoints = np.full((1, 17, 2), 20.0)
    scores = np.zeros((1, 17))
    a, b = spec.skeleton[0]
    keypoints[0, a], keypoints[0, b] = (20, 50), (180, 50)
    scores[0, [a, b]] = 0.9
    poses = Poses(keypoints, scores, np.array([[20, 60, 180, 90]]))
    drawn = draw_poses(image, poses, spec)
    assert drawn[50, 100].tolist() == list(spec.skeleton_colors[0][::-1])
    np.testing.assert_array_equal(drawn[100:], image[100:])
    np.testing.assert_array_equal(image, 128)
    assert (draw_poses(image, poses, spec, threshold=0.95) == image).all()
    labelled = draw_poses(image, poses, spec, labels=["7"])
    assert (labelled != drawn).any()
