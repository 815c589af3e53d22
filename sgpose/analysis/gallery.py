# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The hardest, median and best samples of a test set (paper, figure 4, doi 10.18280/ts.410522).

Images are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

import base64
import copy
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpose.evaluation.functional import keypoint_nme
from mmpose.evaluation.metrics import PCKAccuracy
from mmpose.models.task_modules.assigners import PoseOKS
from mmpose.registry import DATASETS, METRICS
from mmpose.structures.bbox import get_warp_matrix
from PIL import Image

from ..visualization.attention import map_in_crop, paint_map
from ..visualization.sg_local_visualizer import SGLocalVisualizer
from ..visualization.sheet import Cell, contact_sheet
from .data_sets import check_sigmas, use_annotated_boxes
from .predictions import kept_predictions

GROUPS = ("hardest", "median", "best")
GROUP_TITLE = ("Hardest", "median", "best")


def sample_pck(sample: dict, evaluator: dict) -> float:
    """PCK of one sample, as MMPose's ``PCKAccuracy`` computes it.

    Args:
        sample: With ``pred_instances`` and ``gt_instances``.
        evaluator: Config of a metric. Threshold and norm are its own if it is one of MMPose's PCK
            metrics, else 0.05 of the longer side of the box.

    Returns:
        Share of the visible keypoints found, in [0, 1].
    """
    metric = METRICS.get(evaluator["type"])
    settings = {}
    if issubclass(metric, PCKAccuracy):
        built = METRICS.build(evaluator)
        settings = dict(thr=built.thr, norm_item=built.norm_item[0])
    pck = PCKAccuracy(**settings)
    pck.process([], [sample])
    (value,) = pck.compute_metrics(pck.results).values()
    return float(value)


def sample_oks(sample: dict, sigmas: Sequence[float]) -> float:
    """Object keypoint similarity of one sample with its ground truth, by MMPose's ``PoseOKS``.

    Args:
        sample: With ``pred_instances``, ``gt_instances`` and, where there is an annotated area, it
            in ``raw_ann_info``; else the area is 0.53 of the box, as in COCO's evaluation.
        sigmas: (K,) of the dataset's metainfo.

    Returns:
        In [0, 1].
    """
    truth = sample["gt_instances"]
    x0, y0, x1, y1 = np.asarray(truth["bboxes"])[0]
    raw = sample.get("raw_ann_info") or {}
    area = raw.get("area") or 0.53 * (x1 - x0) * (y1 - y0)
    oks = PoseOKS(metainfo=None)
    oks.sigmas = torch.as_tensor(sigmas, dtype=torch.float64)
    predicted = np.asarray(sample["pred_instances"]["keypoints"])[0, :, :2]
    value = oks(
        torch.from_numpy(predicted.astype(float)),
        torch.from_numpy(np.asarray(truth["keypoints"])[0, :, :2].astype(float)),
        torch.from_numpy(_visible(sample).astype(float)),
        torch.tensor([area], dtype=torch.float64),
    )
    return float(value)


def sample_error(sample: dict) -> float:
    """Mean distance of the visible keypoints from the truth, in longer sides of the box."""
    truth = sample["gt_instances"]
    x0, y0, x1, y1 = np.asarray(truth["bboxes"])[0]
    return float(
        keypoint_nme(
            np.asarray(sample["pred_instances"]["keypoints"])[:1, :, :2],
            np.asarray(truth["keypoints"])[:1, :, :2],
            _visible(sample)[None],
            np.full((1, 2), max(x1 - x0, y1 - y0)),
        )
    )


