# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The runtime with networks that are made by hand, whose answers are known."""

import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sgpose.deploy import GuidedPoses, OnnxPose, Poses
from sgpose.deploy.pose_spec import METADATA_KEY, PoseSpec

#: Three keypoints: blue, green and red. Each is where the picture has most of its colour; green is
#: the left and red the right one. A crop of 48x64 pixels has heatmaps of 12x16 cells.
SPEC = PoseSpec(
    input_size=(48, 64),
    padding=1.0,
    use_udp=False,
    mean=(),
    std=(),
    bgr_to_rgb=False,
    codec=dict(type="MSRAHeatmap", unbiased=False, blur_kernel_size=11),
    output="heatmaps",
    flip_test=False,
    flip_test_in_graph=False,
    shift_heatmap=False,
    flip_indices=(0, 2, 1),
    keypoint_names=("blue", "green", "red"),
    skeleton=((0, 1), (0, 2)),
    dataset="colours",
)
BLOCK, LIGHT = 4, 200
WHOLE = np.array([[0, 0, 48, 64]])


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


PLANES = [
    node("Cast", "crops", "floats", to=TensorProto.FLOAT),
    node("Transpose", "floats", "planes", perm=[0, 3, 1, 2]),
]
HEATMAPS = node("AveragePool", "planes", "heatmaps", kernel_shape=[4, 4], strides=[4, 4])
# of one guide: how light it is
MAPS = node("ReduceMean", "heatmaps", "guide_maps", axes=[1])
SIMCC = [
    node("ReduceMax", "planes", "simcc_x", axes=[2], keepdims=0),
    node("ReduceMax", "planes", "simcc_y", axes=[3], keepdims=0),
]
SHAPES = dict(
    heatmaps=[3, 16, 12],
    guide_maps=[1, 16, 12],
    simcc_x=[3, 48],
    simcc_y=[3, 64],
    keypoints=[3, 2],
    scores=[3],
)


def save(path, nodes, outputs, spec=SPEC):
    """Write a network; ``n`` persons, as the export tool's files."""
    graph = helper.make_graph(
        [*PLANES, *nodes],
        "colours",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", 64, 48, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *SHAPES[name]])
            for name in outputs
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if spec is not None:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, path)
    return path


@pytest.fixture
def heatmaps(tmp_path):
    """Return a function that opens the network with heatmaps, with fields of SPEC changed."""

    def opened(guides=False, options=None, **changes):
        nodes = [HEATMAPS, MAPS] if guides else [HEATMAPS]
        names = ["heatmaps", "guide_maps"][: len(nodes)]
        path = save(tmp_path / "model.onnx", nodes, names, dataclasses.replace(SPEC, **changes))
        return OnnxPose(path, **(options or {}))

    return opened


