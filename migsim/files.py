"""Files that are either written whole or left as they were."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replaced"]


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
