# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import errno
import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

#: What the name of a file ends in until it is complete.
UNFINISHED = ".unfinished"
#: What network shares answer to the wish to sync a folder. They order renames by themselves.
NO_FOLDER_SYNC = (errno.EINVAL, errno.EIO, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)


def replace_file(source: str | Path, target: str | Path) -> None:
    """Give a complete file its name, so that even after a power cut the name is that of a
    complete file: the old one or this one.

    Args:
        source: The new file, in the same file system.
        target: The name it gets; a file of that name is replaced.
    """
    with open(source, "rb+") as file:  # Windows syncs what is open for writing alone
        os.fsync(file.fileno())
    os.replace(source, target)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync_folder(os.path.dirname(os.path.abspath(target)))


def _sync_folder(folder: str) -> None:
    """Write a folder's names to the disk, where its file system can do that for a folder."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that one may write to and not list
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(opened)


@register_backend("atomic", force=True)
class AtomicBackend(LocalBackend):
    """MMEngine's local files, but whatever is put under a name is there as a whole or not at all.

    Select it with ``backend_args=dict(backend='atomic')``. A process that is killed while it puts
    a file leaves one beside it whose name ends in ``.unfinished``.

    Example:
        >>> AtomicBackend().put_text("whole or not at all", "result.json")
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, which is replaced if it exists."""
        unfinished = f"{filepath}{UNFINISHED}"
        try:
            super().put(obj, unfinished)
            replace_file(unfinished, filepath)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text to a file, which is replaced if it exists."""
        self.put(obj.encode(encoding), filepath)
