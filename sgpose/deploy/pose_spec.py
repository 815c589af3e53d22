# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import dataclasses
import json

FORMAT = 1
METADATA_KEY = "sgpose"


@dataclasses.dataclass(frozen=True)
class PoseSpec:
    """What an exported file says about itself beyond its graph, so that one file is enough.

    Args:
        input_size: Width and height of the crops.
        padding: Factor by which a box grows before it is cropped.
        use_udp: Whether boxes are mapped to crops by UDP's rule.
        mean: Mean colour that the graph subtracts, in the order that it converts to; empty if none.
        std: Standard deviation by which it divides.
        bgr_to_rgb: Whether the graph swaps the colours of the BGR crops first.
        codec: ``type`` of MMPose's codec and the parameters that decode its ``output``.
        output: ``'heatmaps'``, ``'simcc'`` or ``'keypoints'`` (decoded in the graph).
        flip_test: Whether the model's own test settings average with the mirrored crop.
        flip_test_in_graph: Whether the graph does so itself.
        shift_heatmap: Whether mirrored heatmaps are shifted by a pixel.
        flip_indices: For each keypoint the one of the other side.
        keypoint_names: Their names.
        skeleton: Pairs of keypoints' numbers that are drawn as limbs.
        dataset: Name of the data set whose keypoints they are.
        outside: Factor by which the crop is darkened outside the box, 1 for not at all.
    """

    input_size: tuple[int, int]
    padding: float
    use_udp: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr_to_rgb: bool
    codec: dict
    output: str
    flip_test: bool
    flip_test_in_graph: bool
    shift_heatmap: bool
    flip_indices: tuple[int, ...]
    keypoint_names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    dataset: str
    outside: float = 1.0

    def to_json(self) -> str:
        """Write it as the text of an ONNX file's metadata."""
        return json.dumps(dict(format=FORMAT, **dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, text: str) -> PoseSpec:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: If it is of another format.
        """
        content = json.loads(text)
        found = content.pop("format", None)
        if found != FORMAT:
            raise ValueError(
                f"its metadata are of format {found}, this sgpose reads format {FORMAT}: export "
                "the model anew, or install the sgpose that exported it"
            )
        return cls(**{name: _as_tuple(value) for name, value in content.items()})


def _as_tuple(value):
    """Turn JSON's lists back into tuples."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
