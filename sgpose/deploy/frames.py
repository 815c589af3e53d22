# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Pictures out of files, folders, patterns, videos and a webcam."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .crops import read_image

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Source:
    """A picture, a video or a webcam.

    Args:
        name: Name of what is written about it, such as ``a.jpg``.
        path: Path of the file, or number of the webcam.
        moves: Whether it has more than one frame.
    """

    name: str
    path: str | int
    moves: bool


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """Find what the inputs name.

    Args:
        inputs: Files, folders (their pictures), patterns such as ``'a/*.jpg'``, or a number for a
            webcam.

    Raises:
        FileNotFoundError: If an input names nothing.
        ValueError: If two have the same name: their results would be one file.
    """
    sources = []
    for text in inputs:
        if text.isdigit() and not Path(text).exists():
            sources.append(Source(f"webcam{text}.mp4", int(text), True))
            continue
        path = Path(text)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
        else:
            files = [path] if path.is_file() else sorted(map(Path, glob.glob(text, recursive=True)))
        if not files:
            what = "holds no pictures" if path.is_dir() else "names no file"
            raise FileNotFoundError(f"{text} {what}")
        sources += [Source(p.name, str(p), p.suffix.lower() not in PICTURES) for p in files]
    names: dict[str, Source] = {}
    for source in sources:
        if names.setdefault(source.name, source) is not source:
            raise ValueError(
                f"{names[source.name].path} and {source.path} have the same name: run them one "
                "after the other, with different --out"
            )
    return sources


class Video:
    """The frames of a video or a webcam.

    Args:
        source: Which.

    Attributes:
        rate: Frames per second.
        count: Number of frames, or None if it is not known.

    Raises:
        ValueError: If it cannot be opened.
    """

    def __init__(self, source: Source) -> None:
        self._capture = cv2.VideoCapture(source.path)
        if not self._capture.isOpened():
            raise ValueError(f"{source.path} is no picture, and no video that OpenCV can open")
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 and isinstance(source.path, str) else None

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while True:
                found, image = self._capture.read()
                if not found:
                    return
                yield image
        finally:
            self._capture.release()


class Still:
    """The one frame of a picture, as a :class:`Video` has many.

    Raises:
        ValueError: If it cannot be read.
    """

    rate, count = 0.0, 1

    def __init__(self, source: Source) -> None:
        self._image = read_image(str(source.path))

    def __iter__(self) -> Iterator[np.ndarray]:
        yield self._image
