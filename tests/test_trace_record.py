from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from migsim.errors import InputError
from migsim.trace.format import read_trace, write_trace
from migsim.trace.recording import _compare, _writeprotect, record, recorder
from migsim.trace.recording._inject import take_userfaultfd
from migsim.trace.recording.recorder import Method, compact

PAGES, RATE = 4096, 10_000

# Writes random pages of a mapping at a fixed rate; with "same" it writes what is there already.
WRITER = f"""
import mmap, random, sys, time
memory = mmap.mmap(-1, {PAGES} * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range({PAGES}):
    memory[page * 4096] = 1
print("ready", flush=True)
draw, start, done = random.Random(1).random, time.monotonic(), 0
while True:
    want = int((time.monotonic() - start) * {RATE})
    for number in range(done, want):
        memory[int(draw() * {PAGES}) * 4096] = 1 if "same" in sys.argv else number % 251
    done = want
    time.sleep(0.001)
"""


def _reason_against() -> str:
    """Return why nothing can be recorded here, or an empty text."""
    if not sys.platform.startswith("linux"):
        return f"recording needs Linux, and this is {sys.platform}"
    process = subprocess.Popen(["sleep", "60"])
    try:
        os.close(take_userfaultfd(process.pid))
    except OSError as error:
        return f"no userfaultfd of another process here: {error}"
    finally:
        process.kill()
        process.wait()
    return ""


REASON = _reason_against()
recording = pytest.mark.recording
needs_kernel = pytest.mark.skipif(bool(REASON), reason=REASON)
compiled = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="comparing takes compiled hashes"
)
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


