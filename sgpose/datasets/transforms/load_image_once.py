# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from mmpose.datasets.transforms import LoadImage
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImageOnce(LoadImage):
    """MMPose's LoadImage, which decodes each file once per process and keeps the image in memory.

    For data sets that fit into memory. With worker processes each keeps its own, so that the
    fastest is ``num_workers=0``. Transforms may write into ``results['img']``: it is a copy.

    The arguments are those of ``LoadImage``.

    Example:
        >>> train_pipeline = [dict(type="LoadImageOnce"), *rest_of_the_pipeline]
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self._images: dict = {}

    def transform(self, results: dict) -> dict | None:
        """Load the image of ``results['img_path']`` unless ``results['img']`` is there already."""
        if "img" in results:
            return super().transform(results)
        path = results["img_path"]
        if path not in self._images:
            self._images[path] = super().transform(dict(img_path=path))["img"]
        return super().transform(dict(results, img=self._images[path].copy()))
