# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Captions and contact sheets. Images are RGB uint8 (H, W, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)
GAP = 6


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet and the line under it."""

    image: np.ndarray
    caption: str = ""


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings along, in pixels."""
    properties = font_manager.FontProperties(
        family="DejaVu Sans", weight="bold" if bold else "normal"
    )
    return ImageFont.truetype(font_manager.findfont(properties), size)


def label(image: np.ndarray, text: str) -> np.ndarray:
    """Write a line into the upper left corner of an image, white on black."""
    size = int(np.clip(image.shape[0] / 18, 9, 28))
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    left, top, right, bottom = draw.textbbox((size // 2, size // 3), text, font=font(size))
    pad = size // 3
    draw.rectangle((left - pad, top - pad, right + pad, bottom + pad), fill=(0, 0, 0))
    draw.text((size // 2, size // 3), text, font=font(size), fill=(255, 255, 255))
    return np.asarray(canvas)


def contact_sheet(
    rows: Sequence[Sequence[Cell | None]],
    title: str = "",
    note: str = "",
    columns: Sequence[str] = (),
    names: Sequence[str] = (),
    text: int = 14,
) -> tuple[np.ndarray, np.ndarray]:
    """Lay pictures of one size out in a grid on white.

    Args:
        rows: R rows of up to C cells; None leaves a place empty.
        title: Line above the sheet, wrapped to its width.
        note: Smaller lines below the title, likewise.
        columns: C headings of the columns. A heading that repeats the one before is not repeated
            but goes on over it, and a wider gap comes before each new one of a repeated heading.
        names: R names of the rows, at their left.
        text: Height of the captions in pixels.

    Returns:
        The sheet, and (R, C, 4), the place (x0, y0, x1, y1) of each cell's picture in it.

    Raises:
        ValueError: If there is no picture or not all are of one size.
    """
    sizes = {cell.image.shape[:2] for row in rows for cell in row if cell}
    if len(sizes) != 1:
        raise ValueError(f"a sheet needs pictures of one size, got {sorted(sizes) or 'none'}")
    ((height, width),) = sizes
    line = round(1.4 * text)
    count = max(len(row) for row in rows)
    columns = [*columns, *[""] * (count - len(columns))]
    captions = [line if any(cell and cell.caption for cell in row) else 0 for row in rows]
    left = GAP + max((round(font(text, True).getlength(n)) + GAP for n in names), default=0)

    runs = _runs(columns)
    grouped = any(stop - start > 1 for start, stop in runs if columns[start])
    starts = {start for start, _ in runs[1:]}
    xs = [left]
    for j in range(1, count):
        xs.append(xs[-1] + width + GAP + (3 * GAP if grouped and j in starts else 0))
    sheet_width = xs[-1] + width + GAP

    lines = [(part, text + 4, True, INK) for part in _wrap(title, text + 4, sheet_width, True)]
    lines += [(part, text, False, FAINT) for part in _wrap(note, text, sheet_width, False)]
    top = GAP + sum(round(1.4 * size) for _, size, _, _ in lines)
    heads = top + (GAP if lines else 0)
    ys = [heads + (line if any(columns) else 0)]
    for caption in captions[:-1]:
        ys.append(ys[-1] + height + caption + GAP)

    sheet = Image.new("RGB", (sheet_width, ys[-1] + height + captions[-1] + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = GAP
    for part, size, bold, colour in lines:
        draw.text((GAP, y), part, font=font(size, bold), fill=colour)
        y += round(1.4 * size)
    for start, stop in runs:
        middle = (xs[start] + xs[stop - 1] + width) / 2
        draw.text((middle, heads), columns[start], font=font(text, True), fill=INK, anchor="ma")
    for i, name in enumerate(names):
        place = (left - GAP, ys[i] + height / 2)
        draw.text(place, name, font=font(text, True), fill=INK, anchor="rm")
    places = np.array([[(x, y, x + width, y + height) for x in xs] for y in ys])
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            if cell:
                sheet.paste(Image.fromarray(cell.image), (xs[j], ys[i]))
                below = (xs[j] + width / 2, ys[i] + height + 1)
                draw.text(
                    below, _cut(cell.caption, text, width), font=font(text), fill=INK, anchor="ma"
                )
    return np.asarray(sheet), places


def _runs(names: Sequence[str]) -> list[tuple[int, int]]:
    """First and past-the-last index of each run of equal names; empty ones stand alone."""
    bounds = [j for j in range(len(names)) if j == 0 or not names[j] or names[j] != names[j - 1]]
    return list(zip(bounds, [*bounds[1:], len(names)]))


def _wrap(text: str, size: int, width: int, bold: bool) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font(size, bold).getlength(longer) <= width - 2 * GAP:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _cut(text: str, size: int, width: int) -> str:
    """Shorten a line to a width; nothing is left where not even the ellipsis has room."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text and text + "…"
