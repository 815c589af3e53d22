# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.fileio import get_file_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import MessageHub
from mmengine.runner import find_latest_checkpoint, save_checkpoint
from mmpose.registry import HOOKS

from sgpose.engine import AtomicBackend, AtomicCheckpointHook, atomic_backend
from sgpose.engine.hooks.atomic_checkpoint_hook import mend_last_checkpoint

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_while_saving.py"
ATOMIC = dict(backend="atomic")


def test_what_was_put_is_there_and_nothing_else(tmp_path):
    backend = get_file_backend(backend_args=ATOMIC)
    assert type(backend) is AtomicBackend
    backend.put(b"one", str(tmp_path / "new" / "file"))
    backend.put(b"two", str(tmp_path / "new" / "file"))
    backend.put_text("käse", tmp_path / "text")
    assert (tmp_path / "new" / "file").read_bytes() == b"two"
    assert (tmp_path / "text").read_text("utf-8") == "käse"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "new", "text"]


def test_a_put_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(file):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        AtomicBackend().put(b"new", str(path))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(os, "fsync", lambda file: steps.append("sync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *a: (steps.append("rename"), replace(*a)))
    AtomicBackend().put(b"new", str(tmp_path / "file"))
    assert steps == (["sync", "rename", "sync"] if os.name == "posix" else ["sync", "rename"])


def sync_as(system: str, real=os.fsync):
    """Return what ``fsync`` is on Windows or on a network share."""

    def fsync(file):
        if system == "windows" and fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        if system != "windows" and stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(getattr(errno, system), "network share")
        real(file)

    return fsync


@pytest.mark.skipif(os.name != "posix", reason="emulates others")
@pytest.mark.parametrize("system", ["windows", "EINVAL", "EIO", "EBADF", "ENOTSUP"])
def test_files_are_replaced_on_windows_and_network_shares(tmp_path, monkeypatch, system):
    monkeypatch.setattr(os, "fsync", sync_as(system))
    if system == "windows":
        monkeypatch.setattr(atomic_backend, "_sync_folder", None)
        monkeypatch.setattr(atomic_backend, "os", Windows())
    Runner(tmp_path).run(build(), [0.1, 0.3])
    assert names(tmp_path) == ["best_AP_epoch_2.pth", "epoch_2.pth", "last_checkpoint"]


class Windows:
    """Python's os, of another name."""

    name = "nt"

    def __getattr__(self, name):
        return getattr(os, name)


def test_an_error_of_the_disk_is_told(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "new").write_bytes(b"new")
    monkeypatch.setattr(os, "fsync", lambda file: None)
    atomic_backend.replace_file(tmp_path / "new", tmp_path / "file")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_backend._sync_folder(str(tmp_path))


def test_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    atomic_backend._sync_folder(str(tmp_path))


class Runner:
    """What the hook asks of a runner; it notes the folder's files at each save."""

    def __init__(self, work_dir, metric=None):
        self.work_dir, self.metric = str(work_dir), metric
        self.epoch = self.iter = 0
        self.rank = get_rank()
        self.message_hub = MessageHub.get_instance(f"hub of {work_dir} {id(self)}")
        self.logger = self
        self.saw, self.saved, self.hook = [], [], Hook()

    def info(self, message):
        pass

    def save_checkpoint(self, out_dir, filename, file_client_args=None, backend_args=None, **kw):
        self.saw.append({p.name for p in Path(out_dir).glob("*.pth")})
        checkpoint = dict(epoch=self.epoch, message_hub=self.message_hub.state_dict())
        self.hook.before_save_checkpoint(self, checkpoint)
        self.saved.append(checkpoint)
        save_checkpoint(checkpoint, f"{out_dir}/{filename}", None, backend_args)

    def run(self, hook, scores):
        self.hook = hook
        hook.before_train(self)
        for score in scores:
            hook.after_train_epoch(self)
            self.epoch += 1
            self.iter += 1
            hook.after_val_epoch(self, dict(AP=score))

    def is_last_train_epoch(self):
        return False


def names(folder):
    return sorted(p.name for p in Path(folder).iterdir())


def build(**kwargs):
    kwargs = {**dict(interval=1, max_keep_ckpts=1, save_best="AP", rule="greater"), **kwargs}
    return HOOKS.build(dict(type="AtomicCheckpointHook", save_last=False, **kwargs))


def test_the_files_are_those_of_mmengines_hook(tmp_path):
    scores = [0.1, 0.3, 0.2, 0.4, 0.4]
    theirs = CheckpointHook(
        interval=1, max_keep_ckpts=1, save_best="AP", rule="greater", save_last=False
    )
    for name, hook in (("ours", build()), ("theirs", theirs)):
        Runner(tmp_path / name).run(hook, scores)
    assert (
        names(tmp_path / "ours")
        == names(tmp_path / "theirs")
        == [
            "best_AP_epoch_4.pth",
            "epoch_5.pth",
            "last_checkpoint",
        ]
    )
    latest = find_latest_checkpoint(str(tmp_path / "ours"))
    assert latest == str(tmp_path / "ours" / "epoch_5.pth")
    assert torch.load(latest)["epoch"] == 4


def test_what_is_replaced_is_there_until_the_new_one_is_complete(tmp_path):
    runner = Runner(tmp_path)
    runner.run(build(), [0.1, 0.3])
    assert runner.saw == [
        set(),
        {"epoch_1.pth"},
        {"epoch_1.pth", "best_AP_epoch_1.pth"},
        {"epoch_1.pth", "best_AP_epoch_1.pth"},  # about to save epoch 2
        {"epoch_2.pth", "best_AP_epoch_1.pth"},  # its best
        {"epoch_2.pth", "best_AP_epoch_1.pth", "best_AP_epoch_2.pth"},  # and itself again
    ]


def test_a_save_that_fails_deletes_nothing(tmp_path, monkeypatch):
    runner, hook = Runner(tmp_path), build()
    runner.run(hook, [0.1])
    before = names(tmp_path)

    def full(file):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        hook.after_train_epoch(runner)
    assert set(before) <= set(names(tmp_path))
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_1.pth")


def test_leftovers_of_a_killed_run_go_when_it_is_resumed(tmp_path):
    (tmp_path / f"epoch_7.pth{atomic_backend.UNFINISHED}").write_bytes(b"half")
    others = [f"{name}{atomic_backend.UNFINISHED}" for name in ("mine", "small.pth")]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / f"best_AP_epoch_7.pth{atomic_backend.UNFINISHED}").write_bytes(b"half")
    build().before_train(Runner(tmp_path))
    assert names(tmp_path) == others


def test_a_best_checkpoint_in_another_folder_is_not_deleted(tmp_path):
    elsewhere = tmp_path / "best_AP_epoch_9.pth"
    elsewhere.write_bytes(b"mine")
    runner = Runner(tmp_path / "run")
    runner.message_hub.update_info_dict(dict(best_ckpt=str(elsewhere), best_score=0.1))
    runner.run(build(), [0.5, 0.6])
    assert elsewhere.exists()
    assert names(tmp_path / "run") == ["best_AP_epoch_2.pth", "epoch_2.pth", "last_checkpoint"]


def test_several_bests_and_another_folder(tmp_path):
    hook = HOOKS.build(
        dict(
            type="AtomicCheckpointHook",
            interval=1,
            save_best=["AP", "AR"],
            rule="greater",
            save_last=False,
            out_dir=str(tmp_path / "out"),
        )
    )
    runner = Runner(tmp_path / "run")
    hook.before_train(runner)
    for ap, ar in [(1, 1), (2, 0), (1, 2)]:
        hook.after_train_epoch(runner)
        runner.epoch += 1
        hook.after_val_epoch(runner, dict(AP=ap, AR=ar))
    found = ["best_AP_epoch_2.pth", "best_AR_epoch_3.pth"]
    assert names(tmp_path / "out" / "run") == [*found, *(f"epoch_{i}.pth" for i in (1, 2, 3))]
    assert names(tmp_path / "run") == ["last_checkpoint"]


def test_other_storage_is_left_to_its_backend(tmp_path):
    class Other(AtomicBackend):
        pass

    hook, runner = build(), Runner(tmp_path)
    hook.before_train(runner)
    assert hook.backend_args == ATOMIC
    hook.before_train(runner)
    assert hook.backend_args == ATOMIC and hook._local, "also when it trains again"

    from mmengine.fileio import register_backend

    register_backend("other", Other, force=True)
    hook = build(backend_args=dict(backend="other"))
    runner.run(hook, [0.5])
    assert hook.backend_args == dict(backend="other") and not hook._local
    assert "last_checkpoint" in names(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_run_killed_while_saving_can_be_resumed():
    """The script's default of a hundred kills takes a minute or two; here are a few."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "5"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kills"], found["cannot_resume"]) == (5, 0) and found["saved"] > 0


def test_what_a_killed_run_did_not_delete_goes_when_it_is_resumed(tmp_path, monkeypatch):
    elsewhere = tmp_path / "epoch_9.pth"
    elsewhere.write_bytes(b"mine")
    folder = tmp_path / "run"
    hook, runner = build(), Runner(folder)
    runner.run(hook, [0.1])

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", killed)
        hook.after_train_epoch(runner)
    assert {"epoch_1.pth", "epoch_2.pth"} < set(names(folder))
    checkpoint = runner.saved[-1]
    assert checkpoint["message_hub"]["runtime_info"]["outdated_ckpts"] == ["epoch_1.pth"]

    (folder / "last_checkpoint.unfinished").mkdir()
    resumed = resume(checkpoint, folder)
    build().before_train(resumed)
    assert "epoch_1.pth" not in names(folder) and "epoch_2.pth" in names(folder)
    assert elsewhere.exists()
    assert "outdated_ckpts" not in resumed.message_hub.runtime_info


def resume(checkpoint, folder) -> Runner:
    """Return a runner that goes on in a folder from a checkpoint, as MMEngine's does."""
    runner = Runner(folder)
    runner.message_hub.load_state_dict(checkpoint["message_hub"])
    last = Path(checkpoint["message_hub"]["runtime_info"]["last_ckpt"]).stem
    runner.epoch = runner.iter = int(last.removeprefix("epoch_"))
    return runner


def test_a_run_goes_on_as_if_it_had_not_ended(tmp_path):
    runner = Runner(tmp_path / "run")
    runner.run(build(), [0.1, 0.3, 0.2])
    resumed = resume(runner.saved[-1], tmp_path / "run")
    resumed.run(build(), [0.1, 0.9])
    whole = Runner(tmp_path / "whole")
    whole.run(build(), [0.1, 0.3, 0.2, 0.1, 0.9])
    assert names(tmp_path / "run") == names(tmp_path / "whole")
    assert names(tmp_path / "run") == ["best_AP_epoch_5.pth", "epoch_5.pth", "last_checkpoint"]


@pytest.mark.parametrize("fewer", [False, True])
def test_files_of_another_run_are_left_alone(tmp_path, fewer):
    """A run's checkpoint is resumed in a folder that holds another run's of the same names."""
    first = Runner(tmp_path / "a")
    first.run(build(max_keep_ckpts=2), [0.1, 0.3])
    (tmp_path / "b").mkdir()
    others = ["best_AP_epoch_2.pth", "epoch_1.pth", "epoch_2.pth"]
    for name in others:
        (tmp_path / "b" / name).write_bytes(b"mine")
    resumed = resume(first.saved[-1], tmp_path / "b")
    resumed.run(build(max_keep_ckpts=1 if fewer else 2), [0.1, 0.2, 0.9])
    assert [(tmp_path / "b" / name).read_bytes() for name in others] == [b"mine"] * 3
    own = ["epoch_5.pth"] if fewer else ["epoch_4.pth", "epoch_5.pth"]
    assert names(tmp_path / "b") == sorted([*others, *own, "best_AP_epoch_5.pth"]) + [
        "last_checkpoint"
    ]


def test_fewer_checkpoints_are_kept_after_resuming(tmp_path):
    runner = Runner(tmp_path)
    runner.run(build(max_keep_ckpts=3, save_best=None), [0.1] * 3)
    build(max_keep_ckpts=1, save_best=None).before_train(resume(runner.saved[-1], tmp_path))
    assert names(tmp_path) == ["epoch_3.pth", "last_checkpoint"]


HOSTILE = ["", ".", "..", "notes.txt", "../elsewhere.pth", "best_x/../notes.txt", 7, None, ["x"]]


@pytest.mark.parametrize("same", [False, True])
def test_whatever_a_checkpoint_names_only_checkpoints_go(tmp_path, same):
    folder = tmp_path / "run"
    runner = Runner(folder)
    runner.run(build(), [0.1])
    kept = ["notes.txt", "last_checkpoint", "resnet.pth", "epoch_x.pth", "best.pth"]
    for name in kept:
        (folder / name).write_bytes(b"mine")
    (tmp_path / "elsewhere.pth").write_bytes(b"mine")
    (folder / "epoch_9.pth").mkdir()
    hub = runner.saved[-1]["message_hub"]["runtime_info"]
    hub["outdated_ckpts"] = [*HOSTILE, *kept, "epoch_9.pth"]
    hub["keep_ckpt_ids"] = ["../elsewhere", *HOSTILE]
    hub["best_ckpt"] = str(folder / "notes.txt")
    if not same:
        hub["ckpt_folder"] = 0
    resume(runner.saved[-1], folder).run(build(), [0.5, 0.6])
    assert set(kept) | {"epoch_9.pth"} < set(names(folder))
    assert (tmp_path / "elsewhere.pth").exists()


@pytest.mark.parametrize("listed", ["epoch_1.pth", None, 3, {"a": 1}])
def test_lists_that_are_none(tmp_path, listed):
    runner = Runner(tmp_path)
    runner.run(build(), [0.1])
    runner.saved[-1]["message_hub"]["runtime_info"]["outdated_ckpts"] = listed
    build().before_train(resume(runner.saved[-1], tmp_path))
    assert "epoch_1.pth" in names(tmp_path)


def test_a_moved_folder_is_resumed_and_tidied(tmp_path):
    runner = Runner(tmp_path / "old")
    runner.run(build(), [0.1])
    (tmp_path / "old").rename(tmp_path / "new")
    assert not Path(find_latest_checkpoint(str(tmp_path / "new"))).exists()
    resumed, hook = resume(runner.saved[-1], tmp_path / "new"), build()
    hook.before_run(resumed)
    assert find_latest_checkpoint(str(tmp_path / "new")) == str(tmp_path / "new" / "epoch_1.pth")
    resumed.run(hook, [0.5])
    assert names(tmp_path / "new") == ["best_AP_epoch_2.pth", "epoch_2.pth", "last_checkpoint"]


@pytest.mark.parametrize("path", ["/old/epoch_1.pth", "D:\\runs\\old\\epoch_1.pth", "epoch_1.pth"])
def test_a_last_checkpoint_of_another_machine_is_found_by_its_name(tmp_path, path):
    (tmp_path / "last_checkpoint").write_text(path)
    mend_last_checkpoint(str(tmp_path))
    assert find_latest_checkpoint(str(tmp_path)) == path, "there is no such file here either"
    (tmp_path / "epoch_1.pth").write_bytes(b"weights")
    mend_last_checkpoint(str(tmp_path))
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_1.pth")


def test_a_last_checkpoint_that_is_there_is_kept(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "epoch_1.pth").write_bytes(b"theirs")
    (tmp_path / "epoch_1.pth").write_bytes(b"mine")
    (tmp_path / "last_checkpoint").write_text(str(elsewhere / "epoch_1.pth"))
    mend_last_checkpoint(str(tmp_path))
    assert find_latest_checkpoint(str(tmp_path)) == str(elsewhere / "epoch_1.pth")


def test_a_run_that_does_not_train_can_validate_and_save(tmp_path):
    runner, hook = Runner(tmp_path), build()
    runner.hook = hook
    runner.save_checkpoint(str(tmp_path), "saved.pth")
    assert names(tmp_path) == ["saved.pth"]
    without = HOOKS.build(dict(type="AtomicCheckpointHook"))
    without.after_val_epoch(runner, dict(AP=0.5))
    assert names(tmp_path) == ["saved.pth"]


def test_it_is_a_checkpoint_hook():
    assert issubclass(AtomicCheckpointHook, CheckpointHook), "MMEngine treats these specially"
