# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmpose.registry import HOOKS

from ..atomic_backend import UNFINISHED, AtomicBackend, replace_file

# What MMEngine's message hub holds under these names is saved and resumed.
OUTDATED = "outdated_ckpts"
FOLDER = "ckpt_folder"
KEPT = "keep_ckpt_ids"
LAST = "last_checkpoint"


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook, after which a run can be resumed whenever it was killed.

    MMEngine writes checkpoints and ``last_checkpoint`` in place, and deletes a checkpoint before
    it writes the one that takes its place. Here each of these files is complete or not there, and
    what is replaced, the best checkpoint too, is deleted last. Checkpoints that are not saved in
    local files are left to their backend.

    The disk needs room for one more checkpoint than ``max_keep_ckpts``. What a killed run did not
    come to delete, the run that resumes it deletes, but for a best checkpoint that was complete
    when nothing referred to it yet.

    Only checkpoints that this run, or the one it goes on from, saved in this folder are deleted.
    A run that is resumed from a checkpoint of another folder, or from a copy, leaves alone what
    lies in its own. A work folder that was moved can be resumed.

    The arguments are those of CheckpointHook.

    Example:
        >>> default_hooks = dict(checkpoint=dict(type="AtomicCheckpointHook", interval=10))
    """

    # a runner may validate or save without training
    file_backend = None
    _local = False

    def before_run(self, runner) -> None:
        """Let a folder be resumed that was moved after ``last_checkpoint`` was written."""
        super().before_run(runner)
        if is_main_process():
            mend_last_checkpoint(runner.work_dir)
        barrier()

    def before_train(self, runner) -> None:
        info = runner.message_hub.runtime_info
        # what the resumed checkpoint says of its folder; MMEngine would take it for this one
        outdated = _strings(info.pop(OUTDATED, []))
        folder = info.pop(FOLDER, None)
        kept = [step for step in info.pop(KEPT, []) if isinstance(step, int)]
        super().before_train(runner)
        # no other class that inherits from these: it may have its own way of writing
        self._local = type(self.file_backend) in (LocalBackend, AtomicBackend)
        if self._local and is_main_process():
            Path(self.out_dir).mkdir(parents=True, exist_ok=True)
        same = not self._local or folder == _identity(self.out_dir) is not None
        if same and self.max_keep_ckpts > 0:
            self.keep_ckpt_ids.extend(kept)
            outdated += [self.filename_tmpl.format(i) for i in kept[: -self.max_keep_ckpts]]
        if not self._local:
            return
        self.backend_args = dict(backend="atomic")
        self._settle_best(runner, same)
        if is_main_process():
            if same:
                self._delete(outdated)
            for leftover in Path(self.out_dir).glob(f"*{UNFINISHED}"):
                if self._is_own(leftover.stem) and leftover.is_file():
                    leftover.unlink()

    def _settle_best(self, runner, same: bool) -> None:
        """Find the best checkpoints so far in this folder, or forget them: not those of others."""
        keys = [key for key in runner.message_hub.runtime_info if key.startswith("best_ckpt")]
        for key in keys:
            path = runner.message_hub.runtime_info.pop(key)
            name = os.path.basename(path) if isinstance(path, str) else ""
            path = os.path.join(self.out_dir, name) if same and self._is_own(name) else None
            indicator = key.removeprefix("best_ckpt").removeprefix("_")
            if path:
                runner.message_hub.update_info(key, path)
            if hasattr(self, "best_ckpt_path_dict") and indicator:
                self.best_ckpt_path_dict[indicator] = path
            elif hasattr(self, "best_ckpt_path") and not indicator:
                self.best_ckpt_path = path

    def _is_own(self, name: str) -> bool:
        """Whether this hook gives such names to checkpoints in ``out_dir``."""
        saved = re.sub(r"\\{.*?\\}", r"\\d+", re.escape(self.filename_tmpl))
        return re.fullmatch(rf"(best_[^/\\]+_)?{saved}", name) is not None

    def _delete(self, names: Iterable[str]) -> None:
        """Delete checkpoints of this hook in this folder, and nothing else, whatever the names."""
        for name in filter(self._is_own, names):
            path = Path(self.out_dir, name)
            if path.is_file():
                path.unlink()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Say in the checkpoint what it replaces, for the run that is resumed from it."""
        outdated = getattr(self.file_backend, "outdated", ())
        checkpoint["message_hub"]["runtime_info"].update(
            {OUTDATED: sorted(map(os.path.basename, outdated)), FOLDER: _identity(self.out_dir)}
        )

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        with self._deleting_last():
            super()._save_best_checkpoint(runner, metrics)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        if not self._local:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        unfinished = Path(runner.work_dir, f"{LAST}{UNFINISHED}")
        if is_main_process():
            unfinished.mkdir(parents=True, exist_ok=True)
        with self._deleting_last():
            super()._save_checkpoint_with_step(_In(str(unfinished), runner), step, meta)
            if is_main_process():
                replace_file(unfinished / LAST, Path(runner.work_dir, LAST))
                unfinished.rmdir()

    @contextmanager
    def _deleting_last(self) -> Iterator[None]:
        """Delete what MMEngine deletes in this block when the block is done."""
        backend = self.file_backend
        if not self._local or isinstance(backend, _DeletingLater):
            yield
            return
        later = self.file_backend = _DeletingLater()
        try:
            yield
        finally:
            self.file_backend = backend
        self._delete(map(os.path.basename, later.outdated - self._current()))

    def _current(self) -> set[str]:
        """Return the paths of the checkpoints to which this run refers."""
        best = getattr(self, "best_ckpt_path_dict", {}).values()
        return {self.last_ckpt, getattr(self, "best_ckpt_path", None), *best}


def mend_last_checkpoint(work_dir: str) -> None:
    """Let ``last_checkpoint``, which holds a path, name a file of its own folder if it is gone.

    Args:
        work_dir: A folder that may have been moved since.
    """
    file = Path(work_dir, LAST)
    if not file.is_file():
        return
    named = file.read_text().strip()
    moved = os.path.join(work_dir, re.split(r"[/\\]", named)[-1])
    if named and not os.path.exists(named) and os.path.isfile(moved):
        print_log(f"{named} is not there, {moved} is resumed in its place", logger="current")
        AtomicBackend().put_text(moved, file)


def _identity(folder: str | None) -> int | None:
    """Return a number by which a folder is known, also when it was moved, or None."""
    try:
        return None if folder is None else os.stat(folder).st_ino
    except OSError:
        return None


def _strings(names) -> list[str]:
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


class _In:
    """A runner as it is, but for its work dir, where MMEngine writes `last_checkpoint`."""

    def __init__(self, work_dir: str, runner) -> None:
        self.work_dir = work_dir
        self._runner = runner

    def __getattr__(self, name: str):
        return getattr(self._runner, name)


class _DeletingLater(LocalBackend):
    """Local files, but those to delete are only noted."""

    def __init__(self) -> None:
        self.outdated: set[str] = set()

    def remove(self, filepath: str) -> None:
        self.outdated.add(filepath)
