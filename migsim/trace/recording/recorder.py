"""Record a program: start or attach, look once an interval, and number the pages compactly."""

from __future__ import annotations

import contextlib
import datetime
import errno
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from migsim._types import Bytes, Integers
from migsim.errors import InputError
from migsim.trace.content import COLUMNS
from migsim.trace.format import Trace
from migsim.trace.recording._system import PAGE_SIZE, Mapping, status_field, writable_mappings

__all__ = ["Method", "Progress", "compact", "record"]

Progress = Callable[[float, int], None]
"""Called after each interval with the seconds recorded and the pages written in the interval."""
Method = Literal["auto", "uffd-wp", "compare"]

_GRACE = 3.0  # between SIGTERM and SIGKILL
_GONE = (ProcessLookupError, FileNotFoundError)


class _Tracker(Protocol):
    @property
    def method(self) -> str: ...
    @property
    def failures(self) -> dict[str, int]: ...
    def written(self) -> Integers: ...
    def close(self) -> None: ...


class _Meter(Protocol):
    """What is to be found out about the bytes of pages; see `ContentMeter`."""

    @property
    def failures(self) -> dict[str, int]: ...
    @property
    def about(self) -> dict[str, Any]: ...
    def first_look(self, pid: int, ranges: Integers) -> None: ...
    def take(self, pid: int, ranges: Integers) -> dict[str, Bytes]: ...


class _Look(NamedTuple):
    """One interval: when it ended, the ranges of pages written in it, and content columns."""

    end: float
    ranges: Integers
    columns: dict[str, Bytes]


@dataclass
class _Looks:
    """What was seen: the pages present at first, and what each interval brought."""

    resident: Integers
    intervals: list[_Look] = field(default_factory=list)
    ended_by: str = "duration"


def record(
    command: Sequence[str] | None,
    *,
    pid: int | None = None,
    interval: float = 0.1,
    duration: float = 30.0,
    progress: Progress | None = None,
    method: Method = "auto",
    notes: str = "",
    largest_mapping: bool = False,
    content: bool = False,
) -> Trace:
    """Return which pages a program writes, interval by interval, as `Trace`.

    Either ``command`` is started, and ended after ``duration``, or the process ``pid`` is
    observed and left running undisturbed. Ctrl-C, or the end of the program, ends the recording
    early and keeps it. The pages present at the first look are the trace's ``resident`` set, not
    writes; of a started program that look comes about a millisecond after its start, so that
    nearly all its pages appear as written later. Only private memory is seen, and only of that
    process: a process that forks keeps only the parent traced, one that calls `exec` stays traced.

    With ``largest_mapping`` only the largest mapping of ``pid`` is looked at, which of a hypervisor
    such as QEMU is the guest's memory: kernel, page cache and all programs of the guest.

    With ``content`` the trace gets the columns of `migsim.trace.content`: what happened to the
    bytes of the dirtied pages. The recorder then holds two more copies of the program's memory.

    ``auto`` takes write protection where kernel and permissions allow it, else comparing. Raises
    `InputError` where neither is possible.
    """
    _check(command, pid, interval, duration)
    if largest_mapping and command:
        raise InputError("the largest mapping can be told only of a process that runs already")
    meter = _meter() if content else None
    with _target(command, pid) as process:
        tracker, reason = _tracker(process, method, largest_mapping)
        began = datetime.datetime.now(datetime.UTC)
        try:
            looks = _look(tracker, meter, process, interval, duration, progress)
        except PermissionError as error:
            raise _not_permitted(process, error) from None
        finally:
            tracker.close()
        argv = list(command) if command else _argv_of(process)
    if not looks.intervals:
        raise InputError(
            f"'{' '.join(argv) or process}' ended, or was interrupted, before the first interval "
            f"of {interval:g} s was over, so there is nothing to keep"
        )
    meta: dict[str, Any] = {
        "method": tracker.method,
        "method_reason": reason,
        "argv": [_text(word) for word in argv],
    }
    meta |= {"attached": not command, "largest_mapping": largest_mapping, "interval": interval}
    meta |= {"date": began.isoformat(timespec="seconds"), "ended_by": looks.ended_by}
    meta["notes"] = _text(notes)
    meta |= _environment() | tracker.failures
    if meter is not None:
        meta["content"] = meter.about
        meta |= {name: meta.get(name, 0) + count for name, count in meter.failures.items()}
    return _trace(looks, meta, list(COLUMNS) if content else [])


