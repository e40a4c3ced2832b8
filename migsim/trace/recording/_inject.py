"""Obtain a userfaultfd descriptor of another process by making it call `userfaultfd` once.

A userfaultfd always belongs to the memory of the process that opened it. A preloaded library
could open it, but not in static programs nor in ones that run already; ptrace can. The process is
stopped for a few hundred microseconds, runs a system call instruction that the kernel maps into
every process (the vDSO), and gets all its registers back. No byte of its memory changes, so other
threads may run on meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import time
from collections.abc import Iterator
from typing import Final

from migsim.trace.recording._system import (
    Machine,
    find_mapping,
    machine,
    ptrace,
    read_memory,
    status_field,
    syscall,
)

__all__ = ["take_userfaultfd"]

_SINGLESTEP, _DETACH, _GETREGSET, _SETREGSET = 9, 17, 0x4204, 0x4205
_SEIZE, _INTERRUPT = 0x4206, 0x4207
_NT_PRSTATUS: Final = 1
_WALL: Final = 0x40000000
_PIDFD_GETFD: Final = 438
_USER_MODE_ONLY: Final = 1  # allowed without privileges; writes by the kernel are seen all the same
_PATIENCE: Final = 5.0


class _Registers:
    """The general registers of a stopped thread."""

    def __init__(self, words: int) -> None:
        self.values = (ctypes.c_uint64 * words)()
        self._piece = (ctypes.c_uint64 * 2)()

    def _transfer(self, request: int, pid: int) -> None:
        size = ctypes.sizeof(self.values)
        self._piece[0], self._piece[1] = ctypes.addressof(self.values), size
        ptrace(request, pid, _NT_PRSTATUS, ctypes.addressof(self._piece))
        if self._piece[1] != size:
            raise OSError(errno.ENOEXEC, "the program is of another processor type")

    def load(self, pid: int) -> None:
        self._transfer(_GETREGSET, pid)

    def store(self, pid: int) -> None:
        self._transfer(_SETREGSET, pid)

    def copy(self) -> _Registers:
        other = _Registers(len(self.values))
        ctypes.memmove(other.values, self.values, ctypes.sizeof(self.values))
        return other


class _Stopped:
    """A thread stopped by ptrace, between entering and leaving a ``with`` block."""

    def __init__(self, pid: int, kind: Machine) -> None:
        self.pid, self.kind = pid, kind
        self.signals: list[int] = []  # that arrived meanwhile, and are sent again at the end

    def __enter__(self) -> _Stopped:
        ptrace(_SEIZE, self.pid)
        try:
            ptrace(_INTERRUPT, self.pid)
            self._wait()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            ptrace(_DETACH, self.pid)
        for number in self.signals:
            with contextlib.suppress(OSError):
                os.kill(self.pid, number)

    def _wait(self) -> bool:
        """Wait for the next stop; return whether it is the end of a single step."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            found, status = os.waitpid(self.pid, _WALL | os.WNOHANG)
            if found and not os.WIFSTOPPED(status):
                raise ProcessLookupError(errno.ESRCH, "the program ended")
            if found:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "the program does not stop")
            time.sleep(50e-6)
        number, event = os.WSTOPSIG(status), status >> 16
        if not event and number != signal.SIGTRAP:
            self.signals.append(number)
        return not event and number == signal.SIGTRAP

    def call(self, instruction: int, number: int, *arguments: int) -> int:
        """Make the thread do one system call; return its result, negative for an error."""
        before = _Registers(self.kind.words)
        before.load(self.pid)
        changed = before.copy()
        for place, value in zip(self.kind.arguments, arguments, strict=False):
            changed.values[place] = value
        changed.values[self.kind.number] = number
        changed.values[self.kind.counter] = instruction
        if self.kind.restart is not None:
            # Otherwise the kernel would take our result for the interrupted call's and restart it.
            changed.values[self.kind.restart] = (1 << 64) - 1
        changed.store(self.pid)
        try:
            ptrace(_SINGLESTEP, self.pid)
            while not self._wait():
                ptrace(_SINGLESTEP, self.pid)
            after = before.copy()
            after.load(self.pid)
        finally:
            before.store(self.pid)
        return ctypes.c_int64(after.values[self.kind.result]).value


def _instruction_address(pid: int, kind: Machine) -> int:
    area = find_mapping(pid, "[vdso]")
    if area is None:
        raise OSError(errno.ENOEXEC, "the program has no vDSO")
    size = area.end - area.start
    buffer = ctypes.create_string_buffer(size)
    read_memory(pid, [(area.start, size)], ctypes.addressof(buffer))
    code, width = buffer.raw, len(kind.instruction)
    place = code.find(kind.instruction)
    while place >= 0 and width == 4 and place % 4:  # fixed-width code is aligned
        place = code.find(kind.instruction, place + 1)
    if place >= 0:
        return area.start + place
    raise OSError(errno.ENOEXEC, "the vDSO has no system call instruction")


def _filters(pid: int | str) -> int:
    return int(status_field(pid, "Seccomp_filters") or 0)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold Ctrl-C back: between two steps the other program runs with registers of ours."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_userfaultfd(pid: int) -> int:
    """Return a descriptor, in this process, of a new userfaultfd for the memory of another.

    Raises `OSError` where kernel, container or permissions do not allow it.
    """
    kind = machine()
    if kind is None:
        raise OSError(errno.ENOSYS, "not implemented for this processor")
    if _filters(pid) > _filters("self"):
        # A sandboxed program may be killed for a system call that it does not normally make.
        raise PermissionError(errno.EPERM, "the program is in a seccomp sandbox")
    with _undisturbed(), _Stopped(pid, kind) as thread:
        address = _instruction_address(pid, kind)
        flags = os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY
        theirs = thread.call(address, kind.userfaultfd, flags)
        if theirs < 0:
            raise OSError(-theirs, f"userfaultfd: {os.strerror(-theirs)}")
        handle = os.pidfd_open(pid)
        try:
            return syscall("pidfd_getfd", _PIDFD_GETFD, handle, theirs, 0)
        finally:
            os.close(handle)
            thread.call(address, kind.close, theirs)
