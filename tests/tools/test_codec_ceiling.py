# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.utils import get_installed_path
from mmpose.datasets import CocoDataset

from sgpose.analysis.codec_ceiling import codec_ceiling
from sgpose.datasets import write_toy_people

ROOT = Path(__file__).parents[2]


def test_ceiling_of_plain_and_unbiased_decoding(tmp_path):
    write_toy_people(tmp_path, num_train=0, num_val=24, occlusion=0.0)

    def ap(**codec):
        name = "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
        cfg = Config.fromfile(ROOT / name)
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            loader.dataset.data_root = str(tmp_path)
        cfg.test_evaluator.ann_file = str(tmp_path / "annotations" / "person_keypoints_val.json")
        cfg.model.head.decoder.update(codec)
        cfg.train_dataloader.dataset.pipeline[-2].encoder.codec.update(codec)
        return codec_ceiling(cfg)["coco/AP"]

    assert 0.97 <= ap(unbiased=True) <= 1
    assert ap(unbiased=False) < 0.95, "24x32 maps need unbiased decoding"


def test_a_set_without_sigmas_has_no_oks(tmp_path):
    write_toy_people(tmp_path, num_train=0, num_val=1)
    cfg = Config.fromfile(ROOT / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py")
    info = CocoDataset.METAINFO
    meta = Config.fromfile(get_installed_path("mmpose") + "/.mim/" + info["from_file"]).dataset_info
    cfg.test_dataloader.dataset.update(data_root=str(tmp_path), metainfo=dict(meta, sigmas=[]))
    cfg.test_evaluator.ann_file = str(tmp_path / "annotations" / "person_keypoints_val.json")
    with pytest.raises(ValueError, match=r"'coco' has 0 sigmas for 17 keypoints: OKS .*PCKAcc"):
        codec_ceiling(cfg)
    cfg.test_evaluator = dict(type="PCKAccuracy", thr=0.05)
    assert codec_ceiling(cfg)["PCK"] == 1
