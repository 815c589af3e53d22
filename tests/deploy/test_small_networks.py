# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The runtime with networks that are made by hand, whose answers are known."""

import dataclasses
import json
import os
import pickle
import sys
import threading

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sgpose.deploy import OnnxPose, Poses
from sgpose.deploy.pose_spec import METADATA_KEY, PoseSpec
from sgpose.deploy.skeleton import LEFT, MIDDLE, RIGHT

#: Three keypoints: blue, green and red. Each is where the picture's darkest and lightest value of
#: its colour say: x is the smallest value, y the largest, in pixels of a crop of 48x64.
SPEC = PoseSpec(
    network="colours",
    dataset="colours",
    input_size=(48, 64),
    input_layout="NHWC",
    padding=1.0,
    use_udp=False,
    codec=dict(type="MSRAHeatmap", unbiased=False, blur_kernel_size=11),
    outputs=("keypoints", "scores"),
    flip_test=False,
    flip_indices=(0, 2, 1),
    keypoint_names=("blue", "green", "red"),
    keypoint_colors=((51, 153, 255), (0, 255, 0), (255, 128, 0)),
    skeleton=((0, 1), (0, 2)),
    skeleton_colors=((0, 255, 0), (255, 128, 0)),
)
WHOLE = np.array([[0, 0, 48, 64]])


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


PLANES = [
    node("Cast", "crops", "floats", to=TensorProto.FLOAT),
    node("Transpose", "floats", "planes", perm=[0, 3, 1, 2]),
]
POSE = [
    node("ReduceMin", "planes", "x", axes=[2, 3], keepdims=0),
    node("ReduceMax", "planes", "y", axes=[2, 3], keepdims=0),
    node("Constant", "", "last", value_ints=[2]),
    node("Unsqueeze", "x last", "x1"),
    node("Unsqueeze", "y last", "y1"),
    node("Concat", "x1 y1", "keypoints", axis=2),
    node("ReduceMean", "planes", "scores", axes=[2, 3], keepdims=0),
]
# of one guide: how light each 4x4 pixels are
MAPS = [
    node("AveragePool", "planes", "pooled", kernel_shape=[4, 4], strides=[4, 4]),
    node("ReduceMean", "pooled", "guide_maps", axes=[1]),
]
SHAPES = dict(keypoints=[3, 2], scores=[3], guide_maps=[1, 16, 12])


