# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import logging

import cv2
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from .attention import map_in_crop, paint_map, paint_mask
from .sg_local_visualizer import SGLocalVisualizer
from .sheet import Cell, contact_sheet

HEIGHT = 192


@HOOKS.register_module()
class TrainingPicturesHook(Hook):
    """Send what the model makes of the training batch to all visualization backends.

    Every ``interval`` iterations the first samples of the batch become one picture, named
    ``train_pictures``: a row per sample with the augmented input, the target mask, the map of each
    guide and the predicted pose, the last two as the model of that moment predicts them, in
    evaluation mode and without flip test. The training goes on as if nothing had happened. Columns
    that a model has not (mask and maps, if it is not guided) are left out. What cannot be drawn is
    said once and draws no more pictures; it does not end the training.

    For top-down models. In a config, or with ``--cfg-options
    default_hooks.pictures.type=TrainingPicturesHook``::

        default_hooks = dict(pictures=dict(type="TrainingPicturesHook", interval=500))

    Args:
        interval: Iterations between two pictures, >= 1. Defaults to 500.
        num_samples: Samples in a picture, >= 1. Defaults to 4.

    Raises:
        ValueError: If one of them is smaller than 1.
    """

    priority = "VERY_LOW"

    def __init__(self, interval: int = 500, num_samples: int = 4) -> None:
        if interval < 1 or num_samples < 1:
            raise ValueError(
                "TrainingPicturesHook needs an interval and a num_samples of at least 1, got "
                f"{interval} and {num_samples}; to switch it off, take it out of the config"
            )
        self.interval = interval
        self.num_samples = num_samples
        self._failed = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None
    ) -> None:
        """Draw and hand over, in every ``interval``-th iteration and in the main process only."""
        if self._failed or not (
            self.every_n_train_iters(runner, self.interval) and is_main_process()
        ):
            return
        try:
            self._draw(runner, data_batch or {})
        except Exception as error:  # whatever it is, the training does not depend on it
            self._failed = True
            print_log(
                f"TrainingPicturesHook: no pictures of this training, since {type(error).__name__}:"
                f" {error}",
                logger="current",
                level=logging.WARNING,
            )

    def _draw(self, runner: Runner, data_batch: dict) -> None:
        inputs = data_batch["inputs"][: self.num_samples]
        samples = data_batch["data_samples"][: self.num_samples]
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        predicted = predict(model, inputs, samples)
        painter = SGLocalVisualizer(name="training_pictures", line_width=2)
        painter.set_dataset_meta(runner.train_dataloader.dataset.metainfo)
        rows = [
            sample_panels(painter, image, sample, instance)
            for image, sample, instance in zip(inputs, samples, predicted)
        ]
        sheet, _ = contact_sheet(
            [[Cell(image) for image in row.values()] for row in rows],
            title=f"iteration {runner.iter + 1}",
            columns=list(rows[0]),
        )
        runner.visualizer.add_image("train_pictures", sheet, runner.iter + 1)


@torch.no_grad()
def predict(model: torch.nn.Module, inputs, samples: list) -> list:
    """Predict in evaluation mode and leave the model in the mode it was in.

    Args:
        model: Top-down pose estimator.
        inputs: B images (3, H, W).
        samples: Their B data samples.

    Returns:
        B ``InstanceData`` with keypoints in pixels of the input, guides' maps where there are any.
    """
    training = model.training
    model.eval()
    try:
        batch = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), False)
        feats = model.extract_feat(batch["inputs"])
        predicted = model.head.predict(
            feats,
            batch["data_samples"],
            dict(model.test_cfg, flip_test=False, output_heatmaps=True),
        )
    finally:
        model.train(training)
    return predicted[0] if isinstance(predicted, tuple) else predicted


def displayable(inputs: torch.Tensor) -> np.ndarray:
    """Return a picture of an input of any kind: grey, float, 16 bit, normalised.

    Args:
        inputs: (C, H, W), BGR if C is 3. Of another C the mean is shown, in grey.

    Returns:
        (H, W, 3) RGB uint8. Values in [0, 1] are stretched to [0, 255], and so is what exceeds
        [0, 255].
    """
    values = np.moveaxis(inputs.cpu().numpy(), 0, -1)
    if values.shape[-1] == 3:
        values = values[..., ::-1]
    else:
        values = np.repeat(values.mean(axis=-1, keepdims=True), 3, axis=-1)
    if inputs.dtype == torch.uint8:
        return values.astype(np.uint8)
    values = np.nan_to_num(values.astype(np.float64))
    low, high = values.min(), values.max()
    if low < 0 or high > 255:
        values = (values - low) * (255 / (high - low))
    elif high <= 1:
        values = 255 * values
    return values.round().astype(np.uint8)


def sample_panels(painter: SGLocalVisualizer, inputs, sample, instance) -> dict[str, np.ndarray]:
    """Title -> picture of one sample, all ``HEIGHT`` pixels high."""
    image = displayable(inputs)
    zoom = HEIGHT / image.shape[0]
    size = (round(zoom * image.shape[1]), HEIGHT)
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    panels = {"input": image}

    def enlarged(values, interpolation):
        step = np.divide(size, values.shape[::-1])
        return map_in_crop(values, size, step, interpolation)

    if "gt_fields" in sample and "segmentation" in sample.gt_fields:
        mask = sample.gt_fields.segmentation.cpu().numpy().max(axis=0)
        panels["target mask"] = paint_mask(image, enlarged(mask, cv2.INTER_NEAREST))
    for number, values in enumerate(instance.get("guide_maps", [[]])[0], 1):
        panels[f"guide {number}"] = paint_map(image, enlarged(values, cv2.INTER_LINEAR))
    panels["predicted pose"] = painter.draw_pose(image, zoom * instance.keypoints[..., :2])
    return panels
