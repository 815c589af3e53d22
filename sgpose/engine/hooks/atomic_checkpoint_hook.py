# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmpose.registry import HOOKS

from ..atomic_backend import UNFINISHED, AtomicBackend, replace_file

OUTDATED = "outdated_ckpts"


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

    The arguments are those of CheckpointHook.
    """

    # a runner may validate or save without training
    file_backend = None
    _local = False

    def before_train(self, runner) -> None:
        super().before_train(runner)
        # no other class that inherits from these: it may have its own way of writing
        self._local = type(self.file_backend) in (LocalBackend, AtomicBackend)
        if not self._local:
            return
        self.backend_args = dict(backend="atomic")
        outdated = runner.message_hub.runtime_info.pop(OUTDATED, [])
        if is_main_process():
            for name in outdated:
                # of this folder alone, whatever the checkpoint says
                Path(self.out_dir, os.path.basename(name)).unlink(missing_ok=True)
            for leftover in Path(self.out_dir).glob(f"*.pth{UNFINISHED}"):
                leftover.unlink()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Say in the checkpoint what it replaces, for the run that is resumed from it."""
        outdated = getattr(self.file_backend, "outdated", ())
        checkpoint["message_hub"]["runtime_info"][OUTDATED] = sorted(
            map(os.path.basename, outdated)
        )

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        with self._deleting_last():
            super()._save_best_checkpoint(runner, metrics)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        if not self._local:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        unfinished = Path(runner.work_dir, f"last_checkpoint{UNFINISHED}")
        if is_main_process():
            unfinished.mkdir(parents=True, exist_ok=True)
        with self._deleting_last():
            super()._save_checkpoint_with_step(_In(str(unfinished), runner), step, meta)
            if is_main_process():
                name = "last_checkpoint"
                replace_file(unfinished / name, Path(runner.work_dir, name))
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
        for path in later.outdated - self._current():
            # the best checkpoint's path is read from the resumed checkpoint, which may be a copy
            # or anybody's: what lies elsewhere is not this run's to delete
            if os.path.samefile(os.path.dirname(os.path.abspath(path)), self.out_dir):
                os.remove(path)

    def _current(self) -> set[str]:
        """Return the paths of the checkpoints to which this run refers."""
        best = getattr(self, "best_ckpt_path_dict", {}).values()
        return {self.last_ckpt, getattr(self, "best_ckpt_path", None), *best}


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
