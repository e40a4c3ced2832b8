"""Recorded migrations of a real hypervisor: one JSON object per run, in files of JSON Lines.

A run says what was migrated (memory, zero pages, workload, link, capabilities, parameters) and,
apart from it under ``measured``, what came of it. A model may use the former only.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from migsim.errors import InputError

__all__ = ["GuestLoad", "Measured", "MigrationPath", "RecordedRun", "read_runs", "write_run"]


class GuestLoad(msgspec.Struct, frozen=True, kw_only=True):
    """How the guest dirties its memory.

    Attributes:
        kind: ``idle``; ``uniform``: each write picks a page of the working set at random;
            ``sequential``: in order, round and round; ``hotcold``: with ``hot_probability`` a page
            of the first ``hot_fraction`` of the working set, otherwise one of the rest.
        working_set: bytes.
        rate: page writes per second of guest time, kept to a clock.
        write_bytes: bytes changed by a write: words of 8 bytes at even distances over the page.
    """

    kind: Literal["idle", "uniform", "sequential", "hotcold"]
    working_set: int = 64 << 20
    rate: float = 0.0
    write_bytes: int = 4096
    hot_fraction: float = 0.0
    hot_probability: float = 0.0


class MigrationPath(msgspec.Struct, frozen=True, kw_only=True):
    """What the migration stream crosses.

    Attributes:
        kind: ``loopback`` inside one machine, or ``emulated``: a link between two namespaces.
        rate: bits per second on the wire, Ethernet framing of 38 bytes a packet included.
        rtt: round-trip time in seconds.
        loss: chance of each packet to be lost, independently.
        queue: bytes of the drop-tail queue; None or a text stands for one product of rate and
            round trip, at least 256 KiB.
        congestion: TCP's congestion control.
        send_buffer, receive_buffer: the largest that Linux's autotuning makes of them, in bytes.
    """

    kind: Literal["loopback", "emulated"] = "loopback"
    rate: float = 0.0
    rtt: float = 0.0
    loss: float = 0.0
    queue: int | str | None = None
    congestion: str = "cubic"
    send_buffer: int = 4 << 20
    receive_buffer: int = 6 << 20


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run, from ``query-migrate`` after completion: seconds, bytes and counts.

    Attributes:
        status: ``completed``, ``cancelled`` (it did not converge within the time given) or
            ``failed``.
        transferred_bytes: ``ram.transferred``: pages with their headers, without device state.
        normal_pages: pages sent as they are.
        dirty_syncs: readings of the dirty log, the one at the start and the last included.
        postcopy_requests: pages that the destination has asked for.
        xbzrle: QEMU's counters ``pages``, ``bytes``, ``cache-miss``, ``overflow``.
        throttle_percent: the highest throttle of the vCPUs.
        multifd_bytes: what went over the channels of multifd, their packet headers included.
        remaining_bytes: dirty when it was cancelled.
        dirty_pages_rate: pages newly dirtied per second, as QEMU last estimated it.
        mbps: QEMU's own throughput, in Mbit/s.
        visible_downtime_seconds: from the source's STOP event to the destination's RESUME; the
            guest runs nowhere meanwhile, whatever QEMU counts as downtime.
        postcopy_started_seconds: when post-copy began, in seconds after ``migrate``.
        postcopy_blocktime_seconds: how long all vCPUs together waited for pages, and
        postcopy_vcpu_blocktime_seconds: each of them; with the capability ``postcopy-blocktime``.
    """

    status: str
    total_seconds: float = 0.0
    downtime_seconds: float | None = None
    setup_seconds: float = 0.0
    transferred_bytes: int = 0
    precopy_bytes: int = 0
    downtime_bytes: int = 0
    postcopy_bytes: int = 0
    normal_pages: int | None = None
    dirty_syncs: int | None = None
    postcopy_requests: int | None = None
    xbzrle: dict[str, float] | None = None
    throttle_percent: int | None = None
    multifd_bytes: int | None = None
    remaining_bytes: int | None = None
    dirty_pages_rate: int | None = None
    mbps: float | None = None
    visible_downtime_seconds: float | None = None
    postcopy_started_seconds: float | None = None
    postcopy_blocktime_seconds: float | None = None
    postcopy_vcpu_blocktime_seconds: tuple[float, ...] | None = None


class RecordedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded migration.

    Attributes:
        name: of the scenario; its repetitions share it.
        set: which collection it belongs to.
        repeat: number of the repetition.
        hypervisor: product, version and accelerator, such as ``qemu 10.0.2 tcg``.
        memory: bytes of guest memory that the hypervisor migrates.
        zero_pages: pages that held only zeros.
        capabilities: QEMU's migration capabilities that were on.
        parameters: QEMU's migration parameters: ``max-bandwidth`` in bytes per second,
            ``downtime-limit`` in milliseconds, and so on, by QEMU's names.
        postcopy_after_seconds: when post-copy was started; None for never.
        postcopy_after_rounds: or after how many rounds over the memory.
        warm_up_seconds: how long the guest had been writing before; None where nobody knows.
        time_limit_seconds: when the migration would have been cancelled; None for never.
        uses: what a model may use of all this.
        date: when it was recorded, ISO 8601.
        versions: what else took part, such as the guest's kernel.
        guest_log: what the guest said of its own writes, as (guest seconds, writes so far);
            guest 73a8a819895e counted what it left out after a pause, too.
    """

    name: str
    set: str = ""
    repeat: int = 0
    hypervisor: str
    memory: int
    page_size: int = 4096
    vcpus: int = 1
    zero_pages: int
    workload: GuestLoad
    link: MigrationPath = MigrationPath()
    capabilities: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}  # msgspec copies it
    postcopy_after_seconds: float | None = None
    postcopy_after_rounds: int | None = None
    warm_up_seconds: float | None = 5.0
    time_limit_seconds: float | None = None
    measured: Measured
    uses: tuple[str, ...] = (
        "memory", "zero_pages", "vcpus", "workload", "link", "capabilities", "parameters",
        "postcopy_after_seconds", "postcopy_after_rounds", "warm_up_seconds",
        "time_limit_seconds",
    )  # fmt: skip
    date: str | None = None
    versions: dict[str, str] = {}
    guest_log: tuple[tuple[float, float], ...] = ()

    @property
    def switches(self) -> bool:
        """Whether post-copy was to be started at some time."""
        return self.postcopy_after_seconds is not None or self.postcopy_after_rounds is not None

    def parameter(self, name: str, default: float) -> float:
        """Return a parameter that is a number from 0 on. Raises `InputError` where it is none."""
        value = self.parameters.get(name, default)
        number = not isinstance(value, bool) and isinstance(value, int | float)
        if not number or not 0 <= value < math.inf:
            raise InputError(
                f"run '{self.name}': parameter {name} is {value!r}, expected a number from 0 on"
            )
        return float(value)


def read_runs(path: Path) -> list[RecordedRun]:
    """Return the runs of a file of JSON Lines. Raises `InputError` that names line and key."""
    decoder = msgspec.json.Decoder(RecordedRun)
    runs = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            runs.append(decoder.decode(line))
        except msgspec.DecodeError as error:  # ValidationError is one
            raise InputError(f"{path}, line {number}: {error}") from None
    if not runs:
        raise InputError(f"{path}: holds no runs, expected one JSON object per line")
    return runs


def write_run(path: Path, run: RecordedRun) -> None:
    """Append a run to a file of JSON Lines, wholly or not at all.

    Raises `InputError` where it cannot be written.
    """
    try:
        _append(path, msgspec.json.encode(run) + b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        before = os.fstat(descriptor).st_size
        if before and os.pread(descriptor, 1, before - 1) != b"\n":
            line = b"\n" + line
        try:
            while line:
                line = line[os.write(descriptor, line) :]
        except OSError:
            # Half a line would spoil the file for whoever reads it next.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)
