# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Can a config be trained? Each part is tried on few samples, and what fails is one message.

Data sets of more than ``LARGE`` bytes are read as far as their first images go, so that the check
takes seconds.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.datasets.datasets.base import BaseCocoStyleDataset
from mmpose.registry import DATASETS, MODELS

LARGE, IMAGES, SAMPLES = 20_000_000, 40, 2


def check_config(cfg: Config) -> list[str]:
    """Try each part of a config.

    Args:
        cfg: A config of MMPose. It is left as it is.

    Returns:
        What would end the training, each with the line to change; empty if nothing would.
    """
    cfg = copy.deepcopy(cfg)
    init_default_scope(cfg.get("default_scope", "mmpose"))
    if problems := [*missing_files(cfg), *missing_weights(cfg)]:
        return problems
    with quiet(), tempfile.TemporaryDirectory() as folder:
        problems, samples = _check_samples(cfg, folder)
        if not problems:
            problems = _check_step(cfg, samples)
        if cfg.get("val_cfg") is not None and cfg.get("val_dataloader"):
            problems += _check_evaluator(cfg, folder)
    return problems


def dataset_leaves(dataset: dict, place: str) -> Iterator[tuple[str, dict]]:
    """Yield the data sets inside of wrappers, with their places in the config."""
    inner = dataset.get("datasets") or ([dataset["dataset"]] if "dataset" in dataset else [])
    if not inner:
        yield place, dataset
    for i, one in enumerate(inner):
        suffix = f".datasets.{i}" if "datasets" in dataset else ".dataset"
        yield from dataset_leaves(one, place + suffix)


def needed_files(cfg: Config, splits: Sequence[str] = ("train", "val")) -> list[tuple[str, str]]:
    """Files and folders that a config's data sets read: (place in the config, path).

    Paths on other file systems (``s3://``) are left out.
    """
    if (cfg.get("backend_args") or {}).get("backend", "local") != "local":
        return []
    needed = []
    for split in splits:
        name, loader = f"{split}_dataloader.dataset", cfg.get(f"{split}_dataloader")
        for place, dataset in dataset_leaves(loader.dataset, name) if loader else []:
            root = dataset.get("data_root") or ""
            if dataset.get("ann_file"):
                needed.append((f"{place}.ann_file", os.path.join(root, dataset["ann_file"])))
            for key, prefix in (dataset.get("data_prefix") or {}).items():
                if isinstance(prefix, str):
                    path = os.path.join(root, prefix) or "."
                    needed.append((f"{place}.data_prefix.{key}", path))
            for key in ("bbox_file", "headbox_file"):
                if dataset.get(key):
                    needed.append((f"{place}.{key}", dataset[key]))
    for split in splits:
        evaluators = cfg.get(f"{split}_evaluator") or []
        several = isinstance(evaluators, (list, tuple))
        for i, metric in enumerate(evaluators if several else [evaluators]):
            if metric.get("ann_file"):
                place = f"{split}_evaluator.{i}" if several else f"{split}_evaluator"
                needed.append((f"{place}.ann_file", metric["ann_file"]))
    return [(place, path) for place, path in needed if "://" not in path]


def missing_files(cfg: Config, splits: Sequence[str] = ("train", "val")) -> list[str]:
    """One message that names the files that are not there, or nothing."""
    if cfg.get("val_cfg") is None:
        splits = [split for split in splits if split != "val"]
    needed = needed_files(cfg, splits)
    missing = [(place, path) for place, path in needed if not os.path.exists(path)]
    if not missing:
        return []
    lines = [f"    {path}  ({place})" for place, path in missing]
    relative = any(not os.path.isabs(path) for _, path in missing)
    text = "The config's data are not there:\n\n" + "\n".join(lines)
    if relative:
        text += f"\n\nThese are relative to the folder of the command, {os.getcwd()}."
    text += (
        "\n\nPut or link the data there (ln -s /where/it/is data/NAME), or change these lines of\n"
        f"the config, or give --cfg-options {missing[0][0]}=PATH.\nHow MMPose's datasets are laid "
        "out: https://mmpose.readthedocs.io/en/latest/dataset_zoo.html\nYour own: docs/your_data.md"
    )
    return [text]


