# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What PyTorch >= 2.6 may load through MMEngine, and what it refuses."""

import codecs
import os
import pickle
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, SimpleNamespace

import numpy as np
import pytest
import torch
from fabricate import tiny_run
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, Runner
from mmengine.utils import digit_version
from mmpose.apis import MMPoseInferencer

from sgpose import checkpoints
from sgpose.checkpoints import number_dtype, safe_globals

TOY = Path(__file__).parents[1] / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
PROTECTED = digit_version(torch.__version__) >= digit_version("2.6")
protected = pytest.mark.skipif(not PROTECTED, reason="PyTorch < 2.6 unpickles whatever it is given")


@pytest.fixture(autouse=True)
def nobody_is_trusted(monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)


class Call:
    """Pickles as the call of a function, which runs when it is unpickled without protection."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def load(path):
    return CheckpointLoader.load_checkpoint(str(path), map_location="cpu", logger="silent")


@pytest.mark.slow
def test_training_is_resumed_tested_and_used_for_inference(tmp_path):
    cfg = tiny_run(TOY, tmp_path)
    cfg.default_hooks.checkpoint.interval = 1
    runner = Runner.from_cfg(cfg)
    runner.train()
    checkpoint = str(tmp_path / "work_dir" / "epoch_1.pth")
    history = runner.message_hub.get_scalar("train/loss").data
    saved = load(checkpoint)
    assert {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers"} <= set(saved)
    assert isinstance(saved["message_hub"]["log_scalars"]["train/loss"], HistoryBuffer)
    assert saved["message_hub"]["log_scalars"]["train/loss"].mean() == history[0].mean()
    assert saved["meta"]["dataset_meta"]["sigmas"].dtype == np.float32

    cfg.train_cfg.max_epochs = 2
    cfg.resume, cfg.load_from, cfg.experiment_name = True, checkpoint, "resumed"
    resumed = Runner.from_cfg(cfg)
    resumed.train()
    assert resumed.epoch == 2
    losses, counts = resumed.message_hub.get_scalar("train/loss").data
    assert losses.shape == counts.shape == (2,) and losses[0] == history[0][0]

    cfg.resume, cfg.load_from, cfg.experiment_name = False, checkpoint, "tested"
    assert 0 <= Runner.from_cfg(cfg).test()["coco/AP"] <= 1

    inferencer = MMPoseInferencer(
        pose2d=str(TOY), pose2d_weights=checkpoint, det_model="whole_image", device="cpu"
    )
    (result,) = next(inferencer(str(tmp_path / "0.png")))["predictions"]
    assert np.shape(result[0]["keypoints"]) == (17, 2)


def everything_a_checkpoint_holds() -> dict:
    history = HistoryBuffer([0.5, 0.25], [1, 3])
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    meta = dict(
        epoch=3,
        seed=np.int64(7),
        best_score=np.float64(0.75),
        dataset_meta=dict(
            joint_weights=np.linspace(0, 1, 5, dtype=np.float32),
            colors=np.arange(6, dtype=np.uint8).reshape(2, 3),
            upper=np.array([[True, False]]),
            order=np.asfortranarray(np.arange(6).reshape(2, 3)),
            empty=np.zeros((0, 2)),
        ),
    )
    hub = dict(log_scalars={"train/loss": history}, runtime_info={}, resumed_keys={})
    return dict(meta=meta, message_hub=hub, optimizer=optimizer.state_dict(), state_dict={})


def check_everything(loaded: dict) -> None:
    meta, made = loaded["meta"], everything_a_checkpoint_holds()["meta"]
    assert (meta["epoch"], meta["seed"], meta["best_score"]) == (3, 7, 0.75)
    assert type(meta["best_score"]) is np.float64
    for key, array in made["dataset_meta"].items():
        found = meta["dataset_meta"][key]
        assert type(found) is np.ndarray and found.dtype == array.dtype, key
        np.testing.assert_array_equal(found, array)
        assert found.flags.f_contiguous == array.flags.f_contiguous
    history = loaded["message_hub"]["log_scalars"]["train/loss"]
    assert (history.min(), history.current(), history.mean()) == (0.25, 0.25, 0.1875)
    assert history.statistics("max") == 0.5
    assert loaded["optimizer"]["state"][0]["exp_avg"].shape == (2,)


def test_all_kinds_of_values_of_a_checkpoint_load(tmp_path):
    torch.save(everything_a_checkpoint_holds(), tmp_path / "all.pth")
    check_everything(load(tmp_path / "all.pth"))


class ByNameAlone(pickle.Unpickler):
    """Gives what is asked for by name, as PyTorch does: nothing else is imported."""

    names = {name: allowed for allowed, name in safe_globals()}
    names["_codecs.encode"] = codecs.encode  # PyTorch's own, by which bytes are kept

    def find_class(self, module, name):
        asked = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if asked not in self.names:
            raise pickle.UnpicklingError(f"GLOBAL {asked} is not allowed")
        return self.names[asked]


def test_what_a_checkpoint_names_is_all_that_it_needs():
    """On every PyTorch; the tensors, which are PyTorch's own matter, are left out."""
    saved = everything_a_checkpoint_holds()
    saved["optimizer"] = {"state": [{"exp_avg": np.zeros(2)}]}
    check_everything(ByNameAlone(BytesIO(pickle.dumps(saved, protocol=2))).load())
    for name in ("Call(eval, '1')", "Call(getattr, HistoryBuffer, '__class__')"):
        content = pickle.dumps(eval(name), protocol=2)
        with pytest.raises(pickle.UnpicklingError, match="GLOBAL builtins"):
            ByNameAlone(BytesIO(content)).load()


