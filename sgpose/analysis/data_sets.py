# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Configs of datasets, also of those that wrap others (``CombinedDataset``, ``RepeatDataset``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmengine.config import ConfigDict
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


def dataset_parts(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Yield a dataset's config and those of all that it wraps."""
    yield dataset
    inner = [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets", [])
    for part in inner:
        yield from dataset_parts(part)


def use_annotated_boxes(dataset: ConfigDict) -> None:
    """Let a dataset take the annotated boxes instead of a detector's, which have no keypoints."""
    for part in dataset_parts(dataset):
        if part.get("bbox_file"):
            part.bbox_file = None


def pipelines_that(dataset: ConfigDict, transform: str) -> list[list]:
    """Return the pipelines of a dataset's config, and of all it wraps, that hold a transform."""
    found = [part.get("pipeline") or [] for part in dataset_parts(dataset)]
    return [pipeline for pipeline in found if any(t["type"] == transform for t in pipeline)]


def target_generator(dataset: ConfigDict) -> dict:
    """Return the ``GenerateTarget`` of a dataset's config.

    Raises:
        ValueError: If no pipeline has one, or several have different ones.
    """
    found = [
        transform
        for pipeline in pipelines_that(dataset, "GenerateTarget")
        for transform in pipeline
        if transform["type"] == "GenerateTarget"
    ]
    if not found:
        raise ValueError(
            "the config's training pipeline has no GenerateTarget, which says how targets are made"
        )
    if any(other != found[0] for other in found):
        raise ValueError("the config's training pipelines have different GenerateTargets")
    return found[0]


def make_targets(dataset: ConfigDict, generator: dict) -> None:
    """Let a dataset's config make targets, if it does not yet: before they are packed.

    Raises:
        ValueError: If no pipeline packs.
    """
    if pipelines_that(dataset, "GenerateTarget"):
        return
    pipelines = pipelines_that(dataset, "PackPoseInputs")
    if not pipelines:
        raise ValueError(f"the dataset {dataset['type']} has no pipeline with PackPoseInputs")
    for pipeline in pipelines:
        pipeline.insert(len(pipeline) - 1, generator)


def check_same_each_time(dataset: ConfigDict) -> None:
    """Refuse a dataset whose n-th sample is another each time.

    Raises:
        ValueError: If it is one.
    """
    for part in dataset_parts(dataset):
        if part.get("sample_ratio_factor") is not None:
            raise ValueError(
                f"{part['type']} with sample_ratio_factor draws its samples anew each time: set "
                "it to None for a test set"
            )


def check_sigmas(metainfo: dict) -> None:
    """Refuse a dataset that OKS, and so COCO's AP, cannot be computed on.

    Raises:
        ValueError: If there is not one sigma per keypoint.
    """
    given, count = metainfo.get("sigmas"), metainfo["num_keypoints"]
    found = 0 if given is None else len(given)
    if found != count:
        raise ValueError(
            f"the metainfo of {metainfo['dataset_name']!r} has {found} sigmas for {count} "
            f"keypoints: OKS and COCO's AP need one each; give them in the "
            "metainfo, or take a metric without (PCKAccuracy, NME, EPE)"
        )


@DATA_SAMPLERS.register_module()
class ListedSampler(Sampler):
    """Take given samples of a dataset in a given order.

    Args:
        dataset, seed: What MMEngine's runner passes to any sampler.
        indices (list[int]): The samples' numbers.
    """

    def __init__(self, dataset, indices: Sequence[int], seed: int | None = None) -> None:
        self.indices = list(indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
