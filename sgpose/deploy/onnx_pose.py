# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Poses from an exported model with ONNX Runtime, NumPy and OpenCV alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Union, overload

try:
    import numpy as np
    import onnxruntime

    from .crops import Image, crop_persons, from_xywh, read_image, to_image
except ImportError as error:
    raise ImportError(
        f"OnnxPose needs ONNX Runtime, NumPy and OpenCV ({error}). Install them: "
        "pip install onnxruntime numpy opencv-python loky"
    ) from error

from .pose_spec import METADATA_KEY, PoseSpec
from .poses import Poses

#: An execution provider of ONNX Runtime, by name or with its options.
Provider = Union[str, tuple[str, dict[str, str]]]
BOX_FORMATS = ("xyxy", "xywh")


class OnnxPose:
    """Estimate poses with a file that ``tools/export_onnx.py`` wrote.

    It crops the persons, runs the graph, which decodes keypoints, and maps those back to the image.
    They are those of MMPose's ``inference_topdown`` with the same boxes. It can be pickled.

    Args:
        path: The ONNX file.
        threads: Number of threads. Defaults to one per core that the process may use; a
            container's quota counts where loky is installed. On the CPU each takes a part of the
            persons; where there are fewer persons than threads, all work on the same. More than
            one keep the weights twice in memory. Other providers have options of their own for it.
        max_batch: Crops that a thread's network sees at once, mirrored ones among them.
        providers: Execution providers of ONNX Runtime, each a name or a name and its options.

    Attributes:
        spec (PoseSpec): What the file says about the model: names of the keypoints, skeleton,
            input size and more.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of the export tool, a provider cannot be used, or a number is
            not positive.

    Examples:
        >>> pose = OnnxPose("pose.onnx")  # doctest: +SKIP
        >>> keypoints, scores = pose("picture.jpg", [[10, 20, 110, 240]])  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        max_batch: int = 8,
        providers: Sequence[Provider] = ("CPUExecutionProvider",),
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be 1 or more, got {threads}")
        if max_batch < 1:
            raise ValueError(f"max_batch must be 1 or more, got {max_batch}")
        if isinstance(providers, str):
            raise ValueError(
                f"providers must be a list, such as [{providers!r}], got the string {providers!r}"
            )
        self._arguments = (path, threads, max_batch, providers)
        on_cpu = _names(providers[:1]) == ["CPUExecutionProvider"]
        threads = threads or usable_cores()
        self._threads = threads if on_cpu else 1
        self._session = _open(Path(path), threads, providers)
        self._session_of_one_thread = (
            _open(Path(path), 1, providers) if self._threads > 1 else self._session
        )
        self._others = ThreadPoolExecutor(self._threads - 1) if self._threads > 1 else None
        self.spec = _read_spec(Path(path), self._session)
        self._persons_at_once = max(1, max_batch // (2 if self.spec.flip_test else 1))
        self._shapes = {output.name: output.shape for output in self._session.get_outputs()}

    def __reduce__(self) -> tuple:
        return type(self), self._arguments

    @overload
    def __call__(
        self,
        images: Image,
        bboxes: np.ndarray | list | None = ...,
        guide_maps: bool = ...,
        box_format: str = ...,
    ) -> Poses: ...

    @overload
    def __call__(
        self,
        images: list[Image] | tuple[Image, ...],
        bboxes: Sequence | None = ...,
        guide_maps: bool = ...,
        box_format: str = ...,
    ) -> list[Poses]: ...

    def __call__(
        self,
        images: Image | list[Image] | tuple[Image, ...],
        bboxes: np.ndarray | Sequence | None = None,
        guide_maps: bool = False,
        box_format: str = "xyxy",
    ) -> Poses | list[Poses]:
        """Estimate the poses of persons in one image or in several.

        Args:
            images: A path, or an uint8 array of shape (H, W, 3) in the order BGR, (H, W, 4) in the
                order BGRA or (H, W) in grey, or a list of those. Files of 16 bits and with
                transparency are reduced to 8 bits of colour, as by MMPose.
            bboxes: (N, 4) box of each person in pixels; they may reach beyond the image, which is
                black there. For a list of images a list of such, one per image. Defaults to the
                whole image as one box. An empty list gives no poses.
            guide_maps: Whether to return the guides' maps, too.
            box_format: ``'xyxy'``, left, top, right, bottom; or ``'xywh'``, left, top, width,
                height.

        Returns:
            :class:`Poses`, or a list of them for a list of images.

        Raises:
            ValueError: If an image cannot be read or is of another kind, boxes do not fit, or the
                file holds no guides' maps.
        """
        if guide_maps and "guide_maps" not in self._shapes:
            raise ValueError(
                "the file holds no guides' maps: export it with --guide-maps, from a model with "
                "guides"
            )
        if box_format not in BOX_FORMATS:
            raise ValueError(f"box_format must be one of {BOX_FORMATS}, got {box_format!r}")
        if not isinstance(images, (list, tuple)):
            return self._estimate([images], [bboxes], guide_maps, box_format)[0]
        if bboxes is None:
            bboxes = [None] * len(images)
        if len(bboxes) != len(images):
            raise ValueError(
                f"a list of {len(images)} images needs a list of as many arrays of bboxes, got "
                f"{len(bboxes)}"
            )
        return self._estimate(images, bboxes, guide_maps, box_format)

    def _estimate(
        self,
        images: Sequence[Image],
        bboxes: np.ndarray | Sequence,
        guide_maps: bool,
        box_format: str,
    ) -> list[Poses]:
        if box_format == "xywh":
            bboxes = [boxes if boxes is None else from_xywh(boxes) for boxes in bboxes]
        frames = [
            crop_persons(read_image(image), boxes, self.spec)
            for image, boxes in zip(images, bboxes)
        ]
        names = ["keypoints", "scores", "guide_maps"][: 2 + guide_maps]
        crops = [frame[0] for frame in frames]
        outputs = self._infer(crops, names)
        results, start = [], 0
        for count, (_, boxes, centers, sizes) in zip(map(len, crops), frames):
            keypoints, scores, *maps = (output[start : start + count] for output in outputs)
            start += count
            keypoints = to_image(keypoints, centers, sizes, self.spec.input_size)
            corners = np.hstack([centers - 0.5 * sizes, centers + 0.5 * sizes])
            results.append(Poses(keypoints, scores, boxes, *(maps and (maps[0], corners))))
        return results

    def _infer(self, found: Sequence[np.ndarray], names: list[str]) -> list[np.ndarray]:
        """Return the named outputs for all crops, on the CPU a part of them from each thread."""
        if not sum(map(len, found)):
            return [self._empty(name) for name in names]
        crops = np.concatenate(found)
        if self._others is None or len(crops) < self._threads:
            parts = self._run(self._session, crops, names)
        else:
            first, *others = np.array_split(crops, self._threads)
            waiting = [
                self._others.submit(self._run, self._session_of_one_thread, part, names)
                for part in others
            ]
            parts = self._run(self._session_of_one_thread, first, names)
            parts += chain.from_iterable(future.result() for future in waiting)
        return [np.concatenate(outputs) for outputs in zip(*parts)]

    def _run(
        self, session: onnxruntime.InferenceSession, crops: np.ndarray, names: list[str]
    ) -> list[list[np.ndarray]]:
        """Return the named outputs of each batch."""
        if self.spec.input_layout == "NCHW":
            crops = crops.transpose(0, 3, 1, 2).astype(np.float32)
        step = self._persons_at_once
        batches = (crops[start : start + step] for start in range(0, len(crops), step))
        return [session.run(names, {"crops": batch}) for batch in batches]

    def _empty(self, name: str) -> np.ndarray:
        sizes = (size if isinstance(size, int) else 0 for size in self._shapes[name][1:])
        return np.zeros((0, *sizes), np.float32)


def usable_cores() -> int:
    """Return the number of cores that the process may use, by affinity and, with loky, by quota."""
    try:
        from loky import cpu_count
    except ImportError:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    return cpu_count()


def _names(providers: Sequence[Provider]) -> list[str]:
    return [provider if isinstance(provider, str) else provider[0] for provider in providers]


def _open(path: Path, threads: int, providers: Sequence[Provider]) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file")
    available = onnxruntime.get_available_providers()
    if lacking := [name for name in _names(providers) if name not in available]:
        raise ValueError(f"ONNX Runtime has no {', '.join(lacking)} here, it has {available}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # its exceptions share no base class of their own
        raise ValueError(
            f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {error}"
        ) from error
    # it goes on without a provider that does not start
    if refused := [name for name in _names(providers) if name not in session.get_providers()]:
        raise ValueError(
            f"ONNX Runtime could not start {', '.join(refused)} with {list(providers)}: mend the "
            "options, or what it needs is not installed; its own message stands above"
        )
    return session


def _read_spec(path: Path, session: onnxruntime.InferenceSession) -> PoseSpec:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ValueError(
            f"{path} says nothing of boxes and keypoints: export the model with "
            "tools/export_onnx.py of sgpose"
        )
    try:
        return PoseSpec.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
