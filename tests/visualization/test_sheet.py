# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest

from sgpose.visualization.sheet import Cell, _cut, contact_sheet, font, label


def picture(seed, shape=(40, 30, 3)):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def test_every_picture_is_at_its_place():
    rows = [[Cell(picture(0), "a"), None], [Cell(picture(1)), Cell(picture(2), "much too long")]]
    sheet, places = contact_sheet(
        rows, "a title", "a note that is wrapped", ["x", "x"], ["first", "second row"]
    )
    assert places.shape == (2, 2, 4)
    for row, row_places in zip(rows, places):
        for cell, (x0, y0, x1, y1) in zip(row, row_places):
            part = sheet[y0:y1, x0:x1]
            if cell is None:
                assert (part == 255).all()
            else:
                np.testing.assert_array_equal(part, cell.image)
    (top, bottom) = places[:, 0]
    assert (sheet[top[3] : bottom[1], top[0] : top[2]] < 100).any(), "the caption is missing"
    assert (sheet[:, : top[0]] < 100).any(), "the rows' names are missing"
    plain, _ = contact_sheet(rows)
    assert sheet.shape[0] > plain.shape[0] and sheet.shape[1] > plain.shape[1]


def test_groups_of_columns_stand_apart():
    rows = [[Cell(picture(i)) for i in range(4)]]
    _, ((a, b, c, d),) = contact_sheet(rows, columns=["one", "one", "two", "two"])
    assert c[0] - b[2] > b[0] - a[2] == d[0] - c[2]


def test_pictures_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="one size"):
        contact_sheet([[Cell(picture(0)), Cell(picture(1, (41, 30, 3)))]])
    with pytest.raises(ValueError, match="none"):
        contact_sheet([[None]])


def test_a_label_changes_the_corner_alone():
    image = picture(0, (200, 300, 3))
    labelled = label(image, "guide 1/4")
    assert (labelled[:20, :60] != image[:20, :60]).any()
    np.testing.assert_array_equal(labelled[40:], image[40:])
    np.testing.assert_array_equal(labelled[:, 150:], image[:, 150:])


def test_a_caption_is_cut_to_its_picture():
    wide = font(14).getlength("0.85 of 1")
    assert _cut("0.85 of 1", 14, int(wide) + 1) == "0.85 of 1"
    shorter = _cut("0.85 of 1", 14, int(wide) - 1)
    assert shorter.endswith("…") and font(14).getlength(shorter) <= wide - 1
    assert "0.85 of 1".startswith(shorter[:-1]) and len(shorter) > 4
    assert [_cut("0.85", 14, width) for width in (12, 1, 0)] == [_cut("0.85", 14, 12), "", ""]
    assert font(14).getlength(_cut("0.85", 14, 12)) <= 12
