# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import io
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("PIL")
from PIL import Image, ImageFile  # noqa: E402

from sgpose.page.image_gate import ImageRefused, Limits, decode_image  # noqa: E402

ORIENTATION = 0x0112  # of EXIF
# Red and green above, blue and white below; RGB.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
PICTURE = CORNERS.repeat(16, axis=0).repeat(24, axis=1)  # 32 high, 48 wide
# EXIF orientation -> what must be done to the stored rows to see the picture upright.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x[::-1], 1),
    8: lambda x: np.rot90(x, 1),
}


def encode(image, file_format="PNG", **options) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A PNG whose header states a size and whose pixels are missing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.fixture
def no_decoding(monkeypatch):
    def load(self):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


def test_a_png_is_what_opencv_reads():
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    data = encode(noise)
    image = decode_image(data, Limits())
    np.testing.assert_array_equal(image, noise[:, :, ::-1])
    np.testing.assert_array_equal(image, cv2.imdecode(np.frombuffer(data, np.uint8), 1))
    assert image.dtype == np.uint8 and image.flags.c_contiguous


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_kind_of_8_bits_becomes_three_channels(mode):
    file_format = "JPEG" if mode == "CMYK" else "PNG"
    image = decode_image(encode(Image.new(mode, (5, 4)), file_format), Limits())
    assert image.shape == (4, 5, 3)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_pictures_are_turned_upright(orientation, file_format):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(PICTURE, file_format, exif=exif)
    expected = UPRIGHT[orientation](PICTURE)[:, :, ::-1].astype(int)
    image = decode_image(data, Limits())
    assert image.shape == expected.shape
    # away from the borders between the colours, where JPEG is not exact
    assert np.abs(image.astype(int) - expected)[4::8, 4::8].max() < 12


def test_the_size_of_the_file_is_limited(no_decoding):
    data = encode(PICTURE)
    with pytest.raises(ImageRefused, match="larger than .* MiB"):
        decode_image(data, Limits(num_bytes=len(data) - 1))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_the_number_of_pixels_is_limited_before_any_is_decoded(file_format, no_decoding):
    data = encode(PICTURE, file_format)
    with pytest.raises(ImageRefused, match="48x32.*pixels"):
        decode_image(data, Limits(num_pixels=32 * 48 - 1))


@pytest.mark.parametrize("size", [(10_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_a_small_file_that_states_a_huge_picture_is_refused(size, no_decoding):
    data = png_that_says(*size)
    assert len(data) < 100
    with pytest.raises(ImageRefused, match="pixels|not a JPEG or PNG"):
        decode_image(data, Limits())


def test_pictures_at_the_limits_pass():
    data = encode(PICTURE)
    assert decode_image(data, Limits(len(data), 32 * 48)).shape == PICTURE.shape


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("picture.png", encode(PICTURE))
    return file.getvalue()


def animated(file_format: str) -> bytes:
    frames = [Image.fromarray(PICTURE), Image.fromarray(PICTURE[::-1].copy())]
    return encode(frames[0], file_format, save_all=True, append_images=frames[1:])


NO_PICTURES = {
    "nothing": b"",
    "text": b"not a picture",
    "zip": zipped(),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "gif": encode(PICTURE, "GIF"),
    "animated gif": animated("GIF"),
    "tiff": encode(PICTURE, "TIFF"),
}


@pytest.mark.parametrize("data", NO_PICTURES.values(), ids=NO_PICTURES)
def test_other_files_are_refused(data):
    with pytest.raises(ImageRefused, match="not a JPEG or PNG"):
        decode_image(data, Limits())


def test_an_animated_png_is_refused():
    with pytest.raises(ImageRefused, match="animated"):
        decode_image(animated("PNG"), Limits())


def test_sixteen_bits_are_refused_since_pillow_would_clip_them():
    data = encode(np.full((4, 4), 40_000, np.uint16))
    with pytest.raises(ImageRefused, match="8 bits"):
        decode_image(data, Limits())


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_files_that_are_cut_short_are_refused(file_format, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, file_format)
    with pytest.raises(ImageRefused, match="broken or cut short"):
        decode_image(data[: int(kept * len(data))], Limits())


@given(
    file_format=st.sampled_from(["JPEG", "PNG"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
def test_broken_files_give_a_picture_or_a_refusal(file_format, changes):
    data = bytearray(encode(PICTURE, file_format))
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        image = decode_image(bytes(data), Limits(num_pixels=10**6))
    except ImageRefused:
        return
    assert image.ndim == 3 and image.shape[2] == 3 and image.shape[0] * image.shape[1] <= 10**6
