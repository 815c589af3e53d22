# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What was found, as Markdown, as lines for a terminal, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageOps

from ...visualization.sheet import PAPER, Cell, contact_sheet
from ..target_sheet import draw_sides
from .findings import HEADS, SEVERITIES, Finding
from .read import Table
from .sides import facing_share, side_offsets

SHOWN_IDS = 20
ACROSS = 6
SHOWN_NAMES = 40


def counts(table: Table) -> dict[str, str]:
    """What there is, by name."""
    rows = table.usable
    per_image = np.bincount(table.image[rows & (table.image >= 0)], minlength=len(table.image_ids))
    sides = table.boxes[rows, 2:].max(axis=1, initial=0)
    sides = sides[np.isfinite(sides)]
    labelled = table.labelled[rows].sum(axis=1).tolist()
    low, middle, high = np.percentile(sides, (5, 50, 95)) if len(sides) else (0, 0, 0)
    facing, judged = facing_share(side_offsets(table)[rows]) if rows.any() else (0, 0)
    return {
        "images": f"{len(table.image_ids)}, {int((per_image > 0).sum())} with labelled objects",
        "annotations": f"{len(table)}, {int(rows.sum())} of them to train on "
        f"({int((~table.labelled.any(axis=1)).sum())} without a labelled keypoint, "
        f"{int((table.crowd == 1).sum())} crowds)",
        "keypoints labelled": f"{np.mean(labelled or [0]):.1f} of {len(table.names)}",
        "longer side of the boxes": f"{middle:.0f} pixels (5 % below {low:.0f}, "
        f"5 % above {high:.0f})",
        "left keypoints right of right ones": f"{facing:.0%} of {judged}" if judged else "no sides",
    }


def finding_lines(finding: Finding, width: int = SHOWN_IDS) -> str:
    """The ids of a finding, cut to some."""
    ids = ", ".join(map(str, finding.ids[:width]))
    more = len(finding.ids) - width
    return f"{finding.of} {ids}" + (f" and {more} more" if more > 0 else "")


def terminal_text(findings: Mapping[str, Sequence[Finding]]) -> str:
    """All findings of all splits as plain lines, errors first."""
    lines = []
    for severity in SEVERITIES:
        chosen = [(s, f) for s, found in findings.items() for f in found if f.severity == severity]
        if chosen:
            lines.append(f"\n{HEADS[severity]}")
        for split, finding in chosen:
            number = f" ({len(finding.ids)})" if finding.ids else ""
            lines.append(f"  {split}: {finding.text} [{finding.code}]{number}")
            if finding.ids:
                lines.append(f"      {finding_lines(finding, 6)}")
            lines.append(f"      -> {finding.todo}")
    return "\n".join(lines) if lines else "\nNothing wrong was found."


