# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from pathlib import Path

import pytest
import torch
from mmengine.dataset import Compose
from mmpose.registry import MODELS

from sgpose.comparison import read_study
from sgpose.comparison.records import config_hash
from sgpose.comparison.run import load_config

ROOT = Path(__file__).parents[2]


def build(pipeline: list) -> None:
    Compose([t for t in pipeline if t.type != "PastePeople"])  # which reads its people


@pytest.mark.parametrize("path", sorted((ROOT / "docs/study").glob("*.yml")), ids=lambda p: p.stem)
def test_every_arm_of_the_studies_builds_and_is_one_of_its_own(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = read_study(path)
    hashes = set()
    for arm in study.arms:
        cfg = load_config(arm.config, arm.options)
        hashes.add(config_hash(cfg.to_dict()))
        build(cfg.train_dataloader.dataset.pipeline)
        with torch.device("meta"):
            MODELS.build(cfg.model)
    assert len(hashes) == len(study.arms)
    for options in study.tests.values():
        cfg.merge_from_dict(options)
        build(cfg.test_dataloader.dataset.pipeline)