def _meter() -> _Meter:
    from migsim.trace.recording._content import ContentMeter

    return ContentMeter()


def _text(text: str) -> str:
    """Return text that can be printed: an argument may hold bytes that are no UTF-8."""
    return os.fsencode(text).decode("utf-8", errors="replace")


def _environment() -> dict[str, Any]:
    """Return the header's fields on the machine, with zeros for what a tracker does not count."""
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "failed_reads": 0,
        "mappings_skipped": 0,
    }


def _check(
    command: Sequence[str] | None, pid: int | None, interval: float, duration: float
) -> None:
    if not sys.platform.startswith("linux"):
        raise InputError(f"recording needs Linux, and this is {sys.platform}")
    if bool(command) == (pid is not None):
        raise InputError("give either a command to record or the number of a running process")
    for name, value in (("interval", interval), ("duration", duration)):
        if not (0 < value < math.inf):
            raise InputError(f"got {name} {value:g} s, expected a time above 0")
    if interval > duration:
        raise InputError(f"got interval {interval:g} s, longer than the duration {duration:g} s")


@contextlib.contextmanager
def _target(command: Sequence[str] | None, pid: int | None) -> Iterator[int]:
    """Give the process to observe; one that was started here is ended on leaving."""
    if not command:
        assert pid is not None
        if pid <= 0:
            raise InputError(f"got process {pid}, expected a number above 0")
        with contextlib.suppress(PermissionError):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                raise InputError(f"there is no process {pid}") from None
        yield pid
        return
    if shutil.which(command[0]) is None:
        raise InputError(f"there is no program '{command[0]}' to record")
    try:
        process = subprocess.Popen(list(command))
    except OSError as error:
        raise InputError(f"cannot start '{command[0]}': {error.strerror}") from None
    try:
        yield process.pid
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _largest(pid: int) -> Mapping:
    try:
        return max(writable_mappings(pid), key=lambda mapping: mapping.end - mapping.start)
    except OSError as error:
        if _has_ended(pid):
            raise _ended(pid) from None
        raise _not_permitted(pid, error) from None


def _tracker(pid: int, method: Method, largest: bool) -> tuple[_Tracker, str]:
    """Return the best tracker that works here, and why it is not a better one."""
    within = _largest(pid) if largest else None
    reason = "asked for"
    if method != "compare":
        from migsim.trace.recording._writeprotect import WriteProtectTracker

        try:
            return WriteProtectTracker(pid, within), "every write is seen"
        except OSError as error:
            if _has_ended(pid):
                raise _ended(pid) from None
            reason = f"no write protection: {error.strerror}"
        if method == "uffd-wp":
            raise InputError(f"cannot write-protect the memory of process {pid} ({reason})")
    from migsim.trace.recording._compare import CompareTracker

    try:
        return CompareTracker(pid, within), reason
    except OSError as error:
        if _has_ended(pid):
            raise _ended(pid) from None
        raise _not_permitted(pid, error) from None


def _has_ended(pid: int) -> bool:
    try:
        state = status_field(pid, "State") or "Z"
        # On its way out a process has no memory any more before it is called dead.
        return state[0] in "ZX" or status_field(pid, "VmSize") is None
    except OSError:
        return True


def _ended(pid: int) -> InputError:
    return InputError(
        f"process {pid} ended before the recording began, so there is nothing to keep"
    )


