# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Decides from its header whether an uploaded file may be decoded, and decodes it."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

# Both state their size before any pixel is decoded. Pillow's WebP reader allocates the whole
# picture when it opens a file, before its size could be looked at.
FORMATS = ("JPEG", "PNG")
# 8 bits per channel and nothing that Pillow would clip on the way to RGB (16-bit grey, floats).
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


class ImageRefused(ValueError):
    """The file is not an image that the page takes; the message says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What an upload may hold at most.

    Attributes:
        num_bytes: Size of the file.
        num_pixels: Width times height, as the file's header states them.
    """

    num_bytes: int = 20 * 2**20
    num_pixels: int = 50_000_000

    def check_bytes(self, num_bytes: int) -> None:
        """Raise `ImageRefused` if a file is larger than allowed."""
        if num_bytes > self.num_bytes:
            raise ImageRefused(
                f"the file is larger than {self.num_bytes / 2**20:g} MiB: send a smaller picture"
            )

    def check_pixels(self, width: int, height: int) -> None:
        """Raise `ImageRefused` if a picture is larger than allowed."""
        if width * height > self.num_pixels:
            raise ImageRefused(
                f"the picture is {width}x{height}, more than {self.num_pixels / 1e6:g} million "
                "pixels: send a smaller one"
            )


def decode_image(data: bytes, limits: Limits) -> np.ndarray:
    """Decode a JPEG or PNG file, upright.

    The limits are checked before any pixel is decoded, so that a small file that unpacks to a
    huge picture costs nothing. Transparency is dropped, as OpenCV does.

    Args:
        data: The file's content.
        limits: What it may hold at most.

    Returns:
        (H, W, 3) uint8 in OpenCV's order of channels (BGR), turned as its EXIF orientation says.

    Raises:
        ImageRefused: If it is no JPEG or PNG, animated, of more than 8 bits per channel, larger
            than the limits, broken or cut short.
    """
    limits.check_bytes(len(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # check_pixels decides
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageRefused(f"{error}: send a smaller picture") from error
    except Exception as error:  # of many kinds, where a header is broken
        raise ImageRefused("the file is not a JPEG or PNG picture") from error
    with image:
        limits.check_pixels(*image.size)
        if image.format == "PNG" and getattr(image, "is_animated", False):
            raise ImageRefused("the picture is animated: send a single picture")
        if image.mode not in MODES:
            raise ImageRefused(
                f"the picture has more than 8 bits per channel (mode {image.mode}): save it with 8"
            )
        try:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        except Exception as error:  # of many kinds, where a file is broken
            raise ImageRefused(f"the picture is broken or cut short ({error})") from error
    return np.ascontiguousarray(np.asarray(upright)[:, :, ::-1])
