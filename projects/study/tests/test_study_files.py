# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpose.registry import KEYPOINT_CODECS, MODELS

from benchmarks.subjects import training_batch
from projects.study.paper_tables import size_of
from sgpose.analysis.comparison import read_records, read_study, records_of
from sgpose.analysis.comparison.arms import read_config
from sgpose.analysis.comparison.records import config_hash
from sgpose.analysis.comparison.run import load_config
from sgpose.analysis.comparison.runs import has_test

ROOT = Path(__file__).parents[3]
STUDIES = ROOT / "projects/study"


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


#: Those of the paper's tables build many large networks.
FILES = [
    *sorted(STUDIES.glob("*.yml")),
    *(pytest.param(p, marks=pytest.mark.slow) for p in sorted(STUDIES.glob("paper/*.yml"))),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_arm_of_the_studies_builds_and_is_one_of_its_own(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = read_study(path)
    hashes = set()
    for arm in study.arms:
        plain, cfg = read_config(arm.config), load_config(arm.config, arm.options)
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


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*/runs.jsonl")), ids=lambda p: p.parent.name)
def test_every_record_is_of_an_arm_as_it_is_today(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = read_study(path.parent.with_suffix(".yml"))
    records = read_records(path)
    found = [r for seeds in records_of(study, records).values() for r in seeds.values()]
    assert len(found) == len(records)
    for record in found:
        assert all(has_test(record, study, test) for test in study.tests)


def losses(cfg: Config, batch: dict) -> dict:
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model(**model.data_preprocessor(copy.deepcopy(batch), True), mode="loss")


def test_the_papers_arm_of_the_confirmation_is_the_papers_form(monkeypatch):
    monkeypatch.chdir(ROOT)
    (arm,) = (
        a
        for a in read_study("projects/study/confirmation.yml").arms
        if a.name == "gated, lambda 0.002"
    )
    arm = load_config(arm.config, arm.options)
    paper = Config.fromfile("projects/study/configs/td-hm_sghrnet-w16_study-12e_lspet-128x96.py")
    batch = training_batch(paper, 2)
    assert losses(arm, batch) == losses(paper, batch)
    keypoints = np.random.default_rng(0).uniform(0, 96, (1, 14, 2)).astype(np.float32)
    masks = [
        KEYPOINT_CODECS.build(cfg.train_dataloader.dataset.pipeline[-2].encoder).encode(
            keypoints, np.ones((1, 14), np.float32)
        )["segmentation"]
        for cfg in (arm, paper)
    ]
    np.testing.assert_array_equal(*masks)


def test_the_papers_figures_stand_beside_rows_of_the_same_name():
    figures = yaml.safe_load((STUDIES / "paper/published_figures.yaml").read_text())
    absent = dict(table1={"Hourglass-8", "PRM", "DLCM", "PRAB"}, table3=set())
    absent["table2"] = {"Hourglass-8", "CPN R50", "CPN R50, OHKM", "PRAB", "EMpose"}
    for name, rows in figures.items():
        arms = {arm.name for arm in read_study(STUDIES / f"paper/{name}.yml").arms}
        assert set(rows) - arms == absent[name]
        assert figures[name] and all("value" in row for row in rows.values())


def test_the_size_of_the_papers_network_is_the_papers():
    cfg = Config.fromfile(
        ROOT / "configs/sg_hrnet/mpii/td-hm_sghrnet-w32_1xb32-210e_mpii-256x192.py"
    )
    params, gflops = size_of(cfg)
    assert params == pytest.approx(28.5, abs=0.05)
    assert gflops == pytest.approx(7.10, rel=0.1)
