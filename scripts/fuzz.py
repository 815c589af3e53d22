# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Feed inputs of any kind to what takes them from outside: a reason to refuse, or a sound answer.

    python scripts/fuzz.py --seconds 120
    python scripts/fuzz.py --examples 5000 codec page

Prints for each target how many inputs were tried and how many of them were answered. Ends with the
smallest input that was found where one is neither refused nor answered soundly. The target ``onnx``
needs onnx and onnxruntime, ``page`` needs Pillow.
"""

from __future__ import annotations

import argparse
import io
import struct
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

BATCH = 500
DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8, bool, complex, object]
SIZE = (12, 16)
CODEC = dict(type="MSRAHeatmap", input_size=(48, 64), heatmap_size=SIZE, sigma=1)
CODECS = [CODEC, dict(CODEC, unbiased=True), dict(CODEC, type="UDPHeatmap")]


def anything(shapes) -> st.SearchStrategy[np.ndarray]:
    """Arrays of any kind of number, of objects and of text."""
    numbers = st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays(
            dtype, shapes, elements=st.none() | st.floats() if dtype is object else None
        )
    )
    return numbers | arrays("U3", shapes)


def coordinates(shapes, low: float = -100, high: float = 200) -> st.SearchStrategy[np.ndarray]:
    """Arrays of numbers most of which lie about the picture."""
    usual = st.floats(low, high)
    rare = st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 3e38, -3e38, 0.0, -0.0, 1e-40])
    doubles = arrays(np.float64, shapes, elements=usual)
    doubles = doubles | doubles | arrays(np.float64, shapes, elements=usual | rare)
    return doubles | doubles.map(lambda array: array.astype(np.float32))


def check_codec(data) -> bool:
    """``SegmentationTarget.encode`` returns a mask of zeros and ones and finite targets."""
    encoder = data.draw(st.sampled_from(encoders()))
    persons = st.just(1) if data.draw(st.booleans()) else st.integers(0, 3)
    shape = st.tuples(persons, st.integers(0, 5), st.sampled_from([2, 2, 2, 3, 1]))
    usual = coordinates(shape)
    keypoints = data.draw(usual | usual | anything(array_shapes(min_dims=0, max_dims=4)))
    fitting = arrays(np.float32, keypoints.shape[:-1], elements=st.sampled_from([0, 0, 1, 2]))
    nearly = coordinates(st.just(keypoints.shape[:-1]), -1, 2)
    other = anything(array_shapes(min_dims=0, max_dims=3))
    visible = data.draw(st.none() | fitting | fitting | nearly | other)
    try:
        encoded = encoder.encode(keypoints, visible)
    except (ValueError, AssertionError) as error:
        return refused(error)
    mask = encoded["segmentation"]
    assert mask.shape == (1, *SIZE[::-1]) and mask.dtype == np.float32
    assert np.isin(mask, (0, 1)).all()
    assert np.isfinite(encoded["heatmaps"]).all()
    assert np.isfinite(encoded["keypoint_weights"].astype(float)).all()
    return True


@lru_cache
def encoders() -> tuple:
    from mmengine.registry import init_default_scope
    from mmpose.registry import KEYPOINT_CODECS

    import sgpose  # noqa: F401

    init_default_scope("mmpose")
    build = dict(type="SegmentationTarget", radius=2.0)
    return tuple(KEYPOINT_CODECS.build(dict(build, codec=codec)) for codec in CODECS)


def check_onnx(data) -> bool:
    """``OnnxPose`` returns one finite pose for each box."""
    pose = data.draw(st.sampled_from(sessions()))
    sides = st.integers(1, 60)
    picture = st.builds(noise, sides, sides)
    image = data.draw(picture | picture | anything(array_shapes(min_dims=0, max_dims=4)))
    boxes = coordinates(st.tuples(st.integers(0, 3), st.just(4)))
    boxes = data.draw(st.none() | boxes | boxes | anything(array_shapes(min_dims=0, max_dims=3)))
    try:
        poses = pose(image, boxes)
    except ValueError as error:
        return refused(error)
    count = 1 if boxes is None else len(boxes)
    assert poses.keypoints.shape == (count, 3, 2) and poses.scores.shape == (count, 3)
    assert np.isfinite(poses.keypoints).all() and np.isfinite(poses.scores).all()
    return True


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@lru_cache
def sessions() -> tuple:
    """Return the runtime of a network of one convolution, with each way to decode heatmaps."""
    from sgpose.deploy import OnnxPose

    codecs = (
        dict(type="MSRAHeatmap", unbiased=False, blur_kernel_size=11),
        dict(type="MSRAHeatmap", unbiased=True, blur_kernel_size=11),
        dict(type="UDPHeatmap", blur_kernel_size=11),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        found = []
        for codec in codecs:
            path.write_bytes(network(codec))
            found.append(OnnxPose(path, threads=1))
    return tuple(found)


def network(codec: dict) -> bytes:
    """Return an ONNX file that turns crops of 48x64 pixels into three heatmaps and decodes them."""
    import onnx
    import torch

    from sgpose.deploy.decoders import Decoder
    from sgpose.deploy.pose_spec import METADATA_KEY, PoseSpec

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 4, stride=4)
            torch.nn.init.normal_(self.conv.weight, std=1e-3)
            torch.nn.init.constant_(self.conv.bias, 0.1)  # no trained network's maps are all 0
            self.decoder = Decoder(codec, (48, 64))

        def forward(self, crops):
            return self.decoder(self.conv(crops.permute(0, 3, 1, 2).float()))

    names = ("keypoints", "scores")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Network(),
            torch.zeros(2, 64, 48, 3, dtype=torch.uint8),
            buffer,
            input_names=["crops"],
            output_names=list(names),
            dynamic_axes={name: {0: "n"} for name in ("crops", *names)},
            opset_version=17,
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    for value, sizes in zip(model.graph.output, ((3, 2), (3,))):
        for axis, size in zip(value.type.tensor_type.shape.dim[1:], sizes):
            axis.dim_value = size
    spec = PoseSpec(
        network="one convolution",
        dataset="fuzz",
        input_size=(48, 64),
        input_layout="NHWC",
        padding=1.25,
        use_udp=codec["type"] == "UDPHeatmap",
        codec=codec,
        outputs=names,
        flip_test=False,
        flip_indices=(0, 2, 1),
        keypoint_names=("a", "b", "c"),
        keypoint_colors=((0, 0, 0),) * 3,
        skeleton=(),
        skeleton_colors=(),
    )
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    return model.SerializeToString()


def check_page(data) -> bool:
    """The upload gate returns a picture within its limits."""
    from sgpose.page.image_gate import ImageRefused, Limits, decode_image

    limits = Limits(num_bytes=20_000, num_pixels=100_000)
    content = data.draw(st.binary(max_size=200) | changed(data) | changed(data))
    try:
        image = decode_image(content, limits)
    except ImageRefused as error:
        return refused(error)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert image.flags.c_contiguous and 0 < image.shape[0] * image.shape[1] <= limits.num_pixels
    assert len(content) <= limits.num_bytes
    return True


def changed(data) -> st.SearchStrategy[bytes]:
    """Picture files with bytes changed, left out, repeated and put in."""
    content = st.sampled_from(pictures())
    place = st.floats(0, 1, exclude_max=True)
    change = st.tuples(st.sampled_from(["set", "cut", "repeat", "insert"]), place, st.binary())

    def apply(drawn) -> bytes:
        content, changes, correct = drawn
        content = bytearray(content)
        for kind, place, new in changes:
            at = int(place * len(content))
            if kind == "set":
                content[at : at + len(new)] = new
            elif kind == "cut":
                del content[at : at + 1 + len(new) ** 2]
            else:
                content[at:at] = new if kind == "insert" else content[at : at + 100]
            content = content or bytearray(1)
        return with_checksums(bytes(content)) if correct else bytes(content)

    return st.tuples(content, st.lists(change, max_size=6), st.booleans()).map(apply)


def with_checksums(content: bytes) -> bytes:
    """Correct the checksums of a PNG's chunks, so that readers look at what is in them."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    parts, at = [content[:8]], 8
    while at + 12 <= len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        if at + 12 + size > len(content):
            break
        chunk = content[at + 4 : at + 8 + size]
        parts.append(content[at : at + 4] + chunk + struct.pack(">I", zlib.crc32(chunk)))
        at += 12 + size
    return b"".join(parts) + content[at:]


