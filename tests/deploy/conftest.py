# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from deployed_models import TOY, random_model, small_config
from mmengine.config import Config
from mmpose.apis import init_model
from torch import nn

from sgpose.datasets import toy_sample


@dataclass
class Trained:
    """A config with a checkpoint for it."""

    cfg: Config
    checkpoint: Path

    def model(self) -> nn.Module:
        return init_model(Config(self.cfg.to_dict()), str(self.checkpoint), device="cpu")


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Callable[..., Trained]:
    """Return a function that makes a model with the arguments of ``small_config``, once each."""
    made: dict = {}

    def make(codec: str = "unbiased", config: Path = TOY) -> Trained:
        if (codec, config) not in made:
            cfg = small_config(codec, config)
            path = tmp_path_factory.mktemp("trained") / "model.pth"
            model = random_model(Config(cfg.to_dict()))
            torch.save(
                dict(state_dict=model.state_dict(), meta=dict(dataset_meta=model.dataset_meta)),
                path,
            )
            made[codec, config] = Trained(cfg, path)
        return made[codec, config]

    return make


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory) -> Callable[..., Path]:
    """Return a function that exports a model to a file, once for the same arguments."""
    from sgpose.deploy import export_onnx

    made: dict = {}

    def export(codec: str = "unbiased", config: Path = TOY, **options) -> Path:
        key = (codec, config, *sorted(options.items()))
        if key not in made:
            source = trained(codec, config)
            path = tmp_path_factory.mktemp("exported") / "model.onnx"
            export_onnx(Config(source.cfg.to_dict()), source.checkpoint, path, **options)
            made[key] = path
        return made[key]

    return export


@pytest.fixture(scope="session")
def picture():
    """A toy person, (H, W, 3)."""
    return toy_sample(seed=3, index=0)[0]
