"""Files of compiled kernels: each is whole or not there, and those long out of use go.

Losing one costs the time to compile it again, so nothing here ever fails: a folder that cannot be
read or written, a full disk or a damaged file is the same as a file that is not there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["KernelFiles"]

_DAY = 86400.0
_KEPT_DAYS = 30
_SWEPT = ".swept"
_PATIENCE = 60.0
"""Seconds after which whoever waits for a kernel makes it, too."""
_POLL = 0.01


class KernelFiles:
    """A folder of byte strings, shared by any number of processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str) -> bytes | None:
        """Return what was saved under ``name``; None where that is not there as it was saved."""
        path = self._folder / name
        try:
            content = path.read_bytes()
            if time.time() - path.stat().st_mtime > _DAY:
                with contextlib.suppress(OSError):  # in use: not to be swept
                    os.utime(path)
        except OSError:
            return None
        digest, data = content[:32], content[32:]
        return data if hashlib.sha256(data).digest() == digest else None

    def save(self, name: str, data: bytes) -> None:
        """Keep ``data`` under ``name``; readers see the whole of it or nothing."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = self._folder / f"new-{uuid.uuid4().hex}"
            try:
                temporary.write_bytes(hashlib.sha256(data).digest() + data)
                temporary.replace(self._folder / name)
            except OSError:
                temporary.unlink()
                raise
            self._sweep()

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Wait until no other process is within this for ``name``; yield whether that is so now.

        It is not where the folder takes no locks, or where the other has taken too long. A process
        that dies lets go of what it has locked. Being alone only saves work: two that save the same
        name save the same.
        """
        with contextlib.ExitStack() as held:
            path, locked = self._folder / f"lock-{name}", False
            with contextlib.suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                file = held.enter_context(path.open("ab"))
                locked = _lock(file.fileno())
            try:
                yield locked
            finally:
                if locked:
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _sweep(self) -> None:
        """Delete what nobody has used for a month; at most once a day, and only after a save.

        A process that has just looked for such a file does not find it, and compiles.
        """
        now, mark = time.time(), self._folder / _SWEPT
        with contextlib.suppress(OSError):
            if now - mark.stat().st_mtime < _DAY:
                return
        mark.touch()
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime > _KEPT_DAYS * _DAY:
                    path.unlink()


def _lock(file: int) -> bool:
    """Lock a file; return whether that succeeded in time. Raises OSError where it cannot."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        else:
            return True
