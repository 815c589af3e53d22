# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from fabricate import coco_style
from mmpose.registry import DATASETS

from sgpose.datasets import LspetDataset

PAIRS = [(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)]


def test_it_reads_coco_style_files_and_swaps_left_and_right(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    coco_style(tmp_path, 14)
    dataset = DATASETS.build(
        dict(type="LspetDataset", data_root=str(tmp_path), ann_file="ann.json", pipeline=[])
    )
    assert isinstance(dataset, LspetDataset) and len(dataset) == 2
    assert dataset[0]["keypoints"].shape == (1, 14, 2)
    assert dataset[0]["keypoints_visible"].tolist() == [[1.0] * 13 + [0.0]]
    expected = list(range(14))
    for a, b in PAIRS:
        expected[a], expected[b] = b, a
    assert dataset.metainfo["flip_indices"] == expected
    for a, b in PAIRS:
        names = dataset.metainfo["keypoint_id2name"]
        assert names[a].replace("right", "left") == names[b]
    assert dataset.metainfo["num_keypoints"] == 14
    assert len(dataset.metainfo["skeleton_links"]) == 13
