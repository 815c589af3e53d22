# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""OpenMIM's commands, run on eight toy people."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from mim.commands.gridsearch import gridsearch
from mim.commands.test import test as mim_test
from mim.commands.train import train as mim_train
from mmengine.config import Config
from mmpose.registry import KEYPOINT_CODECS, MODELS

from sgpose.mmpose_tools import check_device, mmpose_tool

ROOT = Path(__file__).resolve().parents[1]
NAME = "td-hm_sghrnet-w16_1xb16-25e_toy-128x96"
RADIUS = "train_dataloader.dataset.pipeline.5.encoder.radius"
LOSS_WEIGHT = "model.head.segmentation_loss.loss_weight"
OPTIONS = [
    "--cfg-options",
    *(
        f"{loader}_dataloader.{option}"
        for loader in ("train", "val", "test")
        for option in ("batch_size=4", "num_workers=0", "persistent_workers=False")
    ),
    "train_cfg.val_interval=1",
    "default_hooks.logger.interval=1",
]


def run(folder: Path, *command, **env) -> str:
    """Run a Python module in a folder and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder where `mim run` has put toy people where the toy config looks for them."""
    folder = tmp_path_factory.mktemp("mim")
    run(folder, *("mim", "run", "sgpose", "make_toy_people", "data/toy", "--train=8", "--val=4"))
    return folder


@pytest.fixture(scope="module")
def trained(folder) -> Path:
    """The work dir of `mim train sgpose`, given no more than the name of a config."""
    log = run(
        folder,
        *("mim", "train", "sgpose", f"{NAME}.py", "--gpus", "0", "--work-dir", "run"),
        *(*OPTIONS, "train_cfg.max_epochs=1", "randomness.seed=3"),
    )
    assert "Epoch(train) [1][2/2]" in log and "coco/AP" in log
    return folder / "run"


def test_mim_train_trains_and_obeys_cfg_options(trained):
    cfg = Config.fromfile(trained / f"{NAME}.py")
    assert cfg.train_cfg.max_epochs == 1 and cfg.randomness.seed == 3
    assert torch.load(trained / "epoch_1.pth", weights_only=False)["meta"]["iter"] == 2


@pytest.fixture
def without_help(monkeypatch):
    """Spare OpenMIM a look at the tools' help, which takes as long as a run of them."""
    monkeypatch.setattr(subprocess, "check_output", lambda command, **kwargs: b"")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