def test_a_refusal_names_the_file_what_it_asks_for_and_the_way_out():
    def refuse(filename, map_location=None):
        raise pickle.UnpicklingError("Unsupported: GLOBAL os.system was not an allowed global")

    with pytest.raises(pickle.UnpicklingError) as error:
        checkpoints._refusing(refuse)("a/b.pth")
    assert str(error.value).startswith("a/b.pth is refused: it asks for os.system, which is not")
    assert f"set {checkpoints.TRUST}=1" in str(error.value)

    def broken(filename, map_location=None):
        raise pickle.UnpicklingError("invalid load key, '<'.")

    with pytest.raises(pickle.UnpicklingError, match="^invalid load key"):
        checkpoints._refusing(broken)("page.pth")


def test_a_checkpoint_loses_the_config_that_would_be_run_and_nothing_else():
    files = {
        "with.pth": dict(meta=dict(config="print()", epoch=3), state_dict={}),
        "bare.pth": dict(state_dict={}),
        "list.pth": [1, 2],
    }
    asked = []

    def loader(filename, map_location=None):
        asked.append(map_location)
        return files[filename]

    load = checkpoints._refusing(loader)
    assert load("with.pth", "cpu") == dict(meta=dict(epoch=3), state_dict={})
    assert load("bare.pth") == dict(state_dict={})
    assert load("list.pth", map_location="meta") == [1, 2]
    assert asked == ["cpu", None, "meta"]


def test_newer_pytorch_is_told_what_is_safe(monkeypatch):
    """The wiring alone, on every PyTorch; what it does is tested where PyTorch is >= 2.6."""
    allowed = []
    monkeypatch.setattr(torch, "__version__", "2.6.0")
    monkeypatch.setattr(torch.serialization, "add_safe_globals", allowed.extend, raising=False)
    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))
    monkeypatch.setattr("mmengine.runner.checkpoint.load_url", None)
    checkpoints.allow_checkpoints_of_mmengine()
    assert [name for _, name in allowed] == [name for _, name in safe_globals()]
    loaders = CheckpointLoader._schemes
    for prefix, loader in (
        ("", checkpoints.load_from_local),
        ("http://", checkpoints.load_from_http),
        ("https://", checkpoints.load_from_http),
    ):
        assert loaders[prefix].__wrapped__ is loader
    load_url = checkpoints.mmengine.runner.checkpoint.load_url
    assert load_url.func is torch.hub.load_state_dict_from_url
    assert load_url.keywords == dict(weights_only=None)


