# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import dataclasses
import json

from .skeleton import side_colors

FORMAT = 2
METADATA_KEY = "sgpose"
#: Names of what a codec decodes, for those not listed ``heatmaps``.
DECODED = {"SimCCLabel": ("simcc_x", "simcc_y"), "RegressionLabel": ("coords",)}


@dataclasses.dataclass(frozen=True)
class PoseSpec:
    """What an exported file says about itself, in its metadata and in the JSON file beside it.

    Args:
        network: Name of the network, such as ``SGHRNet``.
        dataset: Name of the data set whose keypoints they are.
        input_size: Width w and height h of the crops.
        input_layout: ``'NHWC'``, crops (B, h, w, 3) of uint8, or ``'NCHW'``, (B, 3, h, w) of
            float32. Both hold 0 to 255 in the order BGR.
        padding: Factor by which a box grows before it is cropped.
        use_udp: Whether boxes are mapped to crops by UDP's rule.
        codec: ``type`` of MMPose's codec and its parameters.
        outputs: Names of the outputs: ``keypoints``, ``scores``, and what else was asked for.
        flip_test: Whether the graph averages with the mirrored crop.
        flip_indices: For each keypoint the one of the other side.
        keypoint_names: Their names.
        keypoint_colors: Red, green and blue in which each is drawn, 0 to 255.
        skeleton: Pairs of keypoints' numbers that are drawn as limbs.
        skeleton_colors: Red, green and blue of each limb.
    """

    network: str
    dataset: str
    input_size: tuple[int, int]
    input_layout: str
    padding: float
    use_udp: bool
    codec: dict
    outputs: tuple[str, ...]
    flip_test: bool
    flip_indices: tuple[int, ...]
    keypoint_names: tuple[str, ...]
    keypoint_colors: tuple[tuple[int, int, int], ...]
    skeleton: tuple[tuple[int, int], ...]
    skeleton_colors: tuple[tuple[int, int, int], ...]

    @property
    def decoded(self) -> tuple[str, ...]:
        """Names of what keypoints are decoded from, outputs only where they were asked for."""
        return DECODED.get(self.codec["type"], ("heatmaps",))

    @property
    def title(self) -> str:
        """Say in a few words what the file does."""
        (width, height), count = self.input_size, len(self.keypoint_names)
        return f"{self.network}, {width}x{height}: {count} points of {self.dataset}"

    def to_json(self, indent: int | None = None) -> str:
        """Write it as JSON."""
        return json.dumps(dict(format=FORMAT, **dataclasses.asdict(self)), indent=indent)

    @classmethod
    def from_json(cls, text: str) -> PoseSpec:
        """Read what :meth:`to_json` wrote, or the format before it.

        Raises:
            ValueError: If it is of another format, or lacks a field.
        """
        content = json.loads(text)
        found = content.pop("format", None)
        if found == 1:
            content = _of_format_1(content)
        elif found != FORMAT:
            raise ValueError(
                f"its metadata are of format {found}, this sgpose reads format {FORMAT}: export "
                "the model anew, or install the sgpose that exported it"
            )
        try:
            return cls(**{name: _as_tuple(value) for name, value in content.items()})
        except TypeError as error:
            raise ValueError(f"its metadata do not fit format {found} ({error})") from error


def _of_format_1(content: dict) -> dict:
    """Translate the metadata of sgpose 0.1, whose graphs could leave decoding to the runtime."""
    if content["output"] != "keypoints" or content.get("outside", 1.0) != 1.0:
        raise ValueError(
            f"it was exported by sgpose 0.1, whose files return {content['output']} that this "
            "sgpose does not decode: export the model anew"
        )
    names, links = content["keypoint_names"], content["skeleton"]
    keypoint_colors, skeleton_colors = side_colors(names, links)
    kept = ("input_size", "padding", "use_udp", "codec", "flip_indices", "dataset")
    return dict(
        {name: content[name] for name in kept},
        network="network",
        input_layout="NHWC",
        outputs=["keypoints", "scores"],
        flip_test=content["flip_test_in_graph"],
        keypoint_names=names,
        keypoint_colors=keypoint_colors,
        skeleton=links,
        skeleton_colors=skeleton_colors,
    )


def _as_tuple(value):
    """Turn JSON's lists back into tuples."""
    return tuple(map(_as_tuple, value)) if isinstance(value, (list, tuple)) else value