def picture(cells, size=(48, 64), light=(LIGHT,) * 3):
    """Draw one block of each colour, at (column, row) of the cells of 4x4 pixels."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for colour, (column, row) in enumerate(cells):
        x, y = BLOCK * column, BLOCK * row
        image[y : y + BLOCK, x : x + BLOCK, colour] = light[colour]
    return image


CELLS = [(3, 5), (8, 2), (6, 14)]
PLACES = BLOCK * np.array(CELLS, float)
#: As CELLS seen in a mirror: column 11 - c of 12, and left is right.
MIRRORED = [(8, 5), (5, 14), (3, 2)]


def test_keypoints_are_where_the_colours_are(heatmaps):
    pose = heatmaps()
    assert pose.spec == SPEC and not pose.flip_test
    poses = pose(picture(CELLS), WHOLE)
    assert type(poses) is Poses
    np.testing.assert_allclose(poses.keypoints, [PLACES], atol=1e-4)
    np.testing.assert_allclose(poses.scores, [[LIGHT] * 3])


def test_boxes_of_several_pictures_keep_their_places(heatmaps):
    pose = heatmaps()
    large = np.zeros((128, 96, 3), np.uint8)
    large[64:, 48:] = picture(CELLS)
    small = picture(MIRRORED)
    boxes = [[[48, 64, 96, 128], [0, 0, 96, 128]], [], WHOLE]
    first, none, last = pose([large, small, small], boxes)
    np.testing.assert_allclose(first.keypoints[0], PLACES + [48, 64], atol=1e-4)
    # at half the size each block is a quarter of a cell's neighbourhood: within a cell of 8 pixels
    assert np.abs(first.keypoints[1] - PLACES - [48, 64]).max() <= 8
    assert none.keypoints.shape == (0, 3, 2) and none.scores.shape == (0, 3)
    assert none.scores.dtype == np.float32
    np.testing.assert_allclose(last.keypoints, [BLOCK * np.array(MIRRORED)], atol=1e-4)
    (whole,) = pose([small])
    np.testing.assert_array_equal(whole.keypoints, pose(small).keypoints)
    assert pose([]) == [] and pose((), ()) == []
    with pytest.raises(ValueError, match="list of 2 images needs a list .* got 1"):
        pose([small, small], [WHOLE])
    assert isinstance(pose((small,)), list), "a tuple of images is as a list"


@pytest.mark.parametrize("shift", [False, True])
def test_the_flip_test_averages_left_and_right(heatmaps, shift):
    """Mirrored, the colours stay: green is found as red. The brighter one decides."""
    image = picture(CELLS, light=(100, 200, 60))
    pose = heatmaps(options=dict(flip_test=True), shift_heatmap=shift)
    assert pose.flip_test and not heatmaps(flip_test=True, options=dict(flip_test=False)).flip_test
    assert heatmaps(flip_test=True).flip_test
    keypoints, scores = pose(image, WHOLE)
    # blue (100) with itself, beside it where shifted; else green's half wins over red's, twice
    np.testing.assert_allclose(scores, [[50.0 if shift else 100.0, 100.0, 100.0]])
    expected = PLACES[[0, 1, 1]] + shift * np.array([[1, 0], [0, 0], [4, 0]])
    np.testing.assert_allclose(keypoints, [expected], atol=1e-4)


def test_maps_and_crops_of_the_guides(heatmaps):
    pose = heatmaps(guides=True, padding=1.25)
    box = np.array([[10, 20, 34, 52]])  # 24x32, with room 30x40 around (22, 36)
    image = picture(CELLS)
    poses = pose(image, box, guide_maps=True)
    assert type(poses) is GuidedPoses
    np.testing.assert_allclose(poses.crops, [[7, 16, 37, 56]])
    assert type(pose(image, box)) is Poses
    np.testing.assert_array_equal(pose(image, box).keypoints, poses.keypoints)
    whole = heatmaps(guides=True)
    maps = whole(image, WHOLE, guide_maps=True).guide_maps
    expected = np.zeros((1, 1, 16, 12))
    for column, row in CELLS:
        expected[0, 0, row, column] = LIGHT / 3
    np.testing.assert_allclose(maps, expected, rtol=1e-6)
    mirrored = heatmaps(guides=True, options=dict(flip_test=True), shift_heatmap=True)
    moved = np.roll(expected, 1, axis=-1)
    found = mirrored(image, WHOLE, guide_maps=True).guide_maps
    np.testing.assert_allclose(found, (expected + moved) / 2, rtol=1e-6)
    (listed,) = whole([image], [WHOLE], guide_maps=True)
    np.testing.assert_array_equal(listed.guide_maps, maps)
    assert type(whole([image])[0]) is Poses
    empty = whole(image, [], guide_maps=True)
    assert empty.scores.dtype == maps.dtype == np.float32
    shapes = [(0, 3, 2), (0, 3), (0, 1, 16, 12), (0, 4)]
    assert [value.shape for value in empty] == shapes
    with pytest.raises(ValueError, match="no guides' maps: export it with --guide-maps"):
        heatmaps()(image, WHOLE, guide_maps=True)


class Counting:
    """A session that keeps how many crops it was given at a time."""

    def __init__(self, session):
        self.session, self.seen = session, []

    def run(self, names, inputs):
        self.seen.append(len(inputs["crops"]))
        assert names == ["heatmaps"], "maps that nobody asked for cost time"
        return self.session.run(names, inputs)


FIVE_BOXES = np.concatenate([WHOLE + [dx, 0, dx, 0] for dx in (0, 4, 8, -4, -8)])


@pytest.mark.parametrize(
    ("max_batch", "flip_test", "sizes"),
    [(8, False, [5]), (2, False, [2, 2, 1]), (1, False, [1] * 5), (4, True, [4, 4, 2])]
    + [(1, True, [2] * 5), (9, True, [8, 2])],
)
def test_the_network_never_sees_more_than_max_batch(heatmaps, max_batch, flip_test, sizes):
    options = dict(max_batch=max_batch, flip_test=flip_test, threads=1)
    pose = heatmaps(guides=True, options=options)
    pose._session = Counting(pose._session)
    keypoints, _ = pose(picture([(5, 5)] * 3), FIVE_BOXES)
    assert pose._session.seen == sizes
    np.testing.assert_allclose(keypoints, np.full((5, 3, 2), 20.0), atol=1e-4)


@pytest.mark.parametrize(("max_batch", "sizes"), [(8, [2, 3]), (2, [1, 2, 2])])
def test_persons_are_shared_out_among_the_threads(heatmaps, max_batch, sizes):
    pose = heatmaps(options=dict(max_batch=max_batch, threads=2))
    every, one = Counting(pose._session), Counting(pose._session_of_one_thread)
    pose._session, pose._session_of_one_thread = every, one
    assert one.session.get_session_options().intra_op_num_threads == 1
    keypoints, _ = pose(picture([(5, 5)] * 3), FIVE_BOXES)
    assert sorted(one.seen) == sizes and every.seen == []
    np.testing.assert_allclose(keypoints, np.full((5, 3, 2), 20.0), atol=1e-4)
    pose(picture([(5, 5)] * 3), WHOLE)
    assert every.seen == [1], "one person's network runs on all threads"


def test_eight_crops_at_once_by_default(heatmaps):
    assert (heatmaps()._persons_at_once, heatmaps(flip_test=True)._persons_at_once) == (8, 4)


@pytest.mark.parametrize("flip_test", [False, True])
def test_simcc_is_decoded_and_mirrored(tmp_path, flip_test):
    codec = dict(type="SimCCLabel", split_ratio=1.0)
    spec = dataclasses.replace(SPEC, output="simcc", codec=codec, shift_heatmap=True)
    path = save(tmp_path / "simcc.onnx", SIMCC, ["simcc_x", "simcc_y"], spec)
    image = np.zeros((64, 48, 3), np.uint8)
    for colour, ((x, y), light) in enumerate(zip([(9, 50), (30, 20), (40, 7)], (90, 200, 60))):
        image[y, x, colour] = light
    keypoints, scores = OnnxPose(path, flip_test=flip_test)(image, WHOLE)
    if flip_test:  # left and right: the brighter one, at half of its light
        expected, light = [(9, 50), (30, 20), (30, 20)], [90, 100, 100]
    else:
        expected, light = [(9, 50), (30, 20), (40, 7)], [90, 200, 60]
    np.testing.assert_allclose(keypoints, [expected], atol=1e-4)
    np.testing.assert_allclose(scores, [light])


def test_a_graph_that_flips_by_itself_is_left_alone(heatmaps):
    image = picture(CELLS)
    pose = heatmaps(flip_test_in_graph=True)
    assert pose.flip_test
    np.testing.assert_allclose(pose(image, WHOLE).keypoints, [PLACES], atol=1e-4)
    np.testing.assert_allclose(pose(image, WHOLE).scores, [[LIGHT] * 3])
    assert heatmaps(flip_test_in_graph=True, options=dict(flip_test=True)).flip_test
    with pytest.raises(ValueError, match="part of the graph: export without --flip-test"):
        heatmaps(flip_test_in_graph=True, options=dict(flip_test=False))


def test_keypoints_of_the_graph_are_mapped_to_the_picture(tmp_path):
    """The graph says that each keypoint lies at (12, 32) of the crop, with score 0.5."""
    nodes = [
        node("ReduceMean", "planes", "means", axes=[2, 3], keepdims=0),
        node("Constant", "", "nothing", value_float=0.0),
        node("Mul", "means nothing", "zeros"),
        node("Constant", "", "half", value_float=0.5),
        node("Add", "zeros half", "scores"),
        node("Constant", "", "place", value_floats=[12.0, 32.0]),
        node("Constant", "", "last", value_ints=[2]),
        node("Unsqueeze", "zeros last", "column"),
        node("Add", "column place", "keypoints"),
    ]
    spec = dataclasses.replace(SPEC, output="keypoints", flip_test=True)
    path = save(tmp_path / "decoded.onnx", nodes, ["keypoints", "scores"], spec)
    pose = OnnxPose(path)
    assert not pose.flip_test and not OnnxPose(path, flip_test=False).flip_test
    keypoints, scores = pose(picture(CELLS), [[10, 10, 34, 42], [0, 0, 48, 64]])
    expected = np.repeat([[[16.0, 26.0]], [[12.0, 32.0]]], 3, axis=1)
    np.testing.assert_allclose(keypoints, expected, atol=1e-4)
    np.testing.assert_array_equal(scores, np.full((2, 3), 0.5))
    with pytest.raises(ValueError, match="cannot be averaged .* export heatmaps"):
        OnnxPose(path, flip_test=True)


def test_options_are_those_of_the_session(heatmaps):
    for threads in (1, 2):
        session = heatmaps(options=dict(threads=threads))._session
        assert session.get_session_options().intra_op_num_threads == threads
    assert heatmaps()._session.get_session_options().intra_op_num_threads == 0
    assert heatmaps()._session.get_providers() == ["CPUExecutionProvider"]
    assert heatmaps(options=dict(providers=("CPUExecutionProvider",)))
    for options, message in (
        (dict(threads=0), "threads must be 1 or more, got 0"),
        (dict(max_batch=0), "max_batch must be 1 or more, got 0"),
        (dict(providers=["No", "CPUExecutionProvider", "None"]), "has no No, None here, it has"),
    ):
        with pytest.raises(ValueError, match=message):
            heatmaps(options=options)


@pytest.mark.parametrize("options", [None, {"device_id": "1"}])
def test_providers_are_handed_over_in_their_order(heatmaps, monkeypatch, options):
    names, given = ("CUDAExecutionProvider", "CPUExecutionProvider"), []
    wanted = names if options is None else ((names[0], options), names[1])
    session = onnxruntime.InferenceSession

    def opened(path, options, providers):
        given.append(providers)
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(names[::-1]))
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    monkeypatch.setattr(session, "get_providers", lambda self: list(names))
    heatmaps(options=dict(providers=wanted))
    assert given == [list(wanted)]


def test_options_of_the_processor_s_provider_change_nothing_else(heatmaps):
    plain, given = heatmaps(), heatmaps(options=dict(providers=[("CPUExecutionProvider", {})]))
    assert given._threads == plain._threads
    found, expected = (pose(picture(CELLS), [[0, 0, 48, 64]]) for pose in (given, plain))
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)


@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", ("CUDAExecutionProvider", {})])
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_an_error(heatmaps, monkeypatch, provider):
    """ONNX Runtime would go on with the processor, and say so on the console alone."""
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(ValueError, match="could not start CUDAExecutionProvider with"):
        heatmaps(options=dict(providers=[provider, "CPUExecutionProvider"]))


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.onnx is no file"):
        OnnxPose(tmp_path / "absent.onnx")
    with pytest.raises(FileNotFoundError, match="is no file"):
        OnnxPose(tmp_path)
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ValueError, match="text.onnx cannot be loaded by ONNX Runtime"):
        OnnxPose(str(tmp_path / "text.onnx"))
    bare = save(tmp_path / "bare.onnx", [HEATMAPS], ["heatmaps"], None)
    with pytest.raises(ValueError, match="bare.onnx says nothing of boxes and keypoints"):
        OnnxPose(bare)
    graph = onnx.load(bare)
    newer = dict(json.loads(SPEC.to_json()), format=2)
    helper.set_model_props(graph, {METADATA_KEY: json.dumps(newer)})
    onnx.save(graph, tmp_path / "newer.onnx")
    with pytest.raises(ValueError, match="newer.onnx: its metadata are of format 2"):
        OnnxPose(tmp_path / "newer.onnx")


def test_what_a_file_says_is_read_as_it_was_written():
    spec = dataclasses.replace(SPEC, mean=(1.5, 2.0, 3.0), std=(4.0, 5.0, 6.0), skeleton=((0, 2),))
    content = json.loads(spec.to_json())
    assert content["format"] == 1 and content["skeleton"] == [[0, 2]]
    assert content["input_size"] == [48, 64] and content["dataset"] == "colours"
    read = PoseSpec.from_json(spec.to_json())
    assert read == spec and hash(read.skeleton) == hash(((0, 2),))
    assert isinstance(read.codec, dict) and read.keypoint_names == ("blue", "green", "red")
    for other in (2, None, "1"):
        with pytest.raises(ValueError, match=f"of format {other}, this sgpose reads format 1"):
            PoseSpec.from_json(json.dumps(dict(content, format=other)))
    del content["format"]
    with pytest.raises(ValueError, match="of format None"):
        PoseSpec.from_json(json.dumps(content))
