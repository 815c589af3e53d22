# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from mmpose.datasets.datasets import CocoDataset
from mmpose.evaluation.metrics import CocoMetric
from xtcocotools.coco import COCO

from sgpose.datasets.toy_people import KEYPOINT_NAMES, toy_sample, write_toy_people
from sgpose.datasets.toy_people.canvas import Canvas
from sgpose.datasets.toy_people.person import draw_person, random_person

INDEX = {name: number for number, name in enumerate(KEYPOINT_NAMES)}
NUM_TRAIN, NUM_VAL = 6, 4


def keypoints_of(annotation):
    return np.array(annotation["keypoints"], float).reshape(17, 3)


def pixels_at(image, keypoints):
    columns, rows = np.round(keypoints[:, :2]).astype(int).T
    return image[rows, columns]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("toy") / "people"
    write_toy_people(out_dir, NUM_TRAIN, NUM_VAL, seed=5)
    return out_dir


@pytest.fixture(scope="module")
def many():
    """Sixty samples of one series, without and with the occluder."""
    return [[toy_sample(3, index, 0.2, occlusion) for index in range(60)] for occlusion in (0, 1)]


def test_same_seed_and_index_give_the_same_sample():
    image, annotation = toy_sample(7, 11, 0.6, 0.5)
    again, same = toy_sample(7, 11, 0.6, 0.5)
    assert np.array_equal(image, again) and annotation == same
    for other in (toy_sample(8, 11, 0.6, 0.5), toy_sample(7, 12, 0.6, 0.5)):
        assert other[1]["keypoints"] != annotation["keypoints"]


def test_images_and_visibilities_are_of_the_documented_range(many):
    shapes = {image.shape for image, _ in many[0]}
    assert len(shapes) > 10
    for height, width, channels in shapes:
        assert 148 <= height <= 200 and 112 <= width <= 152 and channels == 3
    values = np.concatenate([keypoints_of(annotation)[:, 2] for _, annotation in many[0]])
    assert set(values) == {0, 1, 2}
    assert np.mean(values == 2) > 0.75
    assert 0.01 < np.mean(values == 1) < 0.2  # hidden by the own body


def test_labelled_keypoints_lie_in_image_and_box(many):
    for samples in many:
        for image, annotation in samples:
            keypoints = keypoints_of(annotation)
            labelled = keypoints[:, 2] > 0
            assert annotation["num_keypoints"] == labelled.sum() >= 5
            assert not keypoints[~labelled].any()
            x, y = keypoints[labelled, :2].T
            left, top, width, height = annotation["bbox"]
            assert left >= 0 and top >= 0
            assert left + width <= image.shape[1] and top + height <= image.shape[0]
            assert (x > left - 1).all() and (x < left + width).all()
            assert (y > top - 1).all() and (y < top + height).all()
            assert 0.15 * width * height < annotation["area"] < width * height
            assert annotation["iscrowd"] == 0 and annotation["category_id"] == 1


def test_left_is_at_the_right_of_a_face_and_at_the_left_of_a_back(many):
    facing = away = 0
    for _, annotation in many[0]:
        keypoints = keypoints_of(annotation)
        v = keypoints[:, 2]
        across = {
            part: keypoints[INDEX[f"left_{part}"], 0] - keypoints[INDEX[f"right_{part}"], 0]
            for part in ("eye", "shoulder", "hip")
            if v[INDEX[f"left_{part}"]] and v[INDEX[f"right_{part}"]]
        }
        if v[INDEX["nose"]]:
            facing += 1
            assert all(distance > 0 for distance in across.values())
        elif "shoulder" in across and v[INDEX["left_ear"]]:  # the head is in the image
            away += 1
            assert "eye" not in across
            assert all(distance < 0 for distance in across.values())
    assert facing > 25 and away > 5


def test_limbs_have_a_persons_proportions():
    for seed in range(40):
        points = random_person(np.random.default_rng(seed)).points

        def length(a, b, points=points):
            return np.linalg.norm(points[a] - points[b])

        for upper, lower, low, high in (
            ("shoulder", "elbow", 0.14, 0.2),
            ("elbow", "wrist", 0.13, 0.18),
            ("hip", "knee", 0.2, 0.27),
            ("knee", "ankle", 0.19, 0.26),
        ):
            left = length(f"left_{upper}", f"left_{lower}")
            assert left == pytest.approx(length(f"right_{upper}", f"right_{lower}"))
            assert low < left < high
        assert length("left_shoulder", "right_shoulder") > length("left_hip", "right_hip")
        assert length("head", "left_eye") == pytest.approx(length("head", "right_eye"))