def pickle_of_numpy(core: str) -> SimpleNamespace:
    """Return a pickle module for torch.save that names NumPy's functions as the given core's."""

    class Pickler(pickle._Pickler):
        def save_global(self, obj, name=None):
            package, found, module = str(obj.__module__).partition("core.")
            if not found or package not in ("numpy.", "numpy._"):
                return super().save_global(obj, name)
            self.write(f"c{core}.{module}\n{obj.__name__}\n".encode())
            self.memoize(obj)

        dispatch = {
            **pickle._Pickler.dispatch,
            FunctionType: save_global,
            BuiltinFunctionType: save_global,
        }

    return SimpleNamespace(__name__="pickle", Pickler=Pickler, dump=pickle.dump, dumps=pickle.dumps)


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"], ids=["numpy 1", "numpy 2"])
def test_checkpoints_of_both_generations_of_numpy_load(tmp_path, core):
    path = tmp_path / "all.pth"
    torch.save(everything_a_checkpoint_holds(), path, pickle_module=pickle_of_numpy(core))
    assert f"c{core}.multiarray\nscalar".encode() in path.read_bytes()
    assert f"c{core}.multiarray\n_reconstruct".encode() in path.read_bytes()
    check_everything(load(path))


def marked(tmp_path: Path) -> str:
    return f"open({str(tmp_path / 'marker')!r}, 'w')"


ATTACKS = {
    "a shell command": lambda code: Call(os.system, f'{sys.executable} -c "{code}"'),
    "eval": lambda code: Call(eval, code),
    "exec": lambda code: Call(exec, code),
    "an attribute of a module": lambda code: Call(getattr, Call(__import__, "os"), "system"),
    "an attribute of an object": lambda code: Call(getattr, torch.Tensor, "numpy"),
    "the buffer's class": lambda code: Call(getattr, HistoryBuffer, "__class__"),
    "the buffer's subclasses": lambda code: Call(getattr, HistoryBuffer, "__subclasses__"),
    "the buffer's methods": lambda code: Call(getattr, HistoryBuffer, "register_statistics"),
    "a call of a statistic": lambda code: Call(HistoryBuffer.mean, HistoryBuffer([1], [1])),
    "a NumPy loader": lambda code: Call(np.load, "anything.npy", None, True),
    "an array of objects": lambda code: np.array([Call(eval, code)], dtype=object),
    "a record of objects": lambda code: np.zeros(1, dtype=[("f", "O")]),
    "an array over bytes": lambda code: Call(np.ndarray, (1,), "O", b"\1" * 8),
}


@protected
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_that_asks_for_anything_else_is_refused(tmp_path, attack):
    payload = ATTACKS[attack](marked(tmp_path))
    torch.save(dict(state_dict={}, meta=dict(seed=payload)), tmp_path / "evil.pth")
    if attack == "an array over bytes":
        # NumPy would read the bytes as the address of an object; the stand-in reads nothing
        assert load(tmp_path / "evil.pth")["meta"]["seed"].shape == (0,)
        return
    with pytest.raises(pickle.UnpicklingError) as refusal:
        load(tmp_path / "evil.pth")
    if attack != "a call of a statistic":
        assert "evil.pth is refused: it asks for " in str(refusal.value)
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1" in str(refusal.value)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("code", ["f8", "<f4", "i8", "u1", "?", "c16", "f2"])
def test_the_state_of_a_number_dtype_cannot_be_changed(code):
    dtype = number_dtype(code)
    assert dtype == np.dtype(code)
    dtype.__setstate__((3, ">", None, ("f",), {"f": (np.dtype("O"), 0)}, 1, 1, 63))
    assert dtype == np.dtype(code) and not dtype.hasobject and dtype.names is None
    assert np.dtype(code).isnative and dtype.flags == 0