@contextmanager
def running(*arguments: str, program: str = WRITER) -> Iterator[subprocess.Popen[str]]:
    """Give a running program whose memory is populated."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def theory(interval: float) -> float:
    """Return the distinct pages that random writes hit: W (1 - exp(-D t / W))."""
    return PAGES * (1 - math.exp(-RATE * interval / PAGES))


@recording
@needs_kernel
def test_random_writes_are_recorded_as_theory_says() -> None:
    with running() as process:
        trace = record(None, pid=process.pid, interval=0.1, duration=2.5)
        assert process.poll() is None
    assert trace.method == "uffd-wp"
    assert trace.counts.size == 25
    measured = float(np.median(trace.counts))
    assert 0.95 * theory(0.1) < measured < 1.05 * theory(0.1) + 60  # 60: the interpreter's own
    assert PAGES <= trace.resident.size <= trace.pages_total < PAGES + 5000
    assert np.median(np.diff(trace.ends)) == pytest.approx(0.1, rel=0.1)


@recording
@compiled
@needs_kernel
@pytest.mark.parametrize(("method", "sees"), [("uffd-wp", True), ("compare", False)])
def test_only_write_protection_sees_writes_that_change_nothing(method: Method, sees: bool) -> None:
    with running("same") as process:
        trace = record(None, pid=process.pid, interval=0.1, duration=1.0, method=method)
    assert trace.method == method
    assert (np.median(trace.counts) > 0.9 * theory(0.1)) == sees
    assert trace.counts.sum() > 0  # the interpreter's own pages


@recording
@compiled
@needs_linux
def test_without_write_protection_memory_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_old(_: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(_writeprotect, "take_userfaultfd", too_old)
    with running() as process:
        trace = record(None, pid=process.pid, interval=0.2, duration=2.0)
        with pytest.raises(InputError, match=r"cannot write-protect .*not implemented"):
            record(None, pid=process.pid, interval=0.2, duration=1.0, method="uffd-wp")
    assert trace.method == "compare"
    assert "not implemented" in trace.meta["method_reason"]
    assert 0.93 * theory(0.2) < np.median(trace.counts) < 1.05 * theory(0.2) + 60


# Populates every second page, so that each is a region of its own.
SCATTER = """
import mmap, time
memory = mmap.mmap(-1, 80_000 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for page in range(0, 80_000, 2):
    memory[page * 4096] = 1
print("ready", flush=True)
time.sleep(60)
"""


@recording
@needs_kernel
def test_more_regions_than_one_scan_returns() -> None:
    with running(program=SCATTER) as process:
        trace = record(None, pid=process.pid, interval=0.1, duration=0.3)
    assert 40_000 <= trace.resident.size < 43_000
    assert trace.counts.max() < 100


@recording
@needs_kernel
def test_the_largest_mapping_alone() -> None:
    with running() as process:
        whole = record(None, pid=process.pid, duration=1.0)
        part = record(None, pid=process.pid, duration=1.0, largest_mapping=True)
    assert PAGES <= part.resident.size < whole.resident.size - 200  # the libraries' data, the stack
    assert 0.95 * theory(0.1) < np.median(part.counts) < 1.05 * theory(0.1)
    assert np.median(part.counts) < np.median(whole.counts)


@recording
@needs_kernel
def test_arguments_need_not_be_text(tmp_path: Path) -> None:
    odd = os.fsdecode(b"sleep 1 # \xff")
    trace = record(["sh", "-c", odd], interval=0.1, duration=0.2)
    assert trace.meta["argv"] == ["sh", "-c", "sleep 1 # \ufffd"]
    write_trace(tmp_path / "odd.mtrace", trace)
    assert read_trace(tmp_path / "odd.mtrace").meta["argv"] == trace.meta["argv"]


@recording
@needs_kernel
def test_a_started_program_is_ended_and_shows_its_start() -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    seen: list[tuple[float, int]] = []
    trace = record(
        [sys.executable, "-c", WRITER], duration=1.5, notes="n",
        progress=lambda elapsed, pages: seen.append((elapsed, pages)),
    )  # fmt: skip
    assert trace.resident.size < 1000 < PAGES < trace.counts.max()
    assert seen == list(zip(trace.ends.tolist(), trace.counts.tolist(), strict=True))
    assert (trace.meta["ended_by"], trace.meta["notes"]) == ("duration", "n")
    assert trace.meta["argv"][1] == "-c"
    assert set(children.read_text().split()) <= before


@recording
@needs_kernel
def test_a_program_is_followed_through_exec() -> None:
    command = ["sh", "-c", 'sleep 0.4; exec "$0" -c "$1"', sys.executable, WRITER]
    trace = record(command, duration=2.5)
    assert trace.counts[:3].max() < 500
    assert 0.95 * theory(0.1) < np.median(trace.counts[-10:]) < 1.05 * theory(0.1) + 60


@recording
@needs_kernel
def test_an_interrupted_system_call_goes_on() -> None:
    start = time.monotonic()
    with subprocess.Popen(["sleep", "1.5"]) as process:
        time.sleep(0.4)  # now it sleeps
        trace = record(None, pid=process.pid, duration=0.3)
        assert process.poll() is None
        assert process.wait() == 0
    assert time.monotonic() - start == pytest.approx(1.5, abs=0.3)
    assert trace.counts.sum() <= 2  # the kernel notes the thread's processor (rseq)
    assert trace.resident.size > 0
    assert trace.meta["attached"]


@recording
@needs_kernel
def test_a_program_that_ends_early_is_kept() -> None:
    trace = record(["sleep", "0.55"], duration=30)
    assert trace.meta["ended_by"] == "program"
    assert 4 <= trace.counts.size <= 6


@recording
@needs_kernel
def test_ctrl_c_keeps_what_was_recorded() -> None:
    def stop(elapsed: float, _: int) -> None:
        if elapsed > 0.35:
            signal.raise_signal(signal.SIGINT)

    with running() as process:
        trace = record(None, pid=process.pid, duration=30, progress=stop)
        assert process.poll() is None
    assert trace.meta["ended_by"] == "interrupt"
    assert trace.counts.size == 4


@needs_linux
def test_a_program_that_ends_at_once_is_told() -> None:
    with pytest.raises(InputError, match="ended"):
        record(["true"], interval=0.5, duration=1)


@pytest.mark.parametrize(
    ("state", "memory", "ended"),
    [
        ("S (sleeping)", "1 kB", False),
        ("R (running)", None, True),
        ("Z (zombie)", None, True),
        (None, None, True),
    ],
)
def test_a_program_without_memory_has_ended(
    state: str | None, memory: str | None, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"State": state, "VmSize": memory}
    monkeypatch.setattr(recorder, "status_field", lambda _, name: fields[name])
    assert recorder._has_ended(1) == ended


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up the rights of the superuser for a while."""
    before = os.getresuid()
    if before[1] == 0:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(*before)


@recording
@needs_linux
def test_another_users_process_is_not_permitted() -> None:
    hashes = np.zeros(1, np.uint64)
    _compare.page_hashes(np.zeros((1, 512), np.uint64), hashes)  # compiled with a writable cache
    with as_nobody(), pytest.raises(InputError, match="not permitted to look into process 1 "):
        record(None, pid=1, duration=1)


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (["no-such-program"], {}, "there is no program 'no-such-program'"),
        ([], {}, "give either a command"),
        (None, {}, "give either a command"),
        (["true"], {"pid": 1}, "give either a command"),
        (None, {"pid": -1}, "got process -1"),
        (None, {"pid": 2**22 + 7}, "there is no process 4194311"),
        (["true"], {"largest_mapping": True}, "only of a process that runs already"),
        (["true"], {"interval": 0.0}, "got interval 0 s"),
        (["true"], {"duration": -1.0}, "got duration -1 s"),
        (["true"], {"duration": math.inf}, "got duration inf s"),
        (["true"], {"interval": math.nan}, "got interval nan s"),
        (["true"], {"interval": 2.0, "duration": 1.0}, "longer than the duration 1 s"),
    ],
)
@needs_linux
def test_bad_input_is_told(
    command: list[str] | None, options: dict[str, float | bool], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        record(command, **options)  # type: ignore[arg-type]


def test_other_systems_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(InputError, match="recording needs Linux, and this is darwin"):
        record(["true"])


def test_pages_are_numbered_in_order_of_address() -> None:
    far = 1 << 35
    sets, total = compact(
        [
            np.array([[10, 12], [far, far + 2]]),
            np.zeros((0, 2), np.int64),
            np.array([[11, 13], [far + 1, far + 2], [far + 9, far + 10]]),
        ]
    )
    # 10 11 12 far far+1 far+9
    assert [pages.tolist() for pages in sets] == [[0, 1, 3, 4], [], [1, 2, 4, 5]]
    assert total == 6
    assert compact([np.zeros((0, 2), np.int64)])[1] == 0


def test_page_hashes_tell_pages_apart() -> None:
    rng = np.random.default_rng(1)
    words = np.repeat(rng.integers(0, 2**64, (1, 512), np.uint64), 6, axis=0)
    words[1, 0] ^= np.uint64(1)
    words[2, 511] ^= np.uint64(1 << 63)
    words[3, [5, 9]] = words[3, [9, 5]]
    words[4, [1, 2]] ^= np.uint64(1 << 63)  # two signs flipped
    hashes = np.zeros(6, np.uint64)
    _compare.page_hashes(words, hashes)
    assert len(set(hashes.tolist())) == 5
    assert hashes[5] == hashes[0]