@pytest.mark.parametrize("seed", range(6))
def test_mirrored_person_draws_the_mirrored_picture(seed):
    """Nothing but geometry may tell left from right, or flipped training samples would lie."""
    mirror = np.diag([-1.0, 1.0, 1.0])
    swap = {"left": "right", "right": "left"}
    person = random_person(np.random.default_rng(seed))
    mirrored = replace(
        person,
        points={
            "_".join(swap.get(word, word) for word in name.split("_")): mirror @ point
            for name, point in person.points.items()
        },
        turn=mirror @ person.turn @ mirror,
        head_turn=mirror @ person.head_turn @ mirror,
    )
    images = []
    for drawn in (person, mirrored):
        canvas = Canvas.of(np.full((201, 201, 3), 255, np.uint8))
        draw_person(canvas, drawn, 150.0, np.array([100.0, 110.0]))
        images.append(canvas.image.astype(float))
    difference = np.abs(images[0] - images[1][:, ::-1]).max(-1)
    assert np.mean(difference > 60) < 0.01
    assert (images[0] != 255).any(-1).mean() > 0.1


@pytest.mark.parametrize(("z", "on_top"), [(0.3, 3), (-0.3, 1)])
def test_nearer_part_is_on_top(z, on_top):
    person = random_person(np.random.default_rng(0))
    belly = (person.points["neck"] + person.points["left_hip"] + person.points["right_hip"]) / 3
    arm = {f"left_{joint}": belly + (0, 0, z) for joint in ("elbow", "wrist", "hand")}
    person = replace(person, points={**person.points, **arm, "right_elbow": belly + (-0.3, 0, 0)})
    for joint in ("wrist", "hand"):
        person.points[f"right_{joint}"] = belly + (-0.4, 0, 0)
    canvas = Canvas.of(np.zeros((200, 200, 3), np.uint8))
    draw_person(canvas, person, 150.0, np.array([100.0, 110.0]))
    x, y = np.round(belly[:2] * 150 + (100, 110)).astype(int)
    assert canvas.labels[y, x] == on_top


@pytest.mark.parametrize("occlusion", [0.0, 1.0])
def test_clutter_changes_the_background_alone(occlusion):
    for index in range(8):
        samples = [toy_sample(2, index, clutter, occlusion) for clutter in (0, 0.3, 1)]
        assert samples[0][1] == samples[1][1] == samples[2][1]
        keypoints = keypoints_of(samples[0][1])
        seen = [pixels_at(image, keypoints[keypoints[:, 2] == 2]) for image, _ in samples]
        assert np.abs(np.diff(np.array(seen, int), axis=0)).max() <= 8  # rims blend
        calm, busy, wild = (cv2.Laplacian(image, cv2.CV_64F).std() for image, _ in samples)
        assert calm < busy < wild


def test_occluded_keypoints_show_the_occluder(many):
    hidden = 0
    for (plain, before), (image, after) in zip(*many):
        a, b = keypoints_of(before), keypoints_of(after)
        assert np.array_equal(a[:, :2], b[:, :2])
        assert before["bbox"] == after["bbox"] and before["area"] == after["area"]
        changed = (plain != image).any(-1)
        colours, counts = np.unique(image[changed], axis=0, return_counts=True)
        occluder = colours[counts.argmax()]
        newly = (a[:, 2] == 2) & (b[:, 2] == 1)
        assert (pixels_at(image, b[newly]) == occluder).all()
        assert not (pixels_at(image, b[b[:, 2] == 2]) == occluder).all(-1).any()
        assert np.array_equal(a[~newly], b[~newly])
        hidden += newly.sum()
    assert hidden > 60


def test_occlusion_is_a_probability():
    plain = [toy_sample(4, index, 0.0, 0.0)[0] for index in range(100)]
    some = [toy_sample(4, index, 0.0, 0.3)[0] for index in range(100)]
    share = np.mean([(a != b).any() for a, b in zip(plain, some)])
    assert 0.15 < share < 0.45


