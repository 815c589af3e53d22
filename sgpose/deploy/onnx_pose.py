# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Poses from an exported model with ONNX Runtime, NumPy and OpenCV alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Union

try:
    import numpy as np
    import onnxruntime

    from .crops import Image, crop_persons, read_image, to_image
    from .decoding import decode_heatmaps, decode_simcc, mirror_heatmaps
except ImportError as error:
    raise ImportError(
        f"OnnxPose needs ONNX Runtime, NumPy and OpenCV ({error}). Install them: "
        "pip install onnxruntime numpy opencv-python"
    ) from error

from .pose_spec import METADATA_KEY, PoseSpec

#: An execution provider of ONNX Runtime, by name or with its options.
Provider = Union[str, tuple[str, dict[str, str]]]


class Poses(NamedTuple):
    """Poses of N persons in one image.

    Args:
        keypoints: (N, K, 2) x and y in pixels of the image.
        scores: (N, K).
    """

    keypoints: np.ndarray
    scores: np.ndarray


class GuidedPoses(NamedTuple):
    """Poses and where the network looked.

    Args:
        keypoints: (N, K, 2) x and y in pixels of the image.
        scores: (N, K).
        guide_maps: (N, S, h, w) segmentation maps of the S guides in [0, 1], over the crops.
        crops: (N, 4) left, top, right, bottom of the crops in pixels of the image.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    guide_maps: np.ndarray
    crops: np.ndarray


class OnnxPose:
    """Estimate poses with a file that ``tools/export_onnx.py`` wrote.

    The keypoints are those of MMPose's ``inference_topdown`` with the same boxes.

    Args:
        path: The ONNX file.
        flip_test: Whether to average with the mirrored crop. Defaults to what the model's test
            settings say, or to what was exported into the graph.
        threads: Number of threads. Defaults to one per core that the process may use. On the CPU
            each takes a part of the persons; where there are fewer persons than threads, all work
            on the same. More than one keep the weights twice in memory. Other providers have
            options of their own for it.
        max_batch: Crops that a thread's network sees at once, mirrored ones among them.
        providers: Execution providers of ONNX Runtime, each a name or a name and its options.

    Attributes:
        spec (PoseSpec): What the file says about the model: names of the keypoints, skeleton,
            input size and more.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of the export tool, the graph cannot do the flip test that is
            asked for, a provider cannot be used, or a number is not positive.
    """

    def __init__(
        self,
        path: str | Path,
        flip_test: bool | None = None,
        threads: int | None = None,
        max_batch: int = 8,
        providers: Sequence[Provider] = ("CPUExecutionProvider",),
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be 1 or more, got {threads}")
        if max_batch < 1:
            raise ValueError(f"max_batch must be 1 or more, got {max_batch}")
        on_cpu = _names(providers[:1]) == ["CPUExecutionProvider"]
        self._threads = (threads or _usable_cores()) if on_cpu else 1
        self._session = _open(Path(path), threads, providers)
        self._session_of_one_thread = (
            _open(Path(path), 1, providers) if self._threads > 1 else self._session
        )
        self.spec = _read_spec(Path(path), self._session)
        self.flip_test = _flip_test(self.spec, flip_test)
        self._mirrors = self.flip_test and not self.spec.flip_test_in_graph
        self._persons_at_once = max(1, max_batch // (2 if self._mirrors else 1))
        self._shapes = {output.name: output.shape for output in self._session.get_outputs()}

    def __call__(
        self,
        images: Image | Sequence[Image],
        bboxes: np.ndarray | list | None = None,
        guide_maps: bool = False,
    ) -> Poses | GuidedPoses | list:
        """Estimate the poses of persons in one image or in several.

        Args:
            images: A path, or an uint8 array of shape (H, W, 3) in the order BGR, (H, W, 4) in the
                order BGRA or (H, W) in grey, or a list of those. Files of 16 bits and with
                transparency are reduced to 8 bits of colour, as by MMPose.
            bboxes: (N, 4) left, top, right, bottom of each person in pixels; they may reach beyond
                the image, which is black there. For a list of images a list of such, one per
                image. Defaults to the whole image as one box. An empty list gives no poses.
            guide_maps: Whether to return the guides' maps, too.

        Returns:
            :class:`Poses`, with ``guide_maps`` :class:`GuidedPoses`; a list for a list of images.

        Raises:
            ValueError: If an image cannot be read or is of another kind, boxes do not fit, or the
                file holds no guides' maps.
        """
        if guide_maps and "guide_maps" not in self._shapes:
            raise ValueError(
                "the file holds no guides' maps: export it with --guide-maps, from a model with "
                "guides"
            )
        if not isinstance(images, (list, tuple)):
            return self._estimate([images], [bboxes], guide_maps)[0]
        if bboxes is None:
            bboxes = [None] * len(images)
        if len(bboxes) != len(images):
            raise ValueError(
                f"a list of {len(images)} images needs a list of as many arrays of bboxes, got "
                f"{len(bboxes)}"
            )
        return self._estimate(images, bboxes, guide_maps)

    def _estimate(self, images: Sequence[Image], bboxes: Sequence, guide_maps: bool) -> list:
        frames = [
            crop_persons(read_image(image), boxes, self.spec)
            for image, boxes in zip(images, bboxes)
        ]
        crops = [frame[0] for frame in frames]
        keypoints, scores, maps = self._infer(np.concatenate(crops) if crops else [], guide_maps)
        results, start = [], 0
        for count, (_, centers, sizes) in zip(map(len, crops), frames):
            own = slice(start, start := start + count)
            poses = Poses(
                to_image(keypoints[own], centers, sizes, self.spec.input_size), scores[own]
            )
            if guide_maps:
                corners = np.hstack([centers - 0.5 * sizes, centers + 0.5 * sizes])
                poses = GuidedPoses(*poses, maps[own], corners)
            results.append(poses)
        return results

    def _infer(self, crops: np.ndarray, guide_maps: bool) -> tuple:
        """Return keypoints (M, K, 2) in pixels of the M crops, scores (M, K) and the maps."""
        if not len(crops):
            count = len(self.spec.keypoint_names)
            sizes = self._shapes.get("guide_maps", [])[1:]
            maps = (0, *(size if isinstance(size, int) else 0 for size in sizes))
            return np.zeros((0, count, 2)), np.zeros((0, count), np.float32), np.zeros(maps)
        names = [name for name in self._shapes if guide_maps or name != "guide_maps"]
        keypoints, scores, maps = zip(*self._infer_parts(crops, names))
        return (
            np.concatenate(keypoints),
            np.concatenate(scores),
            np.concatenate(maps) if guide_maps else None,
        )

    def _infer_parts(self, crops: np.ndarray, names: list[str]) -> list[tuple]:
        """Run the network on the crops and decode, on the CPU a part of them in each thread."""
        if self._threads == 1 or len(crops) < self._threads:
            return self._infer_part(self._session, names, crops)
        infer = partial(self._infer_part, self._session_of_one_thread, names)
        first, *others = np.array_split(crops, self._threads)
        with ThreadPoolExecutor(len(others)) as executor:
            found = executor.map(infer, others)
            return [*infer(first), *chain.from_iterable(found)]

    def _infer_part(
        self, session: onnxruntime.InferenceSession, names: list[str], crops: np.ndarray
    ) -> list[tuple]:
        """Return keypoints, scores and maps of each batch."""
        step = self._persons_at_once
        found = []
        for start in range(0, len(crops), step):
            outputs = self._run(session, crops[start : start + step], names)
            found.append((*self._decode(outputs), outputs.get("guide_maps")))
        return found

    def _run(
        self, session: onnxruntime.InferenceSession, crops: np.ndarray, names: list[str]
    ) -> dict[str, np.ndarray]:
        """Run the network on a batch of crops, with the flip test where it is wanted."""
        if self._mirrors:
            crops = np.concatenate([crops, crops[:, :, ::-1]])
        outputs = dict(zip(names, session.run(names, {"crops": crops})))
        if self._mirrors:
            for name, output in outputs.items():
                plain, mirrored = np.split(output, 2)
                outputs[name] = (plain + self._unmirror(name, mirrored)) * np.float32(0.5)
        return outputs

    def _unmirror(self, name: str, output: np.ndarray) -> np.ndarray:
        indices = list(self.spec.flip_indices)
        if name == "simcc_x":
            return output[:, indices, ::-1]
        if name == "simcc_y":
            return output[:, indices]
        return mirror_heatmaps(
            output, None if name == "guide_maps" else indices, self.spec.shift_heatmap
        )

    def _decode(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        codec = self.spec.codec
        if self.spec.output == "keypoints":
            return outputs["keypoints"], outputs["scores"]
        if self.spec.output == "simcc":
            return decode_simcc(outputs["simcc_x"], outputs["simcc_y"], codec["split_ratio"])
        return decode_heatmaps(outputs["heatmaps"], codec, self.spec.input_size)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _names(providers: Sequence[Provider]) -> list[str]:
    return [provider if isinstance(provider, str) else provider[0] for provider in providers]


def _open(
    path: Path, threads: int | None, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file")
    available = onnxruntime.get_available_providers()
    if lacking := [name for name in _names(providers) if name not in available]:
        raise ValueError(f"ONNX Runtime has no {', '.join(lacking)} here, it has {available}")
    options = onnxruntime.SessionOptions()
    if threads is not None:
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


def _flip_test(spec: PoseSpec, wanted: bool | None) -> bool:
    """Return whether to average with the mirrored crop, in the graph or here."""
    if spec.flip_test_in_graph:
        if wanted is False:
            raise ValueError(
                "the flip test is part of the graph: export without --flip-test to leave it out"
            )
        return True
    if spec.output == "keypoints":
        if wanted:
            raise ValueError(
                "decoded keypoints cannot be averaged with those of the mirrored crop: export "
                "heatmaps, or export with --flip-test"
            )
        return False
    return spec.flip_test if wanted is None else wanted
