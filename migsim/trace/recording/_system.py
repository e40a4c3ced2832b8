"""The few Linux calls that Python has no function for, typed, and errors as `OSError`."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from migsim._types import Integers

__all__ = [
    "PAGE_SIZE",
    "Machine",
    "Mapping",
    "find_mapping",
    "machine",
    "ptrace",
    "read_memory",
    "status_field",
    "syscall",
    "writable_mappings",
]

PAGE_SIZE: Final = 4096
_MAX_PIECES: Final = 1024  # IOV_MAX


class Machine(NamedTuple):
    """What injecting a system call needs to know of a processor: register places and numbers."""

    words: int  # size of the general register set in 64-bit words
    counter: int  # place of the program counter
    number: int  # place of the system call's number
    result: int
    arguments: tuple[int, ...]
    restart: int | None  # place of the number of the call that was interrupted
    instruction: bytes
    userfaultfd: int
    close: int


_MACHINES: Final = {
    # r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss ...
    "x86_64": Machine(27, 16, 10, 10, (14, 13, 12), 15, b"\x0f\x05", 323, 3),
    # x0 ... x30 sp pc pstate; the number is in x8
    "aarch64": Machine(34, 32, 8, 0, (0, 1, 2), None, b"\x01\x00\x00\xd4", 282, 57),
}


def machine() -> Machine | None:
    """Return the processor's description, or nothing where injection is not implemented."""
    return _MACHINES.get(platform.machine())


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _failed(name: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{name}: {os.strerror(code)}")


def syscall(name: str, number: int, *arguments: int) -> int:
    """Return what the kernel returns; ``name`` is for the error's text."""
    values = [ctypes.c_long(value) for value in arguments]
    result = int(_library().syscall(ctypes.c_long(number), *values))
    if result < 0:
        raise _failed(name)
    return result


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    """Do one ptrace request that has no result, which are all that are needed here."""
    call = _library().ptrace
    call.restype = ctypes.c_long
    call.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if call(request, pid, address, data) < 0:
        raise _failed("ptrace")


def read_memory(pid: int, ranges: Integers | Sequence[tuple[int, int]], buffer: int) -> int:
    """Copy address ranges (start, length) of a process to ``buffer``; return the bytes copied.

    It stops early where memory has vanished, because the process runs on while it is read.
    """
    pieces = np.ascontiguousarray(ranges, np.int64).reshape(-1, 2)
    call = _library().process_vm_readv
    call.restype = ctypes.c_ssize_t
    many, address = ctypes.c_ulong, ctypes.c_void_p
    call.argtypes = [ctypes.c_int, address, many, address, many, many]
    done = 0
    for first in range(0, len(pieces), _MAX_PIECES):
        part = pieces[first : first + _MAX_PIECES]  # laid out as the kernel's struct iovec
        size = int(part[:, 1].sum())
        here = np.array([buffer + done, size])
        copied = int(call(pid, here.ctypes.data, 1, part.ctypes.data, len(part), 0))
        if copied < 0:
            if done:
                return done
            raise _failed("process_vm_readv")
        done += copied
        if copied < size:
            return done
    return done


class Mapping(NamedTuple):
    """One line of ``/proc/PID/maps``."""

    start: int
    end: int
    name: str


def _lines(pid: int) -> list[list[str]]:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return [line.split(None, 5) for line in file]


def find_mapping(pid: int, name: str) -> Mapping | None:
    """Return the first mapping of that name, such as ``[vdso]``."""
    for parts in _lines(pid):
        if len(parts) > 5 and parts[5].strip() == name:
            start, end = parts[0].split("-")
            return Mapping(int(start, 16), int(end, 16), name)
    return None


def writable_mappings(pid: int, within: Mapping | None = None) -> list[Mapping]:
    """Return the private mappings that the process may write, or those that touch ``within``.

    Shared mappings are left out: other processes write them too, and such writes are not seen.
    Raises `ProcessLookupError` when the process has ended, which is when it has no mappings.
    """
    found = []
    for parts in _lines(pid):
        if parts[1][1] == "w" and parts[1][3] == "p":
            start, end = parts[0].split("-")
            name = parts[5].strip() if len(parts) > 5 else ""
            found.append(Mapping(int(start, 16), int(end, 16), name))
    if not found:
        raise ProcessLookupError(errno.ESRCH, "the program has ended")
    if within is None:
        return found
    return [m for m in found if m.start < within.end and within.start < m.end]


def status_field(pid: int | str, name: str) -> str | None:
    """Return one field of ``/proc/PID/status``, or nothing where the kernel does not have it."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        for line in file:
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
    return None