@pytest.mark.parametrize("code", ["O", ">f8", "U4", "S4", "V8", "M8[s]", [("f", "O")], "f8,O"])
def test_only_numbers_have_a_dtype(code):
    with pytest.raises(pickle.UnpicklingError, match="numbers alone"):
        number_dtype(code)


def test_no_name_that_pickle_can_write_leads_to_numpys_classes():
    reachable = {allowed for allowed, name in safe_globals() if "\n" not in name}
    assert not {np.ndarray, np.dtype, type(np.dtype("f8")), getattr} & reachable


@protected
def test_a_file_runs_only_where_it_is_trusted(tmp_path, monkeypatch):
    torch.save(dict(state_dict={}, meta=Call(eval, marked(tmp_path))), tmp_path / "mine.pth")
    with pytest.raises(pickle.UnpicklingError):
        load(tmp_path / "mine.pth")
    assert not (tmp_path / "marker").exists()
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.warns(UserWarning, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        load(tmp_path / "mine.pth")
    assert (tmp_path / "marker").exists()


@protected
def test_downloads_are_protected_too(tmp_path, monkeypatch):
    torch.save(dict(meta=Call(eval, marked(tmp_path))), tmp_path / "evil.pth")
    torch.save(everything_a_checkpoint_holds(), tmp_path / "good.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(
        torch.hub,
        "download_url_to_file",
        lambda url, to, *args, **kwargs: Path(to).write_bytes(
            (tmp_path / Path(url).name).read_bytes()
        ),
    )
    with pytest.raises(pickle.UnpicklingError, match="https://nowhere.invalid/evil.pth is refused"):
        load("https://nowhere.invalid/evil.pth")
    assert not (tmp_path / "marker").exists()
    check_everything(load("https://nowhere.invalid/good.pth"))


@protected
def test_the_config_in_a_files_meta_is_not_run_by_resuming(tmp_path):
    cfg = tiny_run(TOY, tmp_path)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.interval = 1
    runner = Runner.from_cfg(cfg)
    runner.train()
    path = tmp_path / "work_dir" / "epoch_1.pth"
    checkpoint = torch.load(path)
    checkpoint["meta"]["config"] = f"x = {marked(tmp_path)}"
    torch.save(checkpoint, path)
    runner.resume(str(path))
    assert not (tmp_path / "marker").exists()


@protected
def test_a_broken_file_is_not_called_an_attack(tmp_path):
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(pickle.UnpicklingError) as error:
        load(tmp_path / "page.pth")
    assert "is refused" not in str(error.value)
    torch.save([1, 2], tmp_path / "list.pth")
    assert load(tmp_path / "list.pth") == [1, 2]


@pytest.mark.skipif(PROTECTED, reason="PyTorch >= 2.6 refuses this file")
def test_older_pytorch_is_left_as_it_is(tmp_path):
    torch.save(dict(meta=Call(eval, marked(tmp_path))), tmp_path / "mine.pth")
    load(tmp_path / "mine.pth")
    assert (tmp_path / "marker").exists()
    assert CheckpointLoader._schemes[""].__module__ == "mmengine.runner.checkpoint"
    assert not hasattr(CheckpointLoader._schemes[""], "__wrapped__")


@protected
def test_without_sgpose_mmengine_cannot_reload_its_checkpoint(tmp_path):
    """Why the module exists: fails once MMEngine can, and the module can go."""
    torch.save(everything_a_checkpoint_holds(), tmp_path / "all.pth")
    code = "import sys, mmengine.runner as r; r.CheckpointLoader.load_checkpoint(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "all.pth")], capture_output=True, text=True
    )
    assert done.returncode == 1 and "Weights only load failed" in done.stderr