def weights_of(cfg: Config) -> list[tuple[str, str]]:
    """Checkpoints that a training starts from: (place in the config, path or URL)."""
    found = [("load_from", cfg.load_from)] if cfg.get("load_from") else []

    def search(node, place):
        if isinstance(node, dict):
            if node.get("type") == "Pretrained" and node.get("checkpoint"):
                found.append((place, node["checkpoint"]))
            for key, value in node.items():
                search(value, f"{place}.{key}")
        elif isinstance(node, (list, tuple)):
            for i, value in enumerate(node):
                search(value, f"{place}.{i}")

    search(cfg.model, "model")
    return found


def cached_weights(url: str) -> Path:
    """Where PyTorch and MMEngine keep what they downloaded from a URL."""
    return Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)


def missing_weights(cfg: Config, timeout: float = 10) -> list[str]:
    """A message for each checkpoint that is no file and cannot be downloaded."""
    problems = []
    for place, source in weights_of(cfg):
        if "://" not in source:
            if not os.path.isfile(source):
                problems.append(
                    f"{place}: there is no checkpoint {source}. {without_weights(place)}"
                )
            continue
        if not source.startswith("http") or cached_weights(source).is_file():
            continue
        try:
            request = urllib.request.Request(source, method="HEAD")
            urllib.request.urlopen(request, timeout=timeout).close()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                problems.append(f"{place}: {source} does not exist. {without_weights(place)}")
        except OSError as error:
            problems.append(no_network(place, source, getattr(error, "reason", error)))
    return problems


def without_weights(place: str) -> str:
    """How to start a training without a checkpoint."""
    return f"To start without it: --cfg-options {place}=None"


