# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""From annotation files to a report, a metainfo file and two configs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from PIL import Image

from . import metainfo as meta
from .checks import examine
from .configs import Split, baseline_text, guided_text
from .copies import split_images, write_copy
from .findings import Finding, by_severity
from .pictures import compare_pictures, examine_pictures, look_at, same_pictures
from .presets import Machine, Preset, choose
from .read import AnnotationError, Table, read
from .report import histograms, markdown, picture, sample_sheet
from .sides import compare_splits

#: The paper's lambda for guided.py.
LOSS_WEIGHT = "auto"


@dataclass
class Result:
    """What was found and written."""

    out: Path
    tables: dict[str, Table]
    findings: dict[str, list[Finding]]
    preset: Preset
    samples: int
    notes: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)


def new_dataset(
    train: Sequence[Path],
    images: Path,
    name: str,
    out: Path,
    machine: Machine,
    val: Sequence[Path] = (),
    val_images: Path | None = None,
    val_share: float = 0.1,
    decode: bool = False,
    fix: bool = False,
    guide: str = "supervision",
    category: str | None = None,
    metainfo: str | None = None,
    seed: int = 0,
    **wanted,
) -> Result:
    """Check annotations and write ``report.md``, ``report.png``, ``metainfo.py`` and two configs.

    Args:
        train: COCO-style JSON files of the training split.
        images: Folder that their file names are relative to.
        name: Name of the data set.
        out: Folder to write to; it is made.
        machine: What it will be trained on.
        val: Files of the validation split.
        val_images: Folder of the validation pictures, where it is another one.
        val_share: Without ``val``: the part of the images that becomes the validation split.
        decode: Whether to decode every picture.
        fix: Whether to write mended copies and to train on those.
        guide: Key of ``GUIDES``.
        category: Name of the category to read.
        metainfo: Name of a data set of MMPose, or path of a metainfo file, whose names to take.
        seed: Chooses the validation images and the drawn samples.
        **wanted: See :func:`~sgpose.analysis.new_dataset.presets.choose`.

    Raises:
        AnnotationError: If a file cannot be read as COCO keypoints, or nothing can be trained on.
    """
    for folder in (images, val_images):
        if folder is not None and not folder.is_dir():
            raise AnnotationError(f"the folder of the pictures, {folder}, does not exist")
    roots = {"train": images, "val": val_images or images}
    given = {"train": read(train, category)}
    if val:
        given["val"] = read(val, category)
        if given["val"].names != given["train"].names:
            raise AnnotationError(
                f"{val[0]} and {train[0]} have different keypoints: "
                f"{', '.join(given['val'].names)} and {', '.join(given['train'].names)}"
            )
    info = _metainfo_of(metainfo, len(given["train"].names)) if metainfo else None
    if info:
        names = tuple(info["keypoint_info"][k]["name"] for k in sorted(info["keypoint_info"]))
        given = {s: replace(t, names=names, named=True) for s, t in given.items()}

    findings, mended, seen = {}, {}, []
    for split, table in given.items():
        pictures = look_at(table, roots[split], decode, seed)
        found, better = examine(table, pictures.sizes)
        more, better = examine_pictures(better, pictures, roots[split])
        findings[split], mended[split] = by_severity([*more, *found]), better
        seen.append((split, table, pictures))
    same = same_pictures(seen, decode)
    across = compare_pictures(seen, same)

    notes = [f"train: {', '.join(map(str, train))}"]
    notes += [f"val: {', '.join(map(str, val))}"] if val else []
    notes.append(f"pictures: {images}" + (f"; of val: {val_images}" if val_images else ""))
    if val:
        across = compare_splits(mended["train"], mended["val"]) + across
        findings["train and val"] = across
    else:
        findings = {"all": by_severity(findings["train"] + across)}
        chosen = split_images(given["train"], val_share, [[m for _, m in g] for g in same], seed)
        notes.append(f"{chosen.sum()} of {len(chosen)} images, drawn at random, are the val split")
        rows = given["train"].image_rows[chosen]
        given, mended = _split(given["train"], rows), _split(mended["train"], rows)
    tables = mended if fix else given
    out.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, table in tables.items():
        files = train if split == "train" or not val else val
        if fix or not val or len(files) > 1 or table.skipped:
            path = out / "annotations" / f"{split}.json"
            write_copy(table, path, mended=fix)
            notes.append(f"{split} is read from {path}" + (", where mended" if fix else ""))
            ann_file = f"{{{{ fileDirname }}}}/annotations/{split}.json"
        else:
            ann_file = files[0].resolve().as_posix()
        samples = int(mended[split].usable.sum())
        pictures_of = roots[split].resolve().as_posix().rstrip("/") + "/"
        splits[split] = Split(ann_file, pictures_of, samples)
    if not splits["train"].samples:
        raise AnnotationError(
            f"{train[0]}: no annotation is left to train on. " + _first_errors(findings)
        )
    info, flip, whose, remarks = _make_metainfo(name, mended["train"], info)
    notes += remarks
    preset = choose(mended["train"], flip, machine, areas=given["train"], **wanted)
    count = len(given["train"].names)
    text = baseline_text(name, count, preset, splits["train"], splits["val"])
    (out / "baseline.py").write_text(text, encoding="utf-8")
    (out / "guided.py").write_text(guided_text(name, preset, guide, LOSS_WEIGHT), encoding="utf-8")
    comment = f"{name}: names, sides and skeleton of the keypoints. Yours to correct.\n"
    comment += "swap: the keypoint on the other side, which mirroring exchanges; empty for none.\n"
    comment += "sigmas: how exact labels are, which COCO's AP needs. "
    (out / "metainfo.py").write_text(meta.metainfo_text(info, comment + whose), encoding="utf-8")
    result = Result(out, tables, findings, preset, splits["train"].samples, notes)
    result.commands = next_commands(out, name, machine)
    (out / "report.md").write_text(
        markdown(name, tables, findings, notes, preset.reasons, result.commands), encoding="utf-8"
    )
    parsed = parse_pose_metainfo(info)
    sheets = []
    for split, table in mended.items():
        found = [f for s in (split, "all") for f in findings.get(s, []) if f.of == "annotation"]
        ids = {i for f in found for i in f.ids}
        flagged = {n for n in range(len(table)) if table.label(n) in ids}
        sheet = sample_sheet(table, roots[split], parsed, f"{name}, {split}", flagged, seed=seed)
        sheets += [sheet] if sheet is not None else []
    width = max((sheet.shape[1] for sheet in sheets), default=1200)
    Image.fromarray(picture([*sheets, histograms(mended, width)])).save(out / "report.png")
    return result


