"""Processes of our own that end with us: also where we are killed, no process is left behind."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from migsim.errors import InputError

__all__ = ["cleaning_up", "end", "read_tail", "start", "tool"]


@contextmanager
def cleaning_up() -> Iterator[None]:
    """End as after Ctrl-C where we are told to end otherwise, so that folders go too."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    # What nohup ignores stays ignored.
    ours = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def tool(name: str, package: str) -> str:
    """Return the path of a program. Raises `InputError` that names its Debian package."""
    # Where a user's PATH has no sbin, `ip` and `tc` are there all the same.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise InputError(f"found no {name}, expected Debian's package {package}")
    return found


def start(
    command: Sequence[str], errors: IO[bytes], output: int | None = None
) -> subprocess.Popen[bytes]:
    """Return a process that the kernel kills when we die, and that Ctrl-C does not reach."""
    return subprocess.Popen(
        [tool("setpriv", "util-linux"), "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if output is None else output,
        stderr=errors,
        start_new_session=True,  # the terminal's Ctrl-C is ours; we end the processes in order
    )


def end(process: subprocess.Popen[bytes], patience: float = 0.0) -> None:
    """Terminate a process, and kill it where that does not help in time."""
    if process.poll() is None and patience > 0:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def read_tail(path: Path, characters: int = 300) -> str:
    """Return the end of a log, on one line."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text[-characters:].splitlines() if line.strip())