def markdown(
    name: str,
    tables: dict[str, Table],
    findings: Mapping[str, Sequence[Finding]],
    notes: Sequence[str],
    choices: Sequence[str],
    commands: Sequence[tuple[str, str]],
) -> str:
    """The report.

    Args:
        name: Name of the data set.
        tables: Split -> its annotations.
        findings: Split, or "train and val" -> what was found.
        notes: What was read and written.
        choices: Why the configs are what they are.
        commands: What to do next: (what for, command).
    """
    lines = [f"# {name}", ""]
    some = {s: f for s, found in findings.items() for f in [found] if found}
    errors = sum(f.severity == "error" for found in findings.values() for f in found)
    warnings = sum(f.severity == "warning" for found in findings.values() for f in found)
    lines += [f"{errors} errors, {warnings} warnings. Picture: [report.png](report.png).", ""]
    per_split = {split: counts(table) for split, table in tables.items()}
    lines += ["| | " + " | ".join(per_split) + " |", "|---" * (len(per_split) + 1) + "|"]
    for row in next(iter(per_split.values())):
        lines.append(f"| {row} | " + " | ".join(c[row] for c in per_split.values()) + " |")
    lines += [""] + [f"- {note}" for note in notes] + [""]
    for severity in SEVERITIES:
        chosen = [(s, f) for s, found in some.items() for f in found if f.severity == severity]
        if chosen:
            lines += [
                f"## {HEADS[severity]}",
                "",
                "| split | what | which | what to do |",
                "|---|---|---|---|",
            ]
        for split, f in chosen:
            which = f"{len(f.ids)}: {finding_lines(f)}" if f.ids else ""
            cells = (split, f"{f.text} (`{f.code}`)", which, f.todo)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines += [""] if chosen else []
    if not some:
        lines += ["Nothing wrong was found.", ""]
    lines += [
        "## Keypoints",
        "",
        "| keypoint | " + " | ".join(f"labelled in {s}" for s in tables) + " |",
    ]
    lines.append("|---" * (len(tables) + 1) + "|")
    shares = [labelled_share(table) for table in tables.values()]
    for k, keypoint in enumerate(next(iter(tables.values())).names):
        lines.append(f"| {keypoint} | " + " | ".join(f"{share[k]:.0%}" for share in shares) + " |")
    lines += ["", "## The configs", "", *[f"- {choice}" for choice in choices], "", "## Next", ""]
    for why, command in commands:
        lines += [f"{why}:", "", "```bash", command, "```", ""]
    return "\n".join(lines)


def labelled_share(table: Table) -> np.ndarray:
    """(K,) part of the persons to train on in which each keypoint is labelled."""
    rows = table.usable
    return table.labelled[rows].mean(axis=0) if rows.any() else np.zeros(len(table.names))


def sample_sheet(
    table: Table,
    root: Path,
    metainfo: dict,
    title: str,
    flagged: set[int],
    num: int = 12,
    seed: int = 0,
    side: int = 240,
) -> np.ndarray | None:
    """Draw random samples with box, skeleton and sides; some of those with findings come first.

    Args:
        table: One split's annotations.
        root: Folder of the pictures.
        metainfo: As MMPose parses it.
        title: Line above the sheet.
        flagged: Rows of the table that a finding names.
        num: Number of samples.
        seed: Chooses them.
        side: Height and width of a picture in pixels.

    Returns:
        (H, W, 3) RGB uint8, or None where no picture can be read.
    """
    order = np.random.default_rng(seed).permutation(np.flatnonzero(table.usable))
    first = [n for n in order if n in flagged][: num // 3]
    cells: list[Cell | None] = []
    for n in [*first, *[n for n in order if n not in first]]:
        path = root / table.image_files[table.image[n]] if table.image[n] >= 0 else None
        if len(cells) == num or path is None or not path.is_file():
            if len(cells) == num:
                break
            continue
        try:
            with Image.open(path) as picture:
                image = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except OSError:
            continue
        mark = " !" if n in flagged else ""
        cells.append(Cell(_person(table, n, image, metainfo, side), f"{table.ids[n]}{mark}"))
    if not cells:
        return None
    cells += [None] * (-len(cells) % ACROSS)
    rows = [cells[i : i + ACROSS] for i in range(0, len(cells), ACROSS)]
    note = (
        "Yellow: the box. L, blue and R, orange: the object's own left and right (1 and 2: sides "
    )
    note += "that no name tells). Below: the annotation's id, ! where a finding names it."
    return contact_sheet(rows, title=title, note=note)[0]


def _person(table: Table, n: int, image: np.ndarray, metainfo: dict, side: int) -> np.ndarray:
    """The surroundings of one annotation, as a square picture."""
    x, y, width, height = table.boxes[n]
    points = table.keypoints[n, table.labelled[n], :2]
    if not (np.isfinite(table.boxes[n]).all() and width > 0 and height > 0):
        (x, y), (right, bottom) = points.min(axis=0), points.max(axis=0)
        width, height = right - x, bottom - y
    edge = max(1.4 * max(width, height), 16)
    centre = np.array([x + width / 2, y + height / 2])
    zoom = side / edge
    matrix = np.array(
        [[zoom, 0, side / 2 - zoom * centre[0]], [0, zoom, side / 2 - zoom * centre[1]]]
    )
    flags = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    if zoom < 0.5:  # warpAffine does not average
        factor = 2 * zoom
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        matrix = matrix.copy()
        matrix[:, :2] /= factor
        flags = cv2.INTER_LINEAR
    crop = cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (side, side), flags=flags, borderValue=(128, 128, 128)
    )
    keypoints = zoom * (table.keypoints[None, n, :, :2] - centre) + side / 2
    crop = draw_sides(crop, keypoints, table.labelled[None, n].astype(float), metainfo)
    canvas = Image.fromarray(crop)
    corners = zoom * (np.array([[x, y], [x + width, y + height]]) - centre) + side / 2
    ImageDraw.Draw(canvas).rectangle(corners.ravel().tolist(), outline=(255, 255, 0), width=2)
    return np.asarray(canvas)


