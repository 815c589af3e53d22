# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fabricate import tiny_run
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed
from mmengine.structures import PixelData
from mmpose.structures import PoseDataSample

from sgpose.visualization import SGLocalVisualizer, TrainingPicturesHook, training_pictures_hook
from sgpose.visualization.training_pictures_hook import HEIGHT, displayable, sample_panels

TOY = Path(__file__).parents[2] / "configs/sg_hrnet/toy"
GUIDED = TOY / "td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
PLAIN = TOY / "td-hm_hrnet-w16_1xb16-25e_toy-128x96.py"


class Mode(Hook):
    """Keep in which mode the model was after each iteration."""

    priority = "LOWEST"

    def __init__(self):
        self.training = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.training.append(all(module.training for module in runner.model.modules()))


def train(
    root, config=GUIDED, epochs=4, backends=("LocalVisBackend",), hook=None, change=None
) -> Runner:
    root.mkdir()
    cfg = tiny_run(config, root)
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    cfg.default_hooks.logger.interval = 1
    cfg.visualizer.vis_backends = [dict(type=name) for name in backends]
    cfg.visualizer.name = root.name
    if change:
        change(cfg)
    if hook:
        cfg.default_hooks.pictures = dict(type="TrainingPicturesHook", **hook)
    set_random_seed(0)
    runner = Runner.from_cfg(cfg)
    mode = Mode()
    runner.register_hook(mode)
    runner.train()
    assert mode.training == [True] * epochs
    return runner


def test_pictures_come_every_interval_and_change_nothing(tmp_path):
    without = train(tmp_path / "without")
    watched = train(tmp_path / "with", hook=dict(interval=2, num_samples=1))
    assert not list((tmp_path / "without").rglob("train_pictures*"))
    files = sorted(file.name for file in (tmp_path / "with").rglob("train_pictures*"))
    assert files == ["train_pictures_2.png", "train_pictures_4.png"]
    states = without.model.state_dict(), watched.model.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert states[1]["head.loss_weighting.num_intervals"] == 4, "one per training step"


def test_an_unguided_model_has_fewer_columns(tmp_path):
    widths = {}
    for config in (GUIDED, PLAIN):
        train(tmp_path / config.stem, config, epochs=1, hook=dict(interval=1))
        (file,) = (tmp_path / config.stem).rglob("train_pictures*")
        widths[config] = cv2.imread(str(file)).shape[1]
    # input, mask, four guides, pose; input and pose
    assert widths[GUIDED] > 7 * 0.75 * HEIGHT > widths[PLAIN] > 2 * 0.75 * HEIGHT


def test_tensorboard_gets_pictures_losses_and_weights(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    backends = ("LocalVisBackend", "TensorboardVisBackend")
    train(tmp_path / "run", backends=backends, epochs=3, hook=dict(interval=3))
    (events,) = (tmp_path / "run").rglob("events.out.tfevents*")
    board = EventAccumulator(str(events))
    board.Reload()
    assert board.Tags()["images"] == ["train_pictures"]
    (picture,) = board.Images("train_pictures")
    (file,) = (tmp_path / "run").rglob("train_pictures*")
    assert picture.step == 3
    assert (picture.height, picture.width) == cv2.imread(str(file)).shape[:2]

    (scalars,) = (tmp_path / "run").rglob("scalars.json")
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    records = [record for record in records if "lr" in record]
    for name in ("raw_kpt", "raw_seg", "weight_kpt", "weight_seg", "loss_kpt", "loss_seg"):
        curve = [(event.step, event.value) for event in board.Scalars(name)]
        assert curve == [(r["step"], pytest.approx(r[name], rel=1e-6)) for r in records]
        assert [step for step, _ in curve] == [1, 2, 3]
    for record in records:
        assert record["weight_kpt"] + record["weight_seg"] == pytest.approx(2)


class Prediction(dict):
    """A stand-in for InstanceData, which refuses maps beside keypoints of another length."""

    keypoints = property(lambda self: self["keypoints"])


def test_panels_show_the_mask_the_guides_and_the_pose():
    inputs = torch.zeros(3, 64, 48, dtype=torch.uint8)
    inputs[0] = 200  # blue
    mask = torch.zeros(1, 16, 12)
    mask[0, 4, 6] = 1
    sample = PoseDataSample()
    sample.gt_fields = PixelData(segmentation=mask)
    maps = np.zeros((1, 2, 16, 12), np.float32)
    maps[0, 1, 12, 3] = 1
    instance = Prediction(guide_maps=maps, keypoints=np.array([[[10.0, 50.0]]]))
    painter = SGLocalVisualizer(kpt_color="red")
    panels = sample_panels(painter, inputs, sample, instance)
    assert list(panels) == ["input", "target mask", "guide 1", "guide 2", "predicted pose"]
    assert {panel.shape for panel in panels.values()} == {(HEIGHT, 144, 3)}
    assert panels["input"][0, 0].tolist() == [0, 0, 200], "RGB"
    # 3 pixels per pixel of the input, 12 per cell
    ys, xs = np.nonzero(panels["target mask"][..., 0])
    assert abs(ys.mean() - 4 * 12) <= 1 and abs(xs.mean() - 6 * 12) <= 1
    hot = panels["guide 2"].astype(int).sum(-1)
    y, x = np.unravel_index(hot.argmax(), hot.shape)
    assert (y, x) == (12 * 12, 3 * 12)
    assert np.ptp(panels["guide 1"].astype(int).sum(-1)) == 0
    assert panels["predicted pose"][150, 30].tolist() == [255, 0, 0]


BGR = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)


