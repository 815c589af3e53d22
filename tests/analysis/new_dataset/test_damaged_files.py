# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Files with one fault each: it is found, named with its ids, and nothing else is said."""

import json
import shutil

import numpy as np
import pytest
from fabricate import HEIGHT, WIDTH, people
from PIL import Image

from sgpose.analysis.new_dataset import AnnotationError
from sgpose.analysis.new_dataset.checks import examine
from sgpose.analysis.new_dataset.metainfo import skeleton_links
from sgpose.analysis.new_dataset.pictures import (
    compare_pictures,
    examine_pictures,
    look_at,
    same_pictures,
)
from sgpose.analysis.new_dataset.read import read
from sgpose.analysis.new_dataset.report import histograms

COUNT = 40


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    return root, json.dumps(people(root, COUNT))


@pytest.fixture
def set_of(pictures, tmp_path):
    """A folder of pictures and the content of its clean file, free to be damaged."""
    root, content = pictures
    shutil.copytree(root, tmp_path / "images")
    return tmp_path / "images", json.loads(content)


def look(root, content, decode=False):
    """All findings of a content, and the mended table."""
    path = root.parent / "ann.json"
    path.write_text(json.dumps(content) if isinstance(content, dict) else content)
    table = read([path])
    pictures = look_at(table, root, decode)
    found, mended = examine(table, pictures.sizes)
    more, mended = examine_pictures(mended, pictures, root)
    seen = [("all", table, pictures)]
    return [*found, *more, *compare_pictures(seen, same_pictures(seen, decode))], mended


def test_a_clean_file_raises_nothing(set_of):
    root, content = set_of
    findings, mended = look(root, content, decode=True)
    assert findings == []
    given = np.array([a["keypoints"] for a in content["annotations"]]).reshape(COUNT, 7, 3)
    assert (mended.keypoints == given).all()
    assert (mended.boxes == [a["bbox"] for a in content["annotations"]]).all()


def points(annotation) -> np.ndarray:
    return np.reshape(annotation["keypoints"], (7, 3))


def store(annotation, values) -> None:
    annotation["keypoints"] = np.asarray(values, float).ravel().tolist()


def drop(key, *rows):
    def damage(content, root):
        for n in rows or range(COUNT):
            del content["annotations"][n][key]

    return damage


def put(key, value, *rows):
    def damage(content, root):
        for n in rows:
            content["annotations"][n][key] = value

    return damage


def visibility(value, *rows):
    def damage(content, root):
        for n in rows:
            content["annotations"][n]["keypoints"][2] = value

    return damage


def missing_file(content, root):
    (root / content["images"][4]["file_name"]).unlink()


def other_size(content, root):
    content["images"][4]["width"] = 3 * WIDTH


def turned(content, root):
    path = root / content["images"][4]["file_name"]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).convert("RGB").save(path.with_suffix(".jpg"), exif=exif)
    content["images"][4]["file_name"] = path.with_suffix(".jpg").name


def cut_off(content, root):
    path = root / content["images"][4]["file_name"]
    path.write_bytes(path.read_bytes()[:3000])


def keypoint_outside(content, root):
    content["annotations"][4]["keypoints"][:2] = [WIDTH + 30, 20]
    content["annotations"][4]["bbox"] = [10, 10, WIDTH - 10, HEIGHT - 10]
    content["annotations"][4]["keypoints"][1] = 30


def box_outside(content, root):
    x, y, w, h = content["annotations"][4]["bbox"]
    content["annotations"][4]["bbox"] = [x, y, WIDTH, h]


def other_box(content, root):
    content["annotations"][4]["bbox"] = [1, 1, 30, 30]


def corners(content, root):
    for a in content["annotations"]:
        x, y, w, h = a["bbox"]
        a["bbox"] = [x, y, x + w, y + h]


def normalised(content, root):
    for a in content["annotations"]:
        store(a, points(a) / (WIDTH, HEIGHT, 1))
        a["bbox"] = (np.array(a["bbox"]) / (WIDTH, HEIGHT, WIDTH, HEIGHT)).tolist()


def same_picture(content, root):
    shutil.copy(root / content["images"][3]["file_name"], root / content["images"][4]["file_name"])


def same_annotation(content, root):
    content["annotations"].append(dict(content["annotations"][4], id=1000))


def never(content, root):
    for a in content["annotations"]:
        a["keypoints"][-3:] = [0, 0, 0]
        a["num_keypoints"] = 6