def no_network(place: str, url: str, reason: object) -> str:
    """What to do where weights cannot be downloaded."""
    return (
        f"{place}: the weights to start from cannot be downloaded ({reason}):\n\n    {url}\n\n"
        f"{without_weights(place)} (training then takes longer and may end lower).\n"
        f"To start with them: download the file elsewhere and put it at {cached_weights(url)}"
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep away what data sets and evaluators print and log, and forget what they leave behind."""
    logger, hub = MMLogger.get_current_instance(), MessageHub.get_current_instance()
    level, known = logger.level, dict(hub.runtime_info)
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        hub.runtime_info.clear()
        hub.runtime_info.update(known)


def shortened(dataset: dict, folder: str) -> dict:
    """A data set's config with large COCO-style files cut to their first images.

    Args:
        dataset: Config of a data set or of a wrapper.
        folder: Where the short files go.
    """
    dataset = copy.deepcopy(dataset)
    for _, leaf in dataset_leaves(dataset, ""):
        path = os.path.join(leaf.get("data_root") or "", leaf.get("ann_file") or "")
        if not path.endswith(".json") or not os.path.isfile(path) or os.path.getsize(path) < LARGE:
            continue
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
            continue
        used = [a["image_id"] for a in content["annotations"] if a.get("keypoints")]
        chosen = set(list(dict.fromkeys(used))[:IMAGES])
        for key, name in (("images", "id"), ("annotations", "image_id")):
            content[key] = [entry for entry in content[key] if entry.get(name) in chosen]
        leaf["ann_file"] = os.path.abspath(os.path.join(folder, f"{len(os.listdir(folder))}.json"))
        Path(leaf["ann_file"]).write_text(json.dumps(content), encoding="utf-8")
        if leaf.get("bbox_file"):  # names images that are not there any more
            leaf["bbox_file"] = None
    return dataset


def annotated_keypoints(path: str) -> set[int]:
    """How many keypoints the annotations of a COCO-style file have."""
    if not path.endswith(".json") or not os.path.isfile(path):
        return set()
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    annotations = content.get("annotations", []) if isinstance(content, dict) else []
    return {np.size(a["keypoints"]) // 3 for a in annotations if a.get("keypoints")}


def _build(cfg: Config, split: str, folder: str) -> tuple[list[str], Any]:
    """A problem or nothing, and the data set of a split or None."""
    place = f"{split}_dataloader.dataset"
    short = shortened(cfg[f"{split}_dataloader"].dataset, folder)
    for leaf_place, leaf in dataset_leaves(short, place):
        if problem := _other_number(leaf_place, leaf):
            return [problem], None
    try:
        dataset = DATASETS.build(short)
        length = len(dataset)
    except Exception as error:
        if "need at least one array" not in str(error):  # MMEngine, of a data set without samples
            return [f"{place} cannot be built: {_said(error)}"], None
        length = 0
    if not length:
        return [
            f"{place} holds no sample: MMPose leaves out annotations without a box, without "
            "labelled keypoints, and crowds. `mim run sgpose new_dataset` says what is wrong"
        ], None
    return [], dataset


def _other_number(place: str, dataset: dict) -> str:
    """Says where annotations and metainfo of a plain COCO-style data set do not agree."""
    kind = DATASETS.get(dataset["type"]) if isinstance(dataset["type"], str) else dataset["type"]
    parse = getattr(kind, "parse_data_info", None)
    if parse is not BaseCocoStyleDataset.parse_data_info:
        return ""
    bare = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True))
    known, found = bare.metainfo.get("num_keypoints"), annotated_keypoints(bare.ann_file)
    if not found - {known}:
        return ""
    return (
        f"{place}: the metainfo ({bare.metainfo.get('dataset_name')}) names {known} keypoints, the "
        f"annotations in {bare.ann_file} have {', '.join(map(str, sorted(found)))}. Set "
        "metainfo=dict(from_file=...) to a file that names yours; new_dataset writes one"
    )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _check_samples(cfg: Config, folder: str) -> tuple[list[str], list[dict]]:
    """Load samples, and compare them with codec and head."""
    problems, dataset = _build(cfg, "train", folder)
    if problems:
        return problems, []
    try:
        samples = [dataset[i % len(dataset)] for i in range(SAMPLES)]
    except Exception as error:
        return [f"train_dataloader.dataset.pipeline cannot make a sample: {_said(error)}"], []
    head = cfg.model.get("head") or {}
    made = _keypoints_of(samples[0])
    key = next((k for k in ("out_channels", "num_keypoints", "num_joints") if k in head), None)
    # several channels a keypoint are some codecs' way (UDP's offsets)
    if made and key and isinstance(head[key], int) and head[key] % made:
        return [
            f"model.head.{key}={head[key]}, but the data set has {made} keypoints: write "
            f"{key}={made}"
        ], []
    decoder = head.get("decoder") or {}
    for encoder in _encoders(cfg):
        inner = encoder.get("codec", encoder)
        for name in ("input_size", "heatmap_size"):
            a, b = inner.get(name), decoder.get(name)
            if a and b and tuple(a) != tuple(b):
                problems.append(
                    f"model.head.decoder has {name}={tuple(b)}, the encoder of GenerateTarget "
                    f"{tuple(a)} (width, height): give both the same codec"
                )
        size = inner.get("input_size")
        shape = tuple(samples[0]["inputs"].shape[-2:])
        if size and len(size) == 2 and tuple(size)[::-1] != shape:
            problems.append(
                f"the pipeline makes inputs of {shape[1]}x{shape[0]} (width x height), the codec's "
                f"input_size is {size[0]}x{size[1]}: give TopdownAffine the codec's input_size"
            )
    return problems, samples


def _encoders(cfg: Config) -> list[dict]:
    pipeline = cfg.train_dataloader.dataset.get("pipeline") or []
    found = [t.get("encoder") for t in pipeline if t.get("type") == "GenerateTarget"]
    return [one for e in found for one in (e if isinstance(e, (list, tuple)) else [e]) if one]


def _keypoints_of(sample: dict) -> int | None:
    labels = sample["data_samples"].get("gt_instance_labels")
    if labels is None or "keypoint_weights" not in labels:
        return None
    weights = labels.keypoint_weights
    return (weights[0] if isinstance(weights, list) else weights).shape[-1]


def _check_step(cfg: Config, samples: list[dict]) -> list[str]:
    """Compute the losses of a few samples with weights at random."""
    try:
        model = MODELS.build(cfg.model).train()
    except Exception as error:
        return [f"the model cannot be built: {_said(error)}"]
    model = revert_sync_batchnorm(model)
    try:
        with torch.no_grad():
            data = model.data_preprocessor(pseudo_collate(copy.deepcopy(samples)), True)
            losses = model(**data, mode="loss")
    except Exception as error:
        return [f"the first training step would fail: {_said(error)}"]
    broken = [
        name
        for name, value in losses.items()
        if isinstance(value, torch.Tensor) and not torch.isfinite(value).all()
    ]
    return [f"losses are not finite at the first step: {', '.join(broken)}"] if broken else []


def _check_evaluator(cfg: Config, folder: str) -> list[str]:
    """Evaluate the truth, and look for `save_best` among the metrics."""
    problems, dataset = _build(cfg, "val", folder)
    if problems or not cfg.get("val_evaluator"):
        return problems
    metrics = cfg.val_evaluator
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    meta = dataset.metainfo
    sigmas, count = len(meta.get("sigmas", ())), meta.get("num_keypoints", 0)
    for metric in metrics:
        plain = metric.type == "CocoMetric" and not metric.get("gt_converter")
        if plain and sigmas != count:
            return [
                f"val_evaluator: {metric.type} needs a sigma for each of the {count} keypoints, "
                f"the metainfo has {sigmas}. Write sigmas=[0.05] * {count} in the metainfo (then "
                "compare only with yourself), or "
                'val_evaluator=dict(type="PCKAccuracy", thr=0.2) with save_best="PCK"'
            ]
    try:
        samples = [dataset[i]["data_samples"] for i in range(min(len(dataset), 4))]
        samples = [s for s in samples if "keypoints" in s.get("gt_instances", {})]
        if not samples:  # another task's, for instance 3D lifting
            return []
        evaluator = Evaluator(copy.deepcopy(list(metrics)))
        evaluator.dataset_meta = meta
        for sample in samples:
            sample.pred_instances = _as_prediction(sample)
            evaluator.process([sample.to_dict()], None)
        names = list(evaluator.evaluate(len(samples)))
    except Exception as error:
        return [
            f"val_evaluator cannot evaluate this data set: {_said(error)}. An evaluator that "
            'needs boxes alone: dict(type="PCKAccuracy", thr=0.2), with save_best="PCK"'
        ]
    return [
        problem for place, wanted in _monitored(cfg) for problem in _unknown(place, wanted, names)
    ]


def _as_prediction(sample) -> InstanceData:
    """The truth in the form of a prediction."""
    truth = sample.gt_instances
    keypoints = np.asarray(truth.keypoints, np.float32)[..., :2]
    prediction = InstanceData(keypoints=keypoints)
    prediction.keypoint_scores = np.ones(keypoints.shape[:2], np.float32)
    prediction.keypoints_visible = np.ones(keypoints.shape[:2], np.float32)
    for name in ("bboxes", "bbox_scores"):
        if name in truth:
            prediction.set_field(np.asarray(truth[name]), name)
    return prediction


def _monitored(cfg: Config) -> Iterator[tuple[str, str]]:
    """Metrics that hooks go by: (place in the config, name)."""
    hooks = [(f"default_hooks.{k}", h) for k, h in (cfg.get("default_hooks") or {}).items()]
    hooks += [(f"custom_hooks.{i}", h) for i, h in enumerate(cfg.get("custom_hooks") or [])]
    for place, hook in hooks:
        for key in ("save_best", "monitor"):
            wanted = hook.get(key) if isinstance(hook, dict) else None
            for name in wanted if isinstance(wanted, (list, tuple)) else [wanted]:
                if name and name != "auto":
                    yield f"{place}.{key}", name


def _unknown(place: str, wanted: str, names: list[str]) -> list[str]:
    if wanted in names:
        return []
    return [
        f"{place}={wanted!r} is none of the metrics of val_evaluator: {', '.join(names)}. Write "
        "one of these; rule='greater' where more is better, 'less' for errors"
    ]