def histograms(tables: dict[str, Table], width: int) -> np.ndarray:
    """Objects per image, sizes and shapes of boxes, labelled share per keypoint of each split."""
    names = next(iter(tables.values())).names
    figure = Figure(figsize=(max(width, 900) / 100, 6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["persons", "size", "shape"], ["share", "share", "share"]])
    measured = {split: _measured(table) for split, table in tables.items()}
    longest = np.concatenate([longer for _, longer, _ in measured.values()])
    edges = np.geomspace(max(1, longest.min(initial=1e9) - 1), longest.max(initial=2) + 1, 30)
    most = max(per_image.max(initial=1) for per_image, _, _ in measured.values())
    persons = np.arange(0.5, min(most, 30) + 1.5)
    for i, (split, table) in enumerate(tables.items()):
        per_image, longer, ratio = measured[split]
        style: dict = dict(alpha=0.6, label=split)
        axes["persons"].hist(np.minimum(per_image, 30), bins=persons.tolist(), **style)
        axes["size"].hist(longer, bins=edges.tolist(), **style)
        axes["shape"].hist(ratio, bins=np.geomspace(0.25, 4, 25).tolist(), **style)
        places = (
            np.arange(len(names)) + 0.8 * (i - 0.5) / 2 if len(tables) > 1 else range(len(names))
        )
        axes["share"].bar(places, labelled_share(table), width=0.8 / len(tables), **style)
    for key, title in (
        ("persons", "labelled objects per image"),
        ("size", "longer side of the boxes (pixels)"),
        ("shape", "width / height of the boxes"),
        ("share", "part of the objects in which each keypoint is labelled"),
    ):
        axes[key].set_title(title, fontsize=10)
        axes[key].spines[["top", "right"]].set_visible(False)
    for key in ("size", "shape"):
        axes[key].set_xscale("log")
        axes[key].xaxis.set_major_formatter("{x:g}")
        axes[key].minorticks_off()
    axes["persons"].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes["shape"].set_xticks([0.25, 0.5, 1, 2, 4])
    axes["share"].set_ylim(0, 1)
    step = -(-len(names) // SHOWN_NAMES)
    axes["share"].set_xticks(
        range(0, len(names), step), names[::step], rotation=60, ha="right", fontsize=8
    )
    axes["persons"].legend(frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _measured(table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects in each image that has some; longer side and width over height of boxes."""
    rows = table.usable
    per_image = np.bincount(table.image[rows & (table.image >= 0)], minlength=1)
    boxes = table.boxes[rows]
    boxes = boxes[np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)]
    ratio = np.clip(boxes[:, 2] / boxes[:, 3], 0.25, 4)
    return per_image[per_image > 0], boxes[:, 2:].max(axis=1, initial=0), ratio


def picture(sheets: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures under each other on white."""
    width = max(sheet.shape[1] for sheet in sheets)
    whole = Image.new("RGB", (width, sum(sheet.shape[0] for sheet in sheets)), PAPER)
    y = 0
    for sheet in sheets:
        whole.paste(Image.fromarray(sheet), (0, y))
        y += sheet.shape[0]
    return np.asarray(whole)