def save(path, spec=SPEC, metadata=None):
    """Write the network; ``n`` persons, as the export tool's files."""
    floats = spec.input_layout == "NCHW"
    crops = ["n", 3, 64, 48] if floats else ["n", 64, 48, 3]
    kind = TensorProto.FLOAT if floats else TensorProto.UINT8
    before = [node("Identity", "crops", "planes")] if floats else PLANES
    graph = helper.make_graph(
        [*before, *POSE, *(MAPS if "guide_maps" in spec.outputs else [])],
        "colours",
        [helper.make_tensor_value_info("crops", kind, crops)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *SHAPES[name]])
            for name in spec.outputs
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()} if metadata is None else metadata)
    onnx.save(model, path)
    return path


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens the network, with fields of SPEC changed."""

    def make(options=None, **changes):
        path = save(tmp_path / "model.onnx", dataclasses.replace(SPEC, **changes))
        return OnnxPose(path, **(options or {}))

    return make


def picture(places, size=(48, 64)):
    """Draw a picture whose colours say where the keypoints are: (x, y), x < y."""
    image = np.empty((size[1], size[0], 3), np.uint8)
    image[:] = [x for x, _ in places]
    image[size[1] // 2 :] = [y for _, y in places]
    return image


PLACES = np.array([(3, 50), (20, 40), (6, 63)], float)


def test_keypoints_are_where_the_graph_says(opened):
    pose = opened()
    assert pose.spec == SPEC
    poses = pose(picture(PLACES), WHOLE)
    assert type(poses) is Poses and poses.guide_maps is None and poses.crops is None
    keypoints, scores = poses
    np.testing.assert_allclose(keypoints, [PLACES], atol=1e-4)
    np.testing.assert_allclose(scores, [PLACES.mean(axis=1)], rtol=1e-5)
    np.testing.assert_array_equal(poses.boxes, WHOLE)
    large = np.zeros((128, 96, 3), np.uint8)
    large[64:, 48:] = picture(PLACES)
    keypoints, _ = pose(large, [[48, 64, 96, 128]])
    np.testing.assert_allclose(keypoints, [PLACES + [48, 64]], atol=1e-4)
    keypoints, _ = pose(cv2.resize(picture(PLACES), (96, 128), interpolation=cv2.INTER_NEAREST))
    np.testing.assert_allclose(keypoints, [2 * PLACES], atol=1e-4)


def test_graphs_of_floats_get_floats(opened):
    expected = opened()(picture(PLACES), WHOLE)
    found = opened(input_layout="NCHW")(picture(PLACES), WHOLE)
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_boxes_of_several_pictures_keep_their_places(opened):
    pose = opened()
    small, other = picture(PLACES), picture(PLACES[::-1])
    boxes = [[[0, 0, 48, 64], [0, 0, 48, 32]], [], WHOLE]
    first, none, last = pose([small, small, other], boxes)
    np.testing.assert_allclose(first.keypoints[0], PLACES, atol=1e-4)
    assert none.keypoints.shape == (0, 3, 2) and none.scores.shape == (0, 3)
    assert none.scores.dtype == np.float32 and none.boxes.shape == (0, 4)
    np.testing.assert_allclose(last.keypoints, [PLACES[::-1]], atol=1e-4)
    (whole,) = pose([small])
    np.testing.assert_array_equal(whole.keypoints, pose(small).keypoints)
    assert pose([]) == [] and pose((), ()) == []
    with pytest.raises(ValueError, match="list of 2 images needs a list .* got 1"):
        pose([small, small], [WHOLE])
    assert isinstance(pose((small,)), list), "a tuple of images is as a list"


def test_boxes_of_corner_and_size_are_the_same_boxes(opened):
    pose, image = opened(), picture(PLACES, (96, 128))
    expected = pose([image, image], [[[10, 20, 58, 84]], None])
    found = pose([image, image], [[[10, 20, 48, 64]], None], box_format="xywh")
    for ours, theirs in zip(found, expected):
        np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
    with pytest.raises(ValueError, match="box_format must be one of .* got 'cxcywh'"):
        pose(image, WHOLE, box_format="cxcywh")


def test_maps_and_crops_of_the_guides(opened):
    pose = opened(outputs=("keypoints", "scores", "guide_maps"), padding=1.25)
    box = np.array([[10, 20, 34, 52]])  # 24x32, with room 30x40 around (22, 36)
    image = picture(PLACES)
    poses = pose(image, box, guide_maps=True)
    np.testing.assert_allclose(poses.crops, [[7, 16, 37, 56]])
    plain = pose(image, box)
    assert plain.guide_maps is None and plain.crops is None
    np.testing.assert_array_equal(plain.keypoints, poses.keypoints)
    whole = opened(outputs=("keypoints", "scores", "guide_maps"))
    expected = np.repeat(PLACES.mean(axis=0), 8)[None, None, :, None].repeat(12, axis=3)
    found = whole(image, WHOLE, guide_maps=True).guide_maps
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    (listed,) = whole([image], [WHOLE], guide_maps=True)
    np.testing.assert_array_equal(listed.guide_maps, found)
    empty = whole(image, [], guide_maps=True)
    shapes = [(0, 3, 2), (0, 3), (0, 1, 16, 12), (0, 4)]
    values = (empty.keypoints, empty.scores, empty.guide_maps, empty.crops)
    assert [value.shape for value in values] == shapes
    with pytest.raises(ValueError, match="no guides' maps: export it with --guide-maps"):
        opened()(image, WHOLE, guide_maps=True)


class Counting:
    """A session that keeps how many crops it was given at a time."""

    def __init__(self, session):
        self.session, self.seen = session, []

    def run(self, names, inputs):
        self.seen.append(len(inputs["crops"]))
        assert names == ["keypoints", "scores"], "maps that nobody asked for cost time"
        return self.session.run(names, inputs)


FIVE_BOXES = np.concatenate([WHOLE] * 5)


@pytest.mark.parametrize(
    ("max_batch", "flip_test", "sizes"),
    [(8, False, [5]), (2, False, [2, 2, 1]), (1, False, [1] * 5), (4, True, [2, 2, 1])]
    + [(1, True, [1] * 5), (9, True, [4, 1])],
)
def test_the_network_never_sees_more_than_max_batch(opened, max_batch, flip_test, sizes):
    pose = opened(
        dict(max_batch=max_batch, threads=1),
        flip_test=flip_test,
        outputs=("keypoints", "scores", "guide_maps"),
    )
    pose._session = Counting(pose._session)
    keypoints, _ = pose(picture(PLACES), FIVE_BOXES)
    assert pose._session.seen == sizes
    np.testing.assert_allclose(keypoints, [PLACES] * 5, atol=1e-4)


@pytest.mark.parametrize(("max_batch", "sizes"), [(8, [2, 3]), (2, [1, 2, 2])])
def test_persons_are_shared_out_among_the_threads(opened, max_batch, sizes):
    pose = opened(dict(max_batch=max_batch, threads=2))
    every, one = Counting(pose._session), Counting(pose._session_of_one_thread)
    pose._session, pose._session_of_one_thread = every, one
    assert one.session.get_session_options().intra_op_num_threads == 1
    keypoints, _ = pose(picture(PLACES), FIVE_BOXES)
    assert sorted(one.seen) == sizes and every.seen == []
    np.testing.assert_allclose(keypoints, [PLACES] * 5, atol=1e-4)
    pose(picture(PLACES), WHOLE)
    assert every.seen == [1], "one person's network runs on all threads"


def test_the_threads_of_an_object_are_started_once(opened):
    pose = opened(dict(threads=3))
    before = threading.active_count()
    for _ in range(5):
        pose(picture(PLACES), FIVE_BOXES)
    assert threading.active_count() <= before + 2


def test_an_object_can_be_pickled(opened):
    pose = opened(dict(threads=2, max_batch=3))
    copied = pickle.loads(pickle.dumps(pose))
    assert copied.spec == pose.spec and copied._threads == 2 and copied._persons_at_once == 3
    found, expected = (one(picture(PLACES), FIVE_BOXES) for one in (copied, pose))
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)


def test_a_quota_limits_the_threads(opened, monkeypatch):
    loky = pytest.importorskip("loky")
    monkeypatch.setattr(loky, "cpu_count", lambda: 3)
    pose = opened()
    assert pose._threads == 3
    assert pose._session.get_session_options().intra_op_num_threads == 3
    monkeypatch.setitem(sys.modules, "loky", None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5}, raising=False)
    assert opened()._threads == 2


def test_eight_crops_at_once_by_default(opened):
    assert (opened()._persons_at_once, opened(flip_test=True)._persons_at_once) == (8, 4)


def test_options_are_those_of_the_session(opened):
    for threads in (1, 2):
        session = opened(dict(threads=threads))._session
        assert session.get_session_options().intra_op_num_threads == threads
    assert opened()._session.get_providers() == ["CPUExecutionProvider"]
    assert opened(dict(providers=("CPUExecutionProvider",)))
    for options, message in (
        (dict(threads=0), "threads must be 1 or more, got 0"),
        (dict(max_batch=0), "max_batch must be 1 or more, got 0"),
        (dict(providers=["No", "CPUExecutionProvider", "None"]), "has no No, None here, it has"),
        (dict(providers="CPUExecutionProvider"), "must be a list, such as .'CPUExecutionProv"),
    ):
        with pytest.raises(ValueError, match=message):
            opened(options)


@pytest.mark.parametrize("options", [None, {"device_id": "1"}])
def test_providers_are_handed_over_in_their_order(opened, monkeypatch, options):
    names, given = ("CUDAExecutionProvider", "CPUExecutionProvider"), []
    wanted = names if options is None else ((names[0], options), names[1])
    session = onnxruntime.InferenceSession

    def open_session(path, options, providers):
        given.append(providers)
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(names[::-1]))
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    monkeypatch.setattr(session, "get_providers", lambda self: list(names))
    opened(dict(providers=wanted))
    assert given == [list(wanted)]


def test_options_of_the_processor_s_provider_change_nothing_else(opened):
    plain, given = opened(), opened(dict(providers=[("CPUExecutionProvider", {})]))
    assert given._threads == plain._threads
    found, expected = (pose(picture(PLACES), [[0, 0, 48, 64]]) for pose in (given, plain))
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)


@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", ("CUDAExecutionProvider", {})])
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_an_error(opened, monkeypatch, provider):
    """ONNX Runtime would go on with the processor, and say so on the console alone."""
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(ValueError, match="could not start CUDAExecutionProvider with"):
        opened(dict(providers=[provider, "CPUExecutionProvider"]))


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.onnx is no file"):
        OnnxPose(tmp_path / "absent.onnx")
    with pytest.raises(FileNotFoundError, match="is no file"):
        OnnxPose(tmp_path)
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ValueError, match="text.onnx cannot be loaded by ONNX Runtime"):
        OnnxPose(str(tmp_path / "text.onnx"))
    bare = save(tmp_path / "bare.onnx", metadata={})
    with pytest.raises(ValueError, match="bare.onnx says nothing of boxes and keypoints"):
        OnnxPose(bare)
    newer = json.dumps(dict(json.loads(SPEC.to_json()), format=3))
    save(tmp_path / "newer.onnx", metadata={METADATA_KEY: newer})
    with pytest.raises(ValueError, match="newer.onnx: its metadata are of format 3"):
        OnnxPose(tmp_path / "newer.onnx")


OLD = dict(
    format=1,
    input_size=[48, 64],
    padding=1.0,
    use_udp=False,
    mean=[],
    std=[],
    bgr_to_rgb=False,
    codec=dict(type="MSRAHeatmap", unbiased=False, blur_kernel_size=11),
    output="keypoints",
    flip_test=True,
    flip_test_in_graph=False,
    shift_heatmap=False,
    flip_indices=[0, 2, 1],
    keypoint_names=["nose", "left_eye", "right_eye"],
    skeleton=[[0, 1], [1, 2]],
    dataset="colours",
    outside=1.0,
)


def test_files_of_the_first_version_that_decode_by_themselves_run(tmp_path):
    path = save(tmp_path / "old.onnx", metadata={METADATA_KEY: json.dumps(OLD)})
    pose = OnnxPose(path)
    np.testing.assert_allclose(pose(picture(PLACES), WHOLE).keypoints, [PLACES], atol=1e-4)
    assert not pose.spec.flip_test and pose.spec.input_layout == "NHWC"
    assert pose.spec.keypoint_colors == (MIDDLE, LEFT, RIGHT)
    assert pose.spec.skeleton_colors == (LEFT, MIDDLE)
    for change in (dict(output="heatmaps"), dict(outside=0.5)):
        metadata = {METADATA_KEY: json.dumps(dict(OLD, **change))}
        with pytest.raises(ValueError, match="exported by sgpose 0.1.* export the model anew"):
            OnnxPose(save(tmp_path / "old.onnx", metadata=metadata))


def test_what_a_file_says_is_read_as_it_was_written():
    spec = dataclasses.replace(SPEC, skeleton=((0, 2),))
    content = json.loads(spec.to_json())
    assert content["format"] == 2 and content["skeleton"] == [[0, 2]]
    assert content["input_size"] == [48, 64] and content["dataset"] == "colours"
    read = PoseSpec.from_json(spec.to_json())
    assert read == spec and hash(read.skeleton) == hash(((0, 2),))
    assert isinstance(read.codec, dict) and read.keypoint_names == ("blue", "green", "red")
    for other in (3, None, "2"):
        with pytest.raises(ValueError, match=f"of format {other}, this sgpose reads format 2"):
            PoseSpec.from_json(json.dumps(dict(content, format=other)))
    del content["padding"]
    with pytest.raises(ValueError, match="do not fit format 2 .*padding"):
        PoseSpec.from_json(json.dumps(content))
    assert read.title == "colours, 48x64: 3 points of colours"
