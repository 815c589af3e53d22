# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from fabricate import HEIGHT, WIDTH, tiny_run
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import VISUALIZERS
from mmpose.structures import PoseDataSample, merge_data_samples
from mmpose.visualization import PoseLocalVisualizer

from sgpose.visualization import SGLocalVisualizer

TOY = Path(__file__).parents[2] / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
META = dict(
    keypoint_colors=np.array([[0, 255, 0]] * 3),
    skeleton_links=[(0, 1), (1, 2)],
    skeleton_link_colors=np.array([[255, 0, 0]] * 2),
)
H, W = 120, 160


def person(center, hot, guides=4, heatmaps=True) -> PoseDataSample:
    """A sample whose guide maps are 1 in one cell (column, row) each and 0 elsewhere."""
    maps = np.zeros((1, guides, 16, 12), np.float32)
    for stage, (column, row) in enumerate(hot):
        maps[0, stage, row, column] = 1
    sample = PoseDataSample(
        metainfo=dict(
            ori_shape=(H, W), input_center=np.array(center), input_scale=np.array([60.0, 80.0])
        )
    )
    sample.pred_instances = InstanceData(
        keypoints=np.array([[[20.0, 20], [60, 60], [100, 90]]]) + np.random.rand(),
        keypoint_scores=np.ones((1, 3)),
        bboxes=np.array([[10.0, 10, 110, 100]]),
        guide_maps=maps,
        guide_input_center=np.array([center]),
        guide_input_scale=np.array([[60.0, 80.0]]),
    )
    sample.gt_instances = InstanceData(keypoints=np.array([[[30.0, 20], [60, 50], [100, 80]]]))
    if heatmaps:
        sample.pred_fields = PixelData(heatmaps=np.random.rand(3, 16, 12).astype(np.float32))
    return sample


def build(cls=SGLocalVisualizer, **kwargs):
    visualizer = cls(**kwargs)
    visualizer.set_dataset_meta(META)
    return visualizer


@pytest.fixture
def image():
    return np.full((H, W, 3), 60, np.uint8)


def test_it_is_registered_under_its_name():
    assert isinstance(
        VISUALIZERS.build(dict(type="SGLocalVisualizer", name="a")), SGLocalVisualizer
    )


@pytest.mark.parametrize("draw_gt", [False, True])
@pytest.mark.parametrize("guides", [1, 4, 5])
@pytest.mark.parametrize("heatmaps", [False, True])
def test_guides_stand_to_the_right_of_mmposes_picture(image, guides, heatmaps, draw_gt):
    hot = [(2 + stage, 3 + 2 * stage) for stage in range(guides)]
    sample = merge_data_samples([person((70.0, 60.0), hot, guides, heatmaps)])
    draw = dict(draw_heatmap=True, draw_gt=draw_gt)
    theirs = build(PoseLocalVisualizer).add_datasample("a", image, sample, **draw)
    drawn = build().add_datasample("a", image, sample, **draw)
    rows = 2 if heatmaps else 1
    columns = -(-guides // rows)
    assert theirs.shape[0] == rows * H
    assert drawn.shape == (rows * H, theirs.shape[1] + columns * W, 3)
    np.testing.assert_array_equal(drawn[:, : theirs.shape[1]], theirs)
    panels = drawn[:, theirs.shape[1] :].reshape(rows, H, columns, W, 3).swapaxes(1, 2)
    for stage, panel in enumerate(panels.reshape(-1, H, W, 3)):
        if stage >= guides:
            assert not panel.any()
            continue
        panel = panel.astype(int).copy()
        panel[:20, :80] = 0  # the label
        y, x = np.unravel_index(panel.sum(-1).argmax(), (H, W))
        column, row = hot[stage]
        assert abs(x - (70 + (column / 12 - 0.5) * 60)) <= 1
        assert abs(y - (60 + (row / 16 - 0.5) * 80)) <= 1


def test_several_persons_share_the_panels(image):
    persons = [person((40.0, 60.0), [(6, 8)], 1), person((110.0, 50.0), [(6, 8)], 1)]
    drawn = build().add_datasample(
        "a", image, merge_data_samples(persons), draw_heatmap=True, draw_gt=False
    )
    panel = drawn[:H, W:].astype(int)
    assert panel[60, 40].sum() > 300 and panel[50, 110].sum() > 300  # both are hot
    assert panel[90, 40].sum() < 120  # inside a crop, and dark
    np.testing.assert_array_equal(panel[110:, 75], 60)  # outside both


@pytest.mark.parametrize("how", ["no maps", "no heatmaps asked for", "no prediction drawn"])
def test_without_maps_it_is_mmposes(image, how):
    sample = merge_data_samples([person((70.0, 60.0), [(1, 1)])])
    draw = dict(draw_heatmap=True)
    if how == "no maps":
        del sample.pred_instances.guide_maps
    elif how == "no heatmaps asked for":
        draw["draw_heatmap"] = False
    else:
        draw["draw_pred"] = False
    theirs = build(PoseLocalVisualizer).add_datasample("a", image, sample, **draw)
    np.testing.assert_array_equal(build().add_datasample("a", image, sample, **draw), theirs)


def test_each_picture_is_handed_over_once_and_whole(image, tmp_path):
    backend = dict(type="LocalVisBackend")
    visualizer = build(vis_backends=[backend], save_dir=str(tmp_path))
    sample = merge_data_samples([person((70.0, 60.0), [(1, 1)])])
    drawn = visualizer.add_datasample("seen", image, sample, draw_heatmap=True, step=7)
    (file,) = tmp_path.rglob("*.png")
    assert file.name == "seen_7.png"
    np.testing.assert_array_equal(mmcv.imread(str(file), channel_order="rgb"), drawn)
    out = tmp_path / "elsewhere" / "out.png"
    visualizer.add_datasample("other", image, sample, draw_heatmap=True, out_file=str(out))
    np.testing.assert_array_equal(mmcv.imread(str(out), channel_order="rgb"), drawn)
    assert len(list(tmp_path.rglob("*.png"))) == 2
    np.testing.assert_array_equal(visualizer.get_image(), drawn)


def test_mmposes_hook_shows_the_guides_in_testing(tmp_path):
    cfg = tiny_run(TOY, tmp_path)
    assert cfg.visualizer.type == "SGLocalVisualizer"
    # what `test.py --show-dir DIR --cfg-options model.test_cfg.output_heatmaps=True` sets
    cfg.default_hooks.visualization.update(enable=True, out_dir=str(tmp_path / "shown"))
    cfg.model.test_cfg.output_heatmaps = True
    Runner.from_cfg(cfg).test()
    files = sorted((tmp_path / "shown").iterdir())
    assert [file.name for file in files] == ["0_0.png", "1_0.png"]
    for file in files:
        assert cv2.imread(str(file)).shape == (2 * HEIGHT, 3 * WIDTH, 3)