def exchanged_folder(content, root):
    for i in range(COUNT // 2):
        name = f"other/{content['images'][i]['file_name']}"
        (root / "other").mkdir(exist_ok=True)
        shutil.move(root / content["images"][i]["file_name"], root / name)
        content["images"][i]["file_name"] = name
        store(content["annotations"][i], points(content["annotations"][i])[[0, 2, 1, 4, 3, 6, 5]])


def exchanged_pair(content, root):
    for a in content["annotations"]:
        store(a, points(a)[[0, 1, 2, 4, 3, 5, 6]])


def no_partner(content, root):
    content["categories"][0]["keypoints"][6] = "right_foot"


def moved(content, root):
    (root / "sub").mkdir()
    name = content["images"][4]["file_name"]
    shutil.move(root / name, root / "sub" / name)


def short_list(content, root):
    del content["annotations"][4]["keypoints"][-3:]


def bare_pairs(content, root):
    for a in content["annotations"]:
        a["keypoints"] = points(a)[:, :2].ravel().tolist()


def not_numbers(content, root):
    content["annotations"][4]["keypoints"][3] = None


def at_zero(content, root):
    content["annotations"][4]["keypoints"][:3] = [0, 0, 2]


def no_size(content, root):
    del content["images"][4]["width"]


def text_ids(content, root):
    for image, annotation in zip(content["images"], content["annotations"]):
        image["id"] = annotation["image_id"] = f"im{image['id']}"


def same_image_id(content, root):
    content["images"][4]["id"] = 4
    content["annotations"][4]["image_id"] = 4


def same_name(content, root):
    content["categories"][0]["keypoints"][6] = "left_ankle"


def bad_skeleton(content, root):
    content["categories"][0]["skeleton"].append([3, 9])


def nothing_labelled(content, root):
    for a in content["annotations"]:
        store(a, points(a) * (1, 1, 0))
        a["num_keypoints"] = 0


def other_category(content, root):
    content["categories"].append(dict(id=2, name="hand", keypoints=["wrist", "tip"]))
    hand = dict(id=900, image_id=3, category_id=2, keypoints=[20, 20, 2, 30, 30, 2])
    content["annotations"].append(dict(hand, bbox=[10, 10, 40, 40], area=1600, iscrowd=0))


def url(content, root):
    content["images"][4]["file_name"] = "https://example.org/5.png"


# code: (damage, ids that must be named, whether --fix mends it)
FAULTS = {
    "file-missing": (missing_file, (5,), True),
    "size-differs": (other_size, (5,), True),
    "exif-turned": (turned, (5,), False),
    "picture-broken": (cut_off, (5,), True),
    "keypoint-outside": (keypoint_outside, (5,), False),
    "box-outside": (box_outside, (5,), True),
    "box-keypoints": (other_box, (5,), False),
    "box-corners": (corners, tuple(range(1, COUNT + 1)), True),
    "normalised": (normalised, tuple(range(1, COUNT + 1)), True),
    "visibility-unknown": (visibility(3, 4, 6), (5, 7), False),
    "visibility-negative": (visibility(-1, 4, 6), (5, 7), True),
    "visibility-fraction": (visibility(0.7, 4, 6), (5, 7), False),
    "same-picture": (same_picture, (5,), False),
    "annotated-twice": (same_annotation, (1000,), True),
    "never-labelled": (never, ("right_ankle",), False),
    "sides-exchanged": (exchanged_folder, tuple(range(1, 21)), False),
    "pair-exchanged": (exchanged_pair, ("left_hip", "right_hip"), False),
    "names-lonely": (no_partner, ("left_ankle", "right_foot"), False),
    "file-elsewhere": (moved, (5,), True),
    "keypoints-number": (short_list, (5,), True),
    "visibility-missing": (bare_pairs, tuple(range(1, COUNT + 1)), True),
    "not-finite": (not_numbers, (5,), True),
    "labelled-at-zero": (at_zero, (5,), True),
    "size-missing": (no_size, (5,), True),
    "image-id-text": (text_ids, tuple(f"im{i}" for i in range(1, COUNT + 1)), True),
    "image-id-repeated": (same_image_id, (4,), False),
    "id-repeated": (put("id", 3, 4), (3,), True),
    "id-text": (put("id", "five", 4), ("five",), True),
    "image-unlisted": (put("image_id", 999, 4), (5,), True),
    "category-unknown": (put("category_id", 9, 4), (5,), True),
    "box-missing": (drop("bbox", 4), (5,), True),
    "box-empty": (put("bbox", [10, 10, 0, 50], 4), (5,), True),
    "box-elsewhere": (put("bbox", [WIDTH + 50, 10, 60, 60], 4), (5,), True),
    "num-keypoints-zero": (put("num_keypoints", 0, 4), (5,), True),
    "num-keypoints-wrong": (put("num_keypoints", 3, 4), (5,), True),
    "area-missing": (drop("area"), tuple(range(1, COUNT + 1)), True),
    "area-zero": (put("area", 0, 4), (5,), True),
    "iscrowd-missing": (drop("iscrowd", 4), (5,), True),
    "iscrowd-odd": (put("iscrowd", 7, 4), (5,), False),
    "num_keypoints-missing": (drop("num_keypoints", 4), (5,), True),
    "names-repeated": (same_name, ("left_ankle",), False),
    "skeleton-unusable": (bad_skeleton, (), False),
    "nothing-labelled": (nothing_labelled, (), False),
    "reference-type": (put("image_id", "5", 4), (5,), True),
    "category-other": (other_category, (), False),
    "keypoints-missing": (drop("keypoints", 4), (5,), False),
    "file-name-url": (url, (5,), False),
}
# A second thing that the same damage does, and that is rightly said too.
ALSO = {
    "visibility-negative": {"num-keypoints-wrong"},
    "not-finite": {"num-keypoints-wrong"},
    "labelled-at-zero": {"num-keypoints-wrong"},
    "nothing-labelled": {"placed-not-labelled"},
    "names-repeated": {"names-lonely"},
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_found_and_named(code, set_of):
    damage, ids, mendable = FAULTS[code]
    root, content = set_of
    damage(content, root)
    findings, _ = look(root, content, decode=True)
    found = {finding.code: finding for finding in findings}
    assert code in found
    assert found[code].ids == ids
    assert found[code].mendable == mendable
    assert found[code].todo
    assert set(found) - {code} <= ALSO.get(code, set())


# what is mended is right: the clean values are known
RESTORED = ("box-corners", "normalised", "visibility-missing", "size-differs", "size-missing")


@pytest.mark.parametrize("code", RESTORED)
def test_what_is_mended_is_as_it_was(code, set_of):
    root, content = set_of
    _, clean = look(root, content)
    FAULTS[code][0](content, root)
    _, mended = look(root, content)
    assert np.allclose(mended.keypoints, clean.keypoints)
    assert np.allclose(mended.boxes, clean.boxes)
    assert (mended.image_sizes == clean.image_sizes).all()


def test_what_cannot_be_trained_on_is_left_out(set_of):
    root, content = set_of
    missing_file(content, root)
    put("image_id", 999, 7)(content, root)
    short_list({"annotations": [{}] * 4 + [content["annotations"][20]]}, root)
    _, mended = look(root, content)
    assert sorted(set(range(1, COUNT + 1)) - set(mended.ids)) == [5, 8, 21]


def test_text_in_place_of_keypoints_is_found(set_of):
    root, content = set_of
    put("keypoints", "none", 4)(content, root)
    (found,), _ = look(root, content)
    assert (found.code, found.ids) == ("keypoints-number", (5,))


def test_a_box_left_of_its_picture_is_not_taken_for_parts_of_it(set_of):
    root, content = set_of
    put("bbox", [-50, -50, 20, 20], 4)(content, root)
    (found,), mended = look(root, content)
    assert (found.code, found.ids) == ("box-elsewhere", (5,))
    x, y, width, height = mended.boxes[4]
    assert x >= 0 and y >= 0 and x + width <= WIDTH and y + height <= HEIGHT


def test_one_file_of_corners_among_others_is_found(set_of):
    root, content = set_of
    paths = [root.parent / name for name in ("a.json", "b.json")]
    halves = content["annotations"][: COUNT // 2], content["annotations"][COUNT // 2 :]
    paths[0].write_text(json.dumps(dict(content, annotations=halves[0])))
    clean = [a["bbox"] for a in content["annotations"]]
    damaged = {"annotations": json.loads(json.dumps(halves[1])), "images": content["images"]}
    corners(damaged, root)
    paths[1].write_text(json.dumps(dict(content, annotations=damaged["annotations"])))
    table = read(paths)
    findings, mended = examine(table, table.image_sizes)
    (found,) = [f for f in findings if f.code == "box-corners"]
    assert found.ids == tuple(f"b.json:{i}" for i in range(COUNT // 2 + 1, COUNT + 1))
    assert np.allclose(mended.boxes, clean)


def test_a_single_box_of_each_split_is_seen_in_the_histogram_of_sizes(set_of):
    root, content = set_of
    tables = {}
    for split, size in (("train", 40), ("val", 100)):
        put("bbox", [5, 5, size / 2, size], 4)(content, root)
        path = root.parent / f"{split}.json"
        path.write_text(json.dumps(dict(content, annotations=content["annotations"][4:5])))
        tables[split] = read([path])
    panel = histograms(tables, 900)[60:260, 320:580].astype(int)
    blue = (panel[..., 2] - panel[..., 0] > 40).sum()
    orange = (panel[..., 0] - panel[..., 2] > 40).sum()
    assert min(blue, orange) > 500


def test_a_skeleton_of_names_is_read(set_of):
    root, content = set_of
    content["categories"][0]["skeleton"] = [["nose", "left_hip"], ["nose", "right_hip"]]
    findings, table = look(root, content)
    assert findings == []
    assert skeleton_links(table.skeleton, 7)[0] == [(0, 3), (0, 4)]


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"images": [', "not a complete JSON file"),
        ("[]", "no list `images`, it is a list"),
        ('{"shapes": [], "imagePath": "a.png"}', "imagePath"),
        ('{"images": [], "annotations": [1]}', "not every entry of `annotations` is an object"),
        ('{"images": [], "annotations": []}', "no annotation has `keypoints`"),
    ],
)
def test_what_is_no_keypoints_file_is_refused(content, message, tmp_path):
    path = tmp_path / "ann.json"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=message):
        read([path])


def test_files_of_other_keypoints_are_not_joined(set_of):
    root, content = set_of
    (root / "a.json").write_text(json.dumps(content))
    content["categories"][0]["keypoints"][0] = "chin"
    (root / "b.json").write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="b.json has other keypoints than .*a.json"):
        read([root / "a.json", root / "b.json"])