@pytest.mark.parametrize(
    "inputs, scale",
    [
        (torch.from_numpy(BGR), 1),
        (torch.from_numpy(BGR).float(), 1),
        (torch.from_numpy(BGR).float() / 255, 1),
        (257 * torch.from_numpy(BGR).int(), 1),  # 16 bit
        (torch.from_numpy(BGR).double() - 100, 1),
    ],
    ids=["uint8", "float", "unit", "16 bit", "normalised"],
)
def test_inputs_of_any_kind_become_a_picture(inputs, scale):
    picture = displayable(inputs)
    assert picture.dtype == np.uint8 and picture.shape == (4, 5, 3)
    expected = np.moveaxis(BGR, 0, -1)[..., ::-1].astype(float)
    stretched = (expected - expected.min()) * 255 / np.ptp(expected)
    error = min(np.abs(picture - expected).max(), np.abs(picture - stretched).max())
    assert error <= 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_grey_input_is_a_grey_picture(dtype):
    picture = displayable(torch.from_numpy(BGR[:1]).to(dtype))
    for channel in range(3):
        np.testing.assert_array_equal(picture[..., channel], BGR[0])
    assert displayable(torch.zeros(5, 4, 4)).shape == (4, 4, 3)


@pytest.mark.parametrize("kind", ["grey", "float32"])
def test_trainings_on_other_pictures_have_pictures_too(tmp_path, kind):
    def change(cfg):
        load = cfg.train_dataloader.dataset.pipeline[0]
        if kind == "float32":
            load.to_float32 = True
            return
        load.color_type = "grayscale"
        cfg.model.data_preprocessor.update(mean=[127.0], std=[64.0], bgr_to_rgb=False)
        cfg.model.backbone.in_channels = 1
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None

    train(tmp_path / "run", epochs=1, hook=dict(interval=1), change=change)
    assert [f.name for f in (tmp_path / "run").rglob("train_pictures*")] == ["train_pictures_1.png"]


def test_what_cannot_be_drawn_is_said_once_and_changes_nothing(tmp_path, monkeypatch):
    without = train(tmp_path / "without")
    messages = []
    monkeypatch.setattr(
        training_pictures_hook, "print_log", lambda text, **kw: messages.append(text)
    )

    def fail(*args):
        raise ValueError("no such picture")

    monkeypatch.setattr(training_pictures_hook, "sample_panels", fail)
    watched = train(tmp_path / "with", hook=dict(interval=1))
    assert len(messages) == 1 and "ValueError: no such picture" in messages[0]
    for name, value in without.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name


@pytest.mark.parametrize("arguments", [dict(interval=0), dict(num_samples=0)])
def test_nothing_to_draw_is_refused(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        TrainingPicturesHook(**arguments)