def test_written_files_hold_the_samples(dataset, tmp_path):
    for offset, (split, count) in enumerate((("train", NUM_TRAIN), ("val", NUM_VAL))):
        coco = COCO(str(dataset / f"annotations/person_keypoints_{split}.json"))
        assert coco.getImgIds() == coco.getAnnIds() == list(range(1, count + 1))
        assert coco.loadCats(1)[0]["keypoints"] == list(KEYPOINT_NAMES)
        for number in coco.getImgIds():
            image, annotation = toy_sample(5, 2 * (number - 1) + offset)
            info = coco.loadImgs(number)[0]
            written = cv2.imread(str(dataset / split / info["file_name"]))
            assert np.array_equal(written, image)
            assert (info["height"], info["width"]) == image.shape[:2]
            assert coco.loadAnns(number)[0] == {"id": number, "image_id": number, **annotation}
        assert len(list((dataset / split).iterdir())) == count
    smaller = tmp_path / "smaller"
    write_toy_people(smaller, 2, 0, seed=5)
    for name in ("train/000001.png", "train/000002.png"):
        assert (smaller / name).read_bytes() == (dataset / name).read_bytes()


@pytest.mark.parametrize(("split", "count"), [("train", NUM_TRAIN), ("val", NUM_VAL)])
def test_mmpose_reads_and_scores_the_files(dataset, split, count):
    ann_file = f"annotations/person_keypoints_{split}.json"
    coco = CocoDataset(
        ann_file=ann_file,
        data_root=str(dataset),
        data_prefix=dict(img=f"{split}/"),
        data_mode="topdown",
        lazy_init=True,
    )
    coco.full_init()
    assert len(coco) == count
    names = coco.metainfo["keypoint_id2name"]
    assert tuple(names[number] for number in range(17)) == KEYPOINT_NAMES
    links = json.loads((dataset / ann_file).read_text())["categories"][0]["skeleton"]
    assert {frozenset(link) for link in links} == {
        frozenset(joint + 1 for joint in link) for link in coco.metainfo["skeleton_links"]
    }

    metric = CocoMetric(ann_file=str(dataset / ann_file))
    metric.dataset_meta = coco.metainfo
    for number in range(count):
        info = coco.get_data_info(number)
        prediction = dict(
            keypoints=info["keypoints"],
            keypoint_scores=np.ones((1, 17)),
            bbox_scores=np.ones(1),
        )
        sample = dict(
            id=info["id"], img_id=info["img_id"], pred_instances=prediction, gt_instances={}
        )
        metric.process({}, [sample])
    assert metric.evaluate(count)["coco/AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "bad",
    [
        dict(clutter=-0.1),
        dict(clutter=1.1),
        dict(clutter=float("nan")),
        dict(occlusion=-0.1),
        dict(occlusion=1.5),
        dict(seed=-1),
        dict(num_train=-1),
        dict(num_val=2.5),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(bad, tmp_path):
    out_dir = tmp_path / "out"
    with pytest.raises(ValueError, match=next(iter(bad))):
        write_toy_people(out_dir, **{"num_train": 1, "num_val": 1, **bad})
    assert not out_dir.exists()
    sample = {"seed": 0, "index": 0, **bad}
    if not any(name.startswith("num_") for name in bad):
        with pytest.raises(ValueError, match=next(iter(bad))):
            toy_sample(**sample)


def test_negative_index_is_refused():
    with pytest.raises(ValueError, match="index"):
        toy_sample(0, -1)


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match="not written by this generator"):
        write_toy_people(tmp_path, 1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]
    with pytest.raises(ValueError, match="is a file"):
        write_toy_people(tmp_path / "holiday.png", 1, 1)


def test_link_out_of_the_folder_is_refused(tmp_path):
    out_dir, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    write_toy_people(out_dir, 0, 0)
    (out_dir / "val").rmdir()
    elsewhere.mkdir()
    (out_dir / "val").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="link"):
        write_toy_people(out_dir, 0, 1)
    assert not list(elsewhere.iterdir())


def test_rewriting_leaves_nothing_of_the_former_set(tmp_path):
    write_toy_people(tmp_path, 3, 1, seed=1)
    write_toy_people(tmp_path, 1, 2, seed=2)
    assert [path.name for path in (tmp_path / "train").iterdir()] == ["000001.png"]
    assert len(list((tmp_path / "val").iterdir())) == 2
    content = json.loads((tmp_path / "annotations/person_keypoints_train.json").read_text())
    assert len(content["images"]) == 1 and content["info"]["seed"] == 2


def test_interrupted_run_leaves_no_annotations(tmp_path):
    write_toy_people(tmp_path, 1, 1)

    def interrupt(numbers):
        yield numbers[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_toy_people(tmp_path, 3, 1, progress=interrupt)
    assert not list((tmp_path / "annotations").iterdir())
    write_toy_people(tmp_path, 2, 1)
    assert len(list((tmp_path / "annotations").iterdir())) == 2
