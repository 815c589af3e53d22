# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Show the hardest, the median and the best samples of a test set, for one model or several.

Writes gallery.png and gallery.html: the ground truth, each model's pose with its score (OKS or PCK
of that sample) and beneath the maps of the guides. Samples are ordered by the models' mean score.
Predictions are kept in OUT/cache: run again after an interruption, or with another --num or
--score, it goes on with what is there. Any other dataset: --cfg-options test_dataloader....
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmpose.apis.inference import dataset_meta_from_config
from PIL import Image

import sgpose  # noqa: F401
from sgpose.analysis.gallery import (
    Predicted,
    evaluator_of,
    gallery_page,
    gallery_sheet,
    hardest_first,
    is_labelled,
    pick,
    sample_error,
    sample_oks,
    sample_pck,
    sample_pictures,
)
from sgpose.analysis.predictions import kept_predictions


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
        ValueError: If the test sets differ or hold too few samples.
    """
    evaluator = evaluator_of(models[0][0])
    metainfo = dataset_meta_from_config(models[0][0], "test")
    score = score or ("oks" if "Coco" in evaluator.type else "pck")
    cache = out / "cache"
    predicted = []
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


GROUP_TITLE = ("Hardest", "median", "best")


def name_of(cfg: Config, taken: list[str]) -> str:
    """Name a model after its backbone, with a number if that name is taken."""
    name = cfg.model.backbone.type
    return name if name not in taken else f"{name} {len(taken) + 1}"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument(
        "--also",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "CHECKPOINT"),
        help="another model on the same test set, beside the first; may be repeated",
    )
    parser.add_argument("--names", nargs="+", help="the models' names (default: their backbones')")
    parser.add_argument("--out", type=Path, default=Path("gallery"), help="folder")
    parser.add_argument("--num", type=int, default=3, help="samples per group (default: 3)")
    parser.add_argument("--score", choices=("oks", "pck"), help="default: the config's metric")
    parser.add_argument("--height", type=int, default=192, help="of a picture in pixels")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    if args.names and len(args.names) != 1 + len(args.also):
        parser.error(f"--names: {1 + len(args.also)} models need as many names, got {args.names}")
    return args


def main() -> None:
    args = parse_args()
    models: list[tuple[Config, str, str]] = []
    for number, (path, checkpoint) in enumerate([(args.config, args.checkpoint), *args.also]):
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(args.cfg_options)
        name = args.names[number] if args.names else name_of(cfg, [m[2] for m in models])
        models.append((cfg, checkpoint, name))
    try:
        gallery(models, args.out, args.num, args.score, args.height)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"gallery: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(
            f"gallery: interrupted; run again to go on from {args.out}/cache"
        ) from None
    print(f"{args.out / 'gallery.png'} and {args.out / 'gallery.html'}")


if __name__ == "__main__":
    main()