def hardest_first(scores: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Order samples from the hardest to the best.

    Args:
        scores: (M, N) scores of N samples by M models, larger is better. Samples are ordered by the
            mean over models, so that no model is shown where it alone did badly or well.
        errors: (M, N) distances that decide among samples of one score, smaller is better.

    Returns:
        (N,) indices.
    """
    return np.lexsort((-np.mean(errors, axis=0), np.mean(scores, axis=0)))


def pick(order: np.ndarray, num: int) -> dict[str, list[int]]:
    """Take ``num`` samples each from both ends and the middle of an order.

    Raises:
        ValueError: If there are fewer than 3 * num.
    """
    if num < 1 or len(order) < 3 * num:
        raise ValueError(
            f"{num} samples each of {', '.join(GROUPS)} need at least {3 * max(num, 1)} samples "
            f"with visible keypoints, there are {len(order)}: take a smaller number, at least 1"
        )
    middle = (len(order) - num) // 2
    parts = (order[:num], order[middle : middle + num], order[::-1][:num])
    return {group: part.tolist() for group, part in zip(GROUPS, parts)}


@dataclass(frozen=True)
class Predicted:
    """A model's predictions.

    Attributes:
        name: What the pictures call the model.
        samples: N samples, see ``predictions.kept_predictions``.
        scores: (N,) OKS or PCK.
    """

    name: str
    samples: list[dict]
    scores: np.ndarray


def sample_pictures(
    models: Sequence[Predicted], index: int, metainfo: dict, height: int
) -> dict[str, Cell]:
    """Draw one sample: row title -> picture of the first model's crop, ``height`` pixels high.

    First "ground truth", then each model's pose with its score, then for each model with guides
    the map of each guide.
    """
    first = models[0].samples[index]
    center = np.asarray(first["input_center"], float).reshape(2)
    scale = np.asarray(first["input_scale"], float).reshape(2)
    size = (round(height * scale[0] / scale[1]), height)
    warp = get_warp_matrix(center, scale, 0, output_size=size)
    image = cv2.imread(first["img_path"])
    if image is None:
        raise FileNotFoundError(f"the image {first['img_path']} cannot be read")
    crop = cv2.warpAffine(image[..., ::-1], warp, size, flags=cv2.INTER_AREA)
    painter = SGLocalVisualizer(name="gallery", line_width=2, radius=3)
    painter.set_dataset_meta(metainfo)

    def pose(keypoints, visible=None):
        points = np.asarray(keypoints)[:1, :, :2] @ warp[:, :2].T + warp[:, 2]
        return painter.draw_pose(crop, points, visible)

    truth = first["gt_instances"]["keypoints"]
    pictures = {"ground truth": Cell(pose(truth, _visible(first)[None]))}
    for model in models:
        drawn = pose(model.samples[index]["pred_instances"]["keypoints"])
        pictures[model.name] = Cell(drawn, f"{model.scores[index]:.2f}")
    guided = [m for m in models if "guide_maps" in m.samples[index]["pred_instances"]]
    for model in guided:
        maps = model.samples[index]["pred_instances"]["guide_maps"][0]
        for number, values in enumerate(maps, 1):
            of = f" of {model.name}" if len(guided) > 1 else ""
            step = np.divide(size, values.shape[::-1])
            enlarged = map_in_crop(values, size, step, cv2.INTER_LINEAR)
            pictures[f"guide {number}{of}"] = Cell(paint_map(crop, enlarged))
    return pictures


def gallery_sheet(
    pictures: dict[str, list[dict[str, Cell]]], title: str, note: str
) -> tuple[np.ndarray, np.ndarray]:
    """Lay a gallery out: a column per sample, grouped; a row each for truth, models and guides.

    Args:
        pictures: Group -> its samples, each as :func:`sample_pictures` returns it.
        title: The sheet's title.
        note: What stands below it.

    Returns:
        See :func:`contact_sheet`.
    """
    columns = [(group, sample) for group, samples in pictures.items() for sample in samples]
    names = list(columns[0][1])
    widest = max(cell.image.shape[1] for _, sample in columns for cell in sample.values())
    rows = [[_widened(sample[name], widest) for _, sample in columns] for name in names]
    return contact_sheet(rows, title, note, columns=[group for group, _ in columns], names=names)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 sans-serif; margin: 2em; color: #222; }}
.sample {{ display: inline-block; vertical-align: top; margin: 0 2em 2em 0; }}
figure {{ display: inline-block; margin: 0 4px 4px 0; text-align: center; }}
figcaption {{ font-size: 13px; }} .guides img {{ height: {small}px; }}
</style></head><body><h1>{title}</h1><p>{note}</p>
{sections}</body></html>
"""


def gallery_page(
    pictures: dict[str, list[dict[str, Cell]]],
    names: dict[str, list[str]],
    title: str,
    note: str,
) -> str:
    """The gallery as one HTML page that holds its pictures.

    Args:
        pictures: As in :func:`gallery_sheet`.
        names: Group -> the samples' names.
        title: The page's title.
        note: What stands below it.

    Returns:
        HTML. Per sample truth and models side by side, the guides' maps beneath.
    """
    sections = []
    height = 0
    for group, samples in pictures.items():
        parts = []
        for sample, name in zip(samples, names[group]):
            figures = {title: _figure(title, cell) for title, cell in sample.items()}
            height = next(iter(sample.values())).image.shape[0]
            poses = "".join(f for title, f in figures.items() if not title.startswith("guide "))
            guides = "".join(f for title, f in figures.items() if title.startswith("guide "))
            parts.append(
                f'<div class="sample"><div>{html.escape(name)}</div><div>{poses}</div>'
                f'<div class="guides">{guides}</div></div>'
            )
        sections.append(f"<h2>{group}</h2>\n" + "\n".join(parts))
    return PAGE.format(
        title=html.escape(title),
        note=html.escape(note),
        small=round(0.6 * height),
        sections="\n".join(sections),
    )


def gallery(
    models: list[tuple[Config, str, str]], out: Path, num: int, score: str | None, height: int
) -> dict[str, list[int]]:
    """Write the gallery.

    Args:
        models: (config, path of the checkpoint, name) of each model. All have the same test set.
        out: Folder for gallery.png, gallery.html and cache/.
        num: Samples per group, >= 1.
        score: "oks" or "pck". By default OKS if the first config's metric is COCO's, else PCK.
        height: Height of a picture in pixels.

    Returns:
        Group -> the samples' numbers in the test set.

    Raises:
        ValueError: If the test sets differ or hold too few samples, or OKS cannot be computed.
    """
    evaluator = evaluator_of(models[0][0])
    init_default_scope(models[0][0].get("default_scope", "mmpose"))
    dataset = copy.deepcopy(models[0][0].test_dataloader.dataset)
    use_annotated_boxes(dataset)
    metainfo = DATASETS.build(dataset).metainfo
    score = score or ("oks" if "Coco" in evaluator["type"] else "pck")
    if score == "oks":
        check_sigmas(metainfo)
    cache = out / "cache"
    predicted: list[Predicted] = []
    for cfg, checkpoint, name in models:
        samples = kept_predictions(cfg, checkpoint, cache)
        keys = [(s["img_path"], s.get("id")) for s in samples]
        if predicted and keys != [(s["img_path"], s.get("id")) for s in predicted[0].samples]:
            raise ValueError(f"the test set of {name} is not that of {predicted[0].name}")
        predicted.append(Predicted(name, samples, np.full(len(samples), np.nan)))
    labelled = [i for i, sample in enumerate(predicted[0].samples) if is_labelled(sample)]
    MMLogger.get_current_instance().setLevel("WARNING")  # PCKAccuracy logs a line each time
    for model in predicted:
        for i in labelled:
            sample = model.samples[i]
            oks = score == "oks"
            model.scores[i] = (
                sample_oks(sample, metainfo["sigmas"]) if oks else sample_pck(sample, evaluator)
            )
    order = hardest_first(
        np.array([model.scores[labelled] for model in predicted]),
        np.array([[sample_error(model.samples[i]) for i in labelled] for model in predicted]),
    )
    groups = pick(np.array(labelled)[order], num)

    chosen = sorted(set(sum(groups.values(), [])))
    for model, (cfg, checkpoint, _) in zip(predicted, models):
        with_maps = Config(cfg.to_dict())
        with_maps.merge_from_dict({"model.test_cfg.output_heatmaps": True})
        for i, sample in zip(chosen, kept_predictions(with_maps, checkpoint, cache, chosen)):
            model.samples[i] = sample

    pictures = {
        group: [sample_pictures(predicted, i, metainfo, height) for i in members]
        for group, members in groups.items()
    }
    names = {
        group: [f"#{i} {Path(predicted[0].samples[i]['img_path']).name}" for i in members]
        for group, members in groups.items()
    }
    means = ", ".join(f"{m.name} {np.nanmean(m.scores):.3f}" for m in predicted)
    title = f"{', '.join(GROUP_TITLE)} of {len(labelled)} samples by {score.upper()}"
    note = (
        f"Under each pose its {score.upper()}; mean over all samples: {means}. "
        "Guides: black shuts off, bright yellow lets through."
    )
    sheet, _ = gallery_sheet(pictures, title, note)
    Image.fromarray(sheet).save(out / "gallery.png")
    (out / "gallery.html").write_text(gallery_page(pictures, names, title, note), "utf-8")
    return groups


def evaluator_of(cfg: Config) -> dict:
    """The config of the test metric, the first one where there are several."""
    evaluator = cfg.test_evaluator
    return evaluator[0] if isinstance(evaluator, (list, tuple)) else evaluator


def is_labelled(sample: dict) -> bool:
    """Whether any keypoint of the sample's ground truth is visible."""
    return bool(_visible(sample).any())


def _visible(sample: dict) -> np.ndarray:
    """(K,) bool, of the ground truth."""
    visible = np.asarray(sample["gt_instances"]["keypoints_visible"])[0]
    return (visible[:, 0] if visible.ndim == 2 else visible).astype(bool)


def _widened(cell: Cell, width: int) -> Cell:
    missing = width - cell.image.shape[1]
    pad = ((0, 0), (missing // 2, missing - missing // 2), (0, 0))
    return Cell(np.pad(cell.image, pad), cell.caption)


def _figure(title: str, cell: Cell) -> str:
    file = io.BytesIO()
    Image.fromarray(cell.image).save(file, "JPEG", quality=88)
    data = base64.b64encode(file.getvalue()).decode()
    caption = html.escape(f"{title} {cell.caption}".strip())
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
