# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import runpy
from pathlib import Path

from mmengine.config import Config

from sgpose.datasets import write_toy_people

ROOT = Path(__file__).parents[2]


def test_ceiling_of_plain_and_unbiased_decoding(tmp_path):
    write_toy_people(tmp_path, num_train=0, num_val=24, occlusion=0.0)
    ceiling = runpy.run_path(str(ROOT / "tools" / "codec_ceiling.py"))["codec_ceiling"]

    def ap(**codec):
        name = "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
        cfg = Config.fromfile(ROOT / name)
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            loader.dataset.data_root = str(tmp_path)
        cfg.test_evaluator.ann_file = str(tmp_path / "annotations" / "person_keypoints_val.json")
        cfg.model.head.decoder.update(codec)
        cfg.train_dataloader.dataset.pipeline[-2].encoder.codec.update(codec)
        return ceiling(cfg)["coco/AP"]

    assert 0.97 <= ap(unbiased=True) <= 1
    assert ap(unbiased=False) < 0.95, "24x32 maps need unbiased decoding"