@lru_cache
def pictures() -> tuple[bytes, ...]:
    """Return small files in the formats that the page takes, and in some that it does not."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (24, 16, 4), dtype=np.uint8)
    files = []
    for mode, file_format, options in (
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("L", "PNG", {}),
        ("RGB", "JPEG", {}),
        ("RGB", "JPEG", dict(progressive=True)),
        ("CMYK", "JPEG", {}),
        ("RGB", "GIF", {}),
        ("RGB", "WEBP", {}),
        ("RGB", "TIFF", {}),
        ("RGB", "BMP", {}),
    ):
        exif = Image.Exif()
        exif[0x0112] = 6
        options = dict(options, exif=exif) if file_format in ("PNG", "JPEG") else options
        file = io.BytesIO()
        Image.fromarray(noise).convert("RGB").convert(mode).save(file, file_format, **options)
        files.append(file.getvalue())
    return tuple(files)


def refused(error: Exception) -> bool:
    """Refusals say why."""
    assert len(str(error)) > 10, f"{type(error).__name__} without a reason: {error}"
    return False


TARGETS: dict[str, Callable] = dict(codec=check_codec, onnx=check_onnx, page=check_page)


def fuzz(name: str, seconds: float | None = None, examples: int | None = None) -> tuple[int, int]:
    """Try one target.

    Args:
        name: One of ``TARGETS``.
        seconds: Begin no other batch of inputs after this time.
        examples: Number of inputs, if no time is given.

    Returns:
        How many inputs were tried, and how many of them were answered and not refused.
    """
    tried = answered = 0
    end = None if seconds is None else time.monotonic() + seconds
    batch = 0
    while tried < examples if end is None else time.monotonic() < end:
        most = BATCH if end is not None else min(BATCH, examples - tried)

        @seed(batch)
        @settings(
            max_examples=most,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def run(data):
            nonlocal tried, answered
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sound = TARGETS[name](data)
            tried += 1
            answered += sound

        run()
        batch += 1
    return tried, answered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="target", help="all by default")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, help="for each target")
    length.add_argument("--examples", type=int, help="for each target")
    args = parser.parse_args()
    for name in args.targets or TARGETS:
        tried, answered = fuzz(name, args.seconds, args.examples)
        print(f"{name}: {tried} inputs, {answered} answered, {tried - answered} refused")


if __name__ == "__main__":
    main()