def _not_permitted(pid: int, error: OSError) -> InputError:
    return InputError(
        f"not permitted to look into process {pid} ({error.strerror}): start the program with "
        "the recorder, be root, or have kernel.yama.ptrace_scope set to 0"
    )


def _look(
    tracker: _Tracker,
    meter: _Meter | None,
    pid: int,
    interval: float,
    duration: float,
    progress: Progress | None,
) -> _Looks:
    """Look once an interval until the duration is over, the program ends, or Ctrl-C."""
    looks = _Looks(np.zeros((0, 2), np.int64))
    try:
        early = looks.resident
        if meter is not None:
            # Copying everything takes a while. What is written meanwhile is copied again below, so
            # that the first interval is like any other.
            early = tracker.written()
            meter.first_look(pid, early)
        start = time.monotonic()
        looks.resident = tracker.written()
        if meter is not None:
            meter.first_look(pid, looks.resident)
            looks.resident = np.concatenate([early, looks.resident])
        due = start + interval
        while due <= start + duration + interval / 2:
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            ranges = tracker.written()
            columns = {} if meter is None else meter.take(pid, ranges)
            # In one piece, so that an interrupt leaves no interval half kept.
            looks.intervals.append(_Look(now - start, ranges, columns))
            if progress is not None:
                progress(now - start, int((ranges[:, 1] - ranges[:, 0]).sum()))
            # A look that took too long makes this interval longer; none is made up afterwards.
            due = max(due + interval, time.monotonic() + interval / 10)
    except KeyboardInterrupt:
        looks.ended_by = "interrupt"
    except _GONE:
        looks.ended_by = "program"
    except OSError as error:
        if error.errno not in {errno.ESRCH, errno.EIO}:
            raise
        looks.ended_by = "program"
    return looks


def _argv_of(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
            return [part.decode(errors="replace") for part in file.read().split(b"\0") if part]
    except OSError:
        return []


def compact(ranges: Sequence[Integers]) -> tuple[list[NDArray[np.uint32]], int]:
    """Return each set of page ranges as compact page numbers, and how many numbers there are.

    The numbers count the pages of the union of all sets in order of address. Ranges are merged
    before they are expanded, so hours of recording do not need hours of pages in memory.
    """
    everything = np.concatenate([np.zeros((0, 2), np.int64), *ranges])
    everything = everything[np.argsort(everything[:, 0], kind="stable")]
    reach = np.maximum.accumulate(everything[:, 1]) if everything.size else everything[:, 1]
    opens = np.ones(len(everything), np.bool_)
    opens[1:] = everything[1:, 0] > reach[:-1]
    first = everything[opens, 0]
    last = reach[np.append(np.flatnonzero(opens)[1:] - 1, -1)] if first.size else reach
    base = np.concatenate([[0], np.cumsum(last - first)])
    result = []
    for part in ranges:
        segment = np.searchsorted(first, part[:, 0], side="right") - 1
        begin = part[:, 0] - first[segment] + base[segment] if part.size else part[:, 0]
        length = part[:, 1] - part[:, 0]
        before = np.cumsum(length) - length
        pages = np.repeat(begin - before, length) + np.arange(int(length.sum()))
        result.append(np.unique(pages).astype(np.uint32))
    return result, int(base[-1])


def _trace(looks: _Looks, meta: dict[str, Any], columns: Sequence[str]) -> Trace:
    sets, total = compact([looks.resident, *[look.ranges for look in looks.intervals]])
    return Trace(
        ends=np.array([look.end for look in looks.intervals], np.float64),
        counts=np.array([pages.size for pages in sets[1:]], np.uint32),
        pages=np.concatenate([np.zeros(0, np.uint32), *sets[1:]]),
        resident=sets[0],
        pages_total=total,
        page_size=PAGE_SIZE,
        meta=meta,
        columns={
            name: np.concatenate([look.columns[name] for look in looks.intervals])
            for name in columns
        },
    )