def test_mim_train_mmpose_resumes_our_run(folder, trained, without_help, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    arguments = ("--work-dir", "run", "--resume", *OPTIONS, "train_cfg.max_epochs=2")
    config = str(ROOT / "configs" / "sg_hrnet" / "toy" / f"{NAME}.py")
    assert mim_train("mmpose", config, gpus=0, other_args=arguments)[0]
    log = "".join(capfd.readouterr())
    assert "resumed epoch: 1, iter: 2" in log
    assert "Epoch(train) [2][2/2]" in log and "Epoch(train) [1]" not in log
    state = torch.load(trained / "epoch_2.pth", weights_only=False)["state_dict"]
    assert state["head.loss_weighting.num_intervals"] == 4


def test_mim_test_tests_the_checkpoint(folder, trained, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    checkpoint = str(trained / "epoch_1.pth")
    arguments = ("--work-dir", "test", "--out", "metrics.json")
    assert mim_test("sgpose", f"{NAME}.py", checkpoint, other_args=arguments)[0]
    assert f"Load checkpoint from {checkpoint}" in "".join(capfd.readouterr())
    assert 0 <= json.loads((folder / "metrics.json").read_text())["coco/AP"] <= 1


def test_mim_run_finds_our_tools(folder):
    annotations = folder / "data" / "toy" / "annotations"
    for split, number in (("train", 8), ("val", 4)):
        written = json.loads((annotations / f"person_keypoints_{split}.json").read_text())
        assert len(written["images"]) == number


def test_mim_search_lists_the_model_index(tmp_path):
    run(tmp_path, "mim", "search", "sgpose", "--json", "models.json")
    configs = json.loads((tmp_path / "models.json").read_text())["config"]
    metafile = (ROOT / "configs" / "sg_hrnet" / "metafile.yml").read_text()
    assert configs.keys() == set(
        line[len("- Name: ") :]
        for line in metafile.splitlines()
        if line.startswith("- Name: td-hm_")
    )
    assert configs[NAME] == f"configs/sg_hrnet/toy/{NAME}.py"


@pytest.fixture
def commands(without_help, monkeypatch):
    """The commands that mim would run, none of which is run."""
    commands = []

    def check_call(command, **kwargs):
        commands.append(command)
        return 0

    monkeypatch.setattr(subprocess, "check_call", check_call)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return commands


def parsed(command: list[str], monkeypatch):
    """What MMPose makes of the arguments after our script, with those torch's launcher adds."""
    script = next(i for i, word in enumerate(command) if word.endswith(".py"))
    assert Path(command[script]).is_file()
    name = Path(command[script]).name
    assert Path(command[script]).resolve() == ROOT / "tools" / name
    monkeypatch.setattr(sys, "argv", [command[script], "--local-rank=1", *command[script + 1 :]])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    args = runpy.run_path(mmpose_tool(name))["parse_args"]()
    assert os.environ.pop("LOCAL_RANK") == "1"
    return args


@pytest.mark.parametrize("launcher", ["pytorch", "slurm"])
def test_the_commands_for_many_gpus_run_our_tools(launcher, commands, monkeypatch):
    slurm = dict(gpus_per_node=2, partition="gpus") if launcher == "slurm" else {}
    first = {
        "pytorch": [sys.executable, "-m", "torch.distributed.launch", "--nproc_per_node=4"],
        "slurm": ["srun", "-p", "gpus", "--gres=gpu:2", "--ntasks=4", "--ntasks-per-node=2"],
    }[launcher]
    mim_train("sgpose", f"{NAME}.py", 4, launcher=launcher, other_args=("--resume",), **slurm)
    mim_test("sgpose", f"{NAME}.py", "best.pth", 4, launcher=launcher, **slurm)
    for command in commands:
        assert command[: len(first)] == first
    train, test = (parsed(command, monkeypatch) for command in commands)
    assert Path(train.config) == Path(test.config)
    assert Path(train.config) == ROOT / "configs" / "sg_hrnet" / "toy" / f"{NAME}.py"
    assert train.launcher == test.launcher == launcher
    assert train.resume == "auto" and test.checkpoint == "best.pth"


def test_mim_gridsearch_searches_radius_and_loss_weight(commands, monkeypatch, tmp_path):
    search = f"--{RADIUS} 2.0 3.0 --{LOSS_WEIGHT} 0.002 0.02"
    others = ("--work-dir", str(tmp_path / "grid"), *OPTIONS, "randomness.seed=3")
    gridsearch("sgpose", f"{NAME}.py", 0, search_args=search, other_args=others)
    runs = []
    for command in commands:
        args = parsed(command, monkeypatch)
        assert Path(args.work_dir) == Path(args.config).parent
        assert args.cfg_options["randomness.seed"] == 3
        cfg = Config.fromfile(args.config)
        codec = KEYPOINT_CODECS.build(cfg.train_dataloader.dataset.pipeline[5].encoder)
        loss = MODELS.build(cfg.model.head.segmentation_loss)
        runs.append((codec.radius, loss.loss_weight))
    assert sorted(runs) == [(2.0, 0.002), (2.0, 0.02), (3.0, 0.002), (3.0, 0.02)]


def test_mim_gridsearch_takes_only_values_of_the_configs_type(commands):
    # `2` is an integer: OpenMIM's message speaks of a missing argument
    with pytest.raises(AssertionError, match="radius not in the config"):
        gridsearch("sgpose", f"{NAME}.py", 0, search_args=f"--{RADIUS} 2 3")
    assert commands == []


@pytest.mark.slow
def test_an_installed_wheel_is_as_good_as_an_editable_install(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("configs", "docs/images", "sgpose", "tools"):
        ignore = shutil.ignore_patterns("__pycache__", ".mim")
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    pip = ("pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index")
    run(tmp_path, *pip, "--target", target, source)
    shutil.rmtree(source)
    (tmp_path / "own.py").write_text(f"_base_ = 'sgpose::sg_hrnet/toy/{NAME}.py'\nmore = 1\n")
    script = f"""
        import sgpose
        from pathlib import Path
        from mim.commands.search import get_model_info
        from mmengine.config import Config
        from mmpose.registry import MODELS

        assert Path(sgpose.__file__).is_relative_to({str(target)!r})
        own = Config.fromfile("own.py")
        assert own.more == 1
        # only `import sgpose`: a name is enough to build
        model = MODELS.build(own.model)
        assert type(model.backbone).__name__ == "SGHRNet"
        assert {NAME!r} in get_model_info("sgpose").index
    """
    (tmp_path / "own_script.py").write_text(textwrap.dedent(script))
    run(tmp_path, "own_script", PYTHONPATH=str(target))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["config.py", "--amp"], "--amp: .* needs a GPU.*train in float32"),
        (["config.py", "--launcher", "pytorch"], "--launcher pytorch: .*run in one process"),
        (["config.py", "best.pth", "--launcher=slurm"], "--launcher slurm: .*one process per GPU"),
    ],
)
def test_what_needs_a_gpu_is_refused_without(arguments, complaint, monkeypatch):
    monkeypatch.setattr("sgpose.mmpose_tools.get_device", lambda: "cpu")
    with pytest.raises(SystemExit, match=complaint):
        check_device(arguments)
    monkeypatch.setattr("sgpose.mmpose_tools.get_device", lambda: "cuda")
    check_device(arguments)


def test_what_needs_no_gpu_is_let_through(monkeypatch):
    monkeypatch.setattr("sgpose.mmpose_tools.get_device", lambda: "cpu")
    check_device(["config.py", "--launcher", "none", "--cfg-options", "a=1"])
