"""Digests of files, on which the keys of results depend: each version of a file is read once."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

__all__ = ["digest_of_file"]

_SETTLED_NS = 2_000_000_000
"""A file may change twice within one tick of a file system's clock; after that it is settled."""

_known: dict[tuple[str, int, int, int, int], str] = {}


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal. Raises OSError.

    A sweep asks for the same few files thousands of times. What was read before is told by place,
    size and times; of a file that was changed within the last two seconds nothing is kept.
    """
    state = path.stat()
    version = (str(path), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    known = _known.get(version)
    if known is not None:
        return known
    now = time.time_ns()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if now - max(state.st_mtime_ns, state.st_ctime_ns) > _SETTLED_NS:
        _known[version] = digest
    return digest
