# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The paper's tables: print them with sizes and what was run, or try that every row runs.

    python -m projects.study.paper_tables                   parameters and GFLOPs of every row
    python -m projects.study.paper_tables --try table1      a training step and a test of each row

Sizes are counted for all rows alike: the network as it is deployed (guides folded, batch norms
fused), for one crop, by PyTorch's counter; a multiply-add is one operation, as in the paper.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from pathlib import Path

import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch.utils.flop_counter import FlopCounterMode

from projects import study  # noqa: F401
from sgpose.analysis.comparison import read_records, read_study, records_of
from sgpose.analysis.comparison.run import load_config, run
from sgpose.deploy import fold_guides
from sgpose.deploy.folding import fuse_layers

HERE = Path(__file__).parent / "paper"
TABLES = ("table1", "table2", "table3")


def size_of(cfg: Config) -> tuple[float, float]:
    """Return millions of parameters and GFLOPs of a config's network as it is deployed."""
    model = MODELS.build(copy.deepcopy(cfg.model)).eval()
    fold = fold_guides if hasattr(model.backbone, "guides") else fuse_layers
    fold(model)
    network = torch.nn.Sequential(model.backbone, model.head).to("meta")  # no row has a neck
    width, height = cfg.codec["input_size"]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, height, width, device="meta"))
    params = sum(parameter.numel() for parameter in network.parameters())
    return params / 1e6, counter.get_total_flops() / 2e9


def table(name: str) -> str:
    """Return a table as Markdown: sizes, the paper's figures, and the mean of what was run."""
    figures = yaml.safe_load((HERE / "published_figures.yaml").read_text())[name]
    trained = read_study(HERE / f"{name}.yml")
    records = records_of(trained, read_records(HERE / name / "runs.jsonl"))
    lines = [
        f"| {trained.metric} | parameters, M | GFLOPs | paper: M | GFLOPs | value | ours |",
        "|---" * 7 + "|",
    ]
    for arm in trained.arms:
        params, flops = size_of(load_config(arm.config, arm.options))
        row = [arm.name, f"{params:.1f}", f"{flops:.2f}", *_published(figures.pop(arm.name, {}))]
        runs = [record["value"] for record in records[arm.name].values()]
        row.append(f"{sum(runs) / len(runs):.1f} ({len(runs)})" if runs else "not run")
        lines.append(f"| {' | '.join(row)} |")
    for absent, published in figures.items():
        row = [absent, "-", "-", *_published(published), "not in MMPose"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _published(figures: dict) -> list[str]:
    return [f"{figures[key]:g}" if key in figures else "-" for key in ("params", "gflops", "value")]


def try_rows(name: str, images: int = 2) -> None:
    """Train every row of a table for one step and test it, on a few images and without weights."""
    trained = read_study(HERE / f"{name}.yml")
    for arm in trained.arms:
        options = {
            **arm.options,
            "model.backbone.init_cfg": None,
            "train_cfg": {"max_epochs": 1, "val_interval": 1},
            "default_hooks.checkpoint.save_best": None,
            "visualizer.name": f"{name}, {arm.name}",  # one by another name would go on
        }
        cfg = load_config(arm.config, {})
        if cfg.model.backbone.type == "SGBackbone":
            options["model.backbone.backbone.init_cfg"] = options.pop("model.backbone.init_cfg")
        for split in ("train", "val", "test"):
            options[f"{split}_dataloader"] = {
                "batch_size": images,
                "num_workers": 0,
                "persistent_workers": False,
            }
            options[f"{split}_dataloader.dataset.indices"] = images
        if "bbox_file" in cfg.test_dataloader.dataset:
            for split in ("val", "test"):
                options[f"{split}_dataloader.dataset.bbox_file"] = None
        with tempfile.TemporaryDirectory() as folder:
            job = dict(config=arm.config, options=json.loads(json.dumps(options)), seed=0)
            found = run(dict(job, work_dir=folder, metric=trained.metric, tests={}))
        print(f"{name}, {arm.name}: runs, {found['parameters'] / 1e6:.1f} M parameters", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}")
    parser.add_argument("--try", action="store_true", dest="dry", help="one step of every row")
    args = parser.parse_args()
    init_default_scope("mmpose")
    for name in args.tables or TABLES:
        if args.dry:
            try_rows(name)
        else:
            print(f"\n## {name}\n\n{table(name)}", flush=True)


if __name__ == "__main__":
    main()
