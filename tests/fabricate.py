# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Two-image datasets in the formats that the shipped configs read."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmpose.apis.inference import dataset_meta_from_config
from scipy.io import savemat

WIDTH, HEIGHT = 160, 200


def two_images(root: Path, num_keypoints: int, seed: int = 0) -> np.ndarray:
    """Write two PNGs of noise and return keypoints (2, K, 3) with visibilities 0 and 2."""
    rng = np.random.default_rng(seed)
    for i in range(2):
        noise = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"{i}.png"), noise)
    points = rng.uniform((20, 20), (WIDTH - 20, HEIGHT - 20), (2, num_keypoints, 2))
    visible = np.full((2, num_keypoints, 1), 2.0)
    visible[:, -1] = 0
    return np.concatenate([points * (visible > 0), visible], axis=2)


def coco_style(root: Path, num_keypoints: int) -> dict:
    """Write a COCO-style file of two persons on two images and return dataset arguments."""
    keypoints = two_images(root, num_keypoints)
    annotations = [
        dict(
            id=i,
            image_id=i,
            category_id=1,
            iscrowd=0,
            num_keypoints=num_keypoints - 1,
            keypoints=person.ravel().tolist(),
            bbox=[10, 10, WIDTH - 20, HEIGHT - 20],
            area=(WIDTH - 20) * (HEIGHT - 20),
        )
        for i, person in enumerate(keypoints)
    ]
    images = [
        dict(id=i, file_name=f"{i}.png", width=WIDTH, height=HEIGHT, crowdIndex=0.5)
        for i in range(2)
    ]
    category = dict(id=1, name="person", keypoints=[str(k) for k in range(num_keypoints)])
    content = dict(info={}, images=images, annotations=annotations, categories=[category])
    (root / "ann.json").write_text(json.dumps(content))
    return dict(bbox_file=None)


def mpii(root: Path, num_keypoints: int) -> dict:
    """Write MPII's annotations and head boxes of two persons and return dataset arguments."""
    keypoints = two_images(root, num_keypoints)
    persons = [
        dict(
            image=f"{i}.png",
            center=[WIDTH / 2, HEIGHT / 2],
            scale=0.9,
            joints=person[:, :2].tolist(),
            joints_vis=(person[:, 2] > 0).astype(int).tolist(),
        )
        for i, person in enumerate(keypoints)
    ]
    (root / "ann.json").write_text(json.dumps(persons))
    boxes = np.tile(np.array([[10.0, 10.0], [60.0, 60.0]])[..., None], (1, 1, 2))
    savemat(str(root / "head.mat"), dict(headboxes_src=boxes))
    return dict(headbox_file=str(root / "head.mat"))


def tiny_run(config: str | Path, root: Path) -> Config:
    """Return a shipped config that trains one step on two fabricated images and validates.

    It saves no checkpoint; the name of what the config calls its best score is in ``best_metric``.

    Args:
        config: Path of the config.
        root: Empty folder for the data and the work dir.
    """
    cfg = Config.fromfile(config)
    num_keypoints = dataset_meta_from_config(cfg)["num_keypoints"]
    make = mpii if cfg.train_dataloader.dataset.type == "MpiiDataset" else coco_style
    val_only = make(root, num_keypoints)
    location = dict(data_root=str(root), ann_file="ann.json", data_prefix=dict(img=""))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.update(location)
        for transform in loader.dataset.pipeline:
            if transform.type == "PastePeople":
                transform.source.update(location)
        if loader is not cfg.train_dataloader:
            loader.dataset.update({k: v for k, v in val_only.items() if v or k in loader.dataset})
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        if "ann_file" in evaluator:
            evaluator.ann_file = str(root / "ann.json")
    cfg.model.backbone.init_cfg = None
    cfg.load_from = None
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.best_metric = cfg.default_hooks.checkpoint.save_best
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False, save_best=None)
    cfg.work_dir = str(root / "work_dir")
    cfg.log_level = "WARNING"
    return cfg


def shallow_run(config: str | Path, root: Path) -> Config:
    """Return `tiny_run` of an HRNet with one block a row and two modules a stage, of full width.

    Args:
        config: Path of the config.
        root: Empty folder for the data and the work dir.
    """
    cfg = tiny_run(config, root)
    for stage in cfg.model.backbone.get("extra", {}).values():
        if "num_blocks" in stage:
            stage.num_blocks = (1,) * len(stage.num_blocks)
            stage.num_modules = min(2, stage.num_modules)
    return cfg


SIDES = [f"{side}_{part}" for part in ("shoulder", "hip", "ankle") for side in ("left", "right")]
PEOPLE = ("nose", *SIDES)
SKELETON = [[1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]]


def people(
    root: Path, count: int, seed: int = 0, first: int = 1, folder: str = "", per_image: int = 1
) -> dict:
    """Write pictures of noise and return COCO's content for upright people who face the camera.

    Args:
        root: Folder of the pictures.
        count: Number of images.
        seed: Of pictures and places.
        first: Id of the first image and annotation.
        folder: Sub-folder of the pictures, which their file names begin with.
        per_image: People on each image.
    """
    rng = np.random.default_rng(seed)
    (root / folder).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    shape = np.array([[0, 0], [1, 1], [-1, 1], [0.8, 3], [-0.8, 3], [0.7, 6], [-0.7, 6]])
    for i in range(first, first + count):
        name = f"{folder}/{i:06d}.png" if folder else f"{i:06d}.png"
        noise = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        cv2.imwrite(str(root / name), noise)
        images.append(dict(id=i, file_name=name, width=WIDTH, height=HEIGHT))
        for p in range(per_image):
            place = rng.uniform((50, 20), (WIDTH - 50, 35)) + rng.normal(0, 1, (7, 2))
            points = (place + shape * rng.uniform(15, 22)).round(1)
            low, high = points.min(axis=0) - 6, points.max(axis=0) + 6
            keypoints = np.concatenate([points, np.full((7, 1), 2)], axis=1)
            box = [*low.round(1).tolist(), *(high - low).round(1).tolist()]
            annotations.append(
                dict(
                    id=(i - 1) * per_image + p + 1,
                    image_id=i,
                    category_id=1,
                    iscrowd=0,
                    num_keypoints=7,
                    keypoints=keypoints.ravel().tolist(),
                    bbox=box,
                    area=round(box[2] * box[3] * 0.5, 2),
                )
            )
    category = dict(id=1, name="person", keypoints=list(PEOPLE), skeleton=SKELETON)
    return dict(images=images, annotations=annotations, categories=[category])
