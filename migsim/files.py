"""Files that are either written whole or left as they were, or that one process appends to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["locked", "replaced"]


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give the path of a file to write, which takes the place of ``path`` after the block.

    It has the same name, in a folder of its own beside ``path``: some writers read the format from
    the name, and gzip keeps it. Where the block raises, ``path`` is left alone and nothing else is
    left. A symbolic link stays one. Raises `OSError` where nothing can be written there.
    """
    target = path.resolve()
    with tempfile.TemporaryDirectory(prefix=".migsim-", dir=target.parent) as folder:
        fresh = Path(folder) / target.name
        yield fresh
        fresh.replace(target)


def locked(path: Path) -> BinaryIO:
    """Return the file of that name, open for appending, and locked till it is closed.

    Another process may put a new file in its place between opening and locking; then what is
    locked has no name any more, and what is written there would be lost. Raises `OSError`, and
    of those `BlockingIOError` where another process has locked it.
    """
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()
