# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpose.registry import MODELS

from sgpose.comparison import read_study
from sgpose.comparison.records import config_hash
from sgpose.comparison.run import load_config

ROOT = Path(__file__).parents[2]


def build(loader: dict) -> None:
    """Build the pipeline of a loader but for PastePeople, which reads its people."""
    Compose([t for t in loader.dataset.pipeline if t.type != "PastePeople"])


def has_the_parents_of(cfg: Config, options: dict) -> bool:
    """Whether every dotted key sets something in a part that the config has."""
    for key in options:
        part = cfg
        for name in key.split(".")[:-1]:
            part = part[int(name)] if name.isdigit() else part.get(name)
            if part is None:
                return False
    return True


@pytest.mark.parametrize("path", sorted((ROOT / "docs/study").glob("*.yml")), ids=lambda p: p.stem)
def test_every_arm_of_the_studies_builds_and_is_one_of_its_own(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = read_study(path)
    hashes = set()
    for arm in study.arms:
        plain, cfg = Config.fromfile(arm.config), load_config(arm.config, arm.options)
        assert has_the_parents_of(plain, arm.options)
        hashes.add(config_hash(cfg.to_dict()))
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            build(loader)
        with torch.device("meta"):
            MODELS.build(cfg.model)
    assert len(hashes) == len(study.arms)
    for options in study.tests.values():
        assert has_the_parents_of(cfg, options)
        build(load_config(arm.config, {**arm.options, **options}).test_dataloader)