def _split(table: Table, val_rows: np.ndarray) -> dict[str, Table]:
    """Train and val, by the places of val's images in their files."""
    rows = set(map(tuple, val_rows.tolist()))
    val = np.array([tuple(row) in rows for row in table.image_rows.tolist()], bool)
    return {"train": table.take(~val, lost=True), "val": table.take(val)}


def _first_errors(findings: dict[str, list[Finding]]) -> str:
    errors = [f for found in findings.values() for f in found if f.severity == "error"]
    return "; ".join(f"{f.text} ({f.todo})" for f in errors[:3])


def _metainfo_of(name: str, count: int) -> dict:
    """The ``dataset_info`` of a file, or of MMPose's data set of a name."""
    path = Path(name)
    if not path.is_file():
        path = meta.mmpose_datasets() / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.py")))
        raise AnnotationError(
            f"--metainfo {name}: no such file, and no data set of MMPose: {known}"
        )
    info = Config.fromfile(path).dataset_info.to_dict()
    if len(info["keypoint_info"]) != count:
        raise AnnotationError(
            f"--metainfo {name} names {len(info['keypoint_info'])} keypoints, the annotations "
            f"have {count}"
        )
    if len(info["sigmas"]) != count:
        info["sigmas"] = [meta.EQUAL_SIGMA] * count
    return info


def _make_metainfo(name: str, table: Table, info: dict | None) -> tuple[dict, bool, str, list[str]]:
    """``dataset_info``, whether samples may be mirrored, whose sigmas, and notes for the user."""
    if info:
        return dict(info, dataset_name=name), True, "They are the given metainfo's.", []
    names = meta.unique(table.names)
    swaps, notes, flip = meta.swap_indices(names), [], True
    pairs = sum(k < other for k, other in enumerate(swaps))
    if pairs:
        notes.append(f"{pairs} pairs of left and right, from the names")
    else:
        rows = table.usable & (table.boxes[:, 2:] > 0).all(axis=1)
        boxes = table.boxes[rows]
        shapes = (table.keypoints[rows, :, :2] - boxes[:, None, :2]) / boxes[:, None, 2:]
        found = meta.mirrored_pairs(shapes, table.labelled[rows])
        if found:
            swaps = found
            listed = ", ".join(f"{names[k]} - {names[o]}" for k, o in enumerate(found) if k < o)
            notes.append(
                "no name says left or right; by where they lie, these keypoints mirror each other: "
                f"{listed}. Check this in metainfo.py"
            )
        elif table.named and rows.sum() >= 30:
            notes.append(
                "no name says left or right, and no shape does: a mirrored object is taken for "
                "another object (a left hand for a right one). If that is wrong, write `swap` in "
                "metainfo.py, or take RandomFlip and flip_test out of baseline.py"
            )
        else:
            flip = False
            notes.append(
                "no name says left or right, and there are too few samples to see it: samples are "
                "not mirrored. Write `swap` in metainfo.py and put RandomFlip into baseline.py"
            )
    links, how = meta.skeleton_links(table.skeleton, len(names), swaps)
    if how == "unusable" and meta.like(names):
        links = []  # the known data set's
    info, known = meta.make_metainfo(name, names, links, swaps)
    whose = f"They are those of MMPose's {known}, which has the same names."
    if not known:
        whose = "Equal ones, since these names are not known: compare AP only with yourself."
    notes.append(f"sigmas: {whose}")
    return info, flip, whose, notes


def next_commands(out: Path, name: str, machine: Machine) -> list[tuple[str, str]]:
    """What to do next: (what for, command)."""
    folder, gpus = shlex.quote(str(out)), 1 if machine.gpu else 0
    work = shlex.quote(f"work_dirs/{name}")
    return [
        (
            "Look at the targets (each heatmap on its keypoint, L and R on the right sides)",
            f"mim run sgpose browse_targets {folder}/guided.py --out {folder}/targets.png",
        ),
        (
            "Train the guided model",
            f"mim train sgpose {folder}/guided.py --gpus {gpus} --work-dir {work}/guided",
        ),
        (
            "Train both and compare: whether the masks help depends on the data",
            f"mim run sgpose compare {folder}/baseline.py {folder}/guided.py --seeds 0 1 2 "
            f"--out {work}/compare",
        ),
    ]
