"""Reports of QEMU's guestperf (tests/migration-stress/guestperf) as recorded runs.

guestperf migrates a guest that rewrites all its memory in order, as fast as it can, under KVM. A
report says nothing of the link: what limits is taken to be the bandwidth that QEMU was allowed.
"""

from __future__ import annotations

import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from migsim.errors import InputError
from migsim.hypervisor.runs import GuestLoad, Measured, RecordedRun

__all__ = ["parse_report"]

_PAGE, _MIB, _GIB = 4096, 1 << 20, 1 << 30
_ENDS = ("completed", "cancelled", "failed")
_CAPABILITIES = {
    "post_copy": "postcopy-ram",
    "auto_converge": "auto-converge",
    "compression_mt": "compress",
    "compression_xbzrle": "xbzrle",
    "multifd": "multifd",
    "dirty_limit": "dirty-limit",
}
"""A scenario's switch and the capability of QEMU that it turns on."""


class _Hardware(msgspec.Struct):
    mem: Annotated[float, Meta(gt=0)]
    """GiB of which the guest writes every page; QEMU gives it 512 MiB more."""
    cpus: Annotated[int, Meta(ge=1)] = 1


class _Scenario(msgspec.Struct):
    name: str
    downtime: float
    bandwidth: float
    max_time: float | None = None
    pause: bool = False
    post_copy: bool = False
    post_copy_iters: int = 5
    auto_converge: bool = False
    auto_converge_step: int = 10
    compression_mt: bool = False
    compression_mt_threads: int = 1
    compression_xbzrle: bool = False
    compression_xbzrle_cache: float = 10
    multifd: bool = False
    multifd_channels: int = 2
    multifd_compression: str = ""
    dirty_limit: bool = False
    x_vcpu_dirty_limit_period: int = 500
    vcpu_dirty_limit: int = 1


class _Memory(msgspec.Struct):
    total_bytes: int
    transferred_bytes: int
    duplicate_pages: int
    normal_pages: int
    iterations: int
    dirty_rate_pps: float = 0.0


class _Progress(msgspec.Struct):
    status: str
    ram: _Memory
    now: Annotated[float, Meta(ge=0, le=1e10)]
    duration: float
    downtime: float = 0.0
    setup_time: float = 0.0
    throttle_pcent: float = 0.0


class _Timing(msgspec.Struct):
    timestamp: float
    value: float


class _Report(msgspec.Struct):
    hardware: _Hardware
    scenario: _Scenario
    progress_history: list[_Progress]
    guest_timings: list[_Timing] = []  # msgspec copies it
    binary: str = ""
    kernel: str = ""
    transport: str = ""
    dst_host: str = ""


def parse_report(text: str, path: Path) -> RecordedRun:
    """Return the run that a report tells of. Raises `InputError` that names file and key."""
    try:
        report = msgspec.json.decode(text, type=_Report)
    except msgspec.DecodeError as error:  # ValidationError is one
        raise InputError(f"{path}: no report of guestperf: {error}") from None
    if report.scenario.pause:
        raise InputError(
            f"{path}: scenario.pause is true, expected false: a guest that is paused to make its "
            "migration end cannot be compared"
        )
    if not report.progress_history or report.progress_history[-1].status not in _ENDS:
        status = report.progress_history[-1].status if report.progress_history else "missing"
        raise InputError(
            f"{path}: progress_history: the last status is {status}, expected {', '.join(_ENDS)}"
        )
    last = report.progress_history[-1]
    facts = ("binary", "dst_host", "kernel", "transport")
    return RecordedRun(
        name=report.scenario.name,
        set="guestperf",
        hypervisor="qemu kvm",  # its version is not told
        memory=last.ram.total_bytes,
        vcpus=report.hardware.cpus,
        zero_pages=last.ram.duplicate_pages,
        workload=GuestLoad(
            kind="sequential",
            working_set=int(report.hardware.mem * _GIB),
            rate=_page_rate(report, path),
        ),
        capabilities=tuple(
            name for switch, name in _CAPABILITIES.items() if getattr(report.scenario, switch)
        ),
        parameters=_parameters(report),
        postcopy_after_seconds=_postcopy_start(report),
        time_limit_seconds=report.scenario.max_time,
        measured=_measured(last),
        date=datetime.fromtimestamp(report.progress_history[0].now, UTC).date().isoformat(),
        versions={name: value for name in facts if (value := getattr(report, name))},
    )


def _page_rate(report: _Report, path: Path) -> float:
    """Pages written per second by all vCPUs; the guest says how many ms a GiB takes each.

    What it said before the migration counts, as that slows it down. Without its word, the highest
    dirty rate that QEMU has seen stands for it: the sweep dirties a page only once a round.
    """
    first = report.progress_history[0]
    begin = first.now - first.duration / 1e3
    said = [one for one in report.guest_timings if one.value > 0]
    values = [one.value for one in said if one.timestamp < begin] or [one.value for one in said]
    if values:
        return report.hardware.cpus * _GIB / _PAGE / (statistics.median(values) / 1e3)
    rate = max(one.ram.dirty_rate_pps for one in report.progress_history)
    if rate <= 0:
        raise InputError(
            f"{path}: guest_timings is empty and ram.dirty_rate_pps is never above 0, expected one "
            "of them to tell how fast the guest writes"
        )
    return rate


def _parameters(report: _Report) -> dict[str, Any]:
    """QEMU's parameters by its names, as a scenario sets them."""
    scenario = report.scenario
    found: dict[str, Any] = {
        "max-bandwidth": int(scenario.bandwidth * _MIB),
        "downtime-limit": scenario.downtime,
    }
    if scenario.auto_converge:
        found["cpu-throttle-increment"] = scenario.auto_converge_step
    if scenario.compression_mt:
        found["compress-threads"] = scenario.compression_mt_threads
    if scenario.compression_xbzrle:
        share = scenario.compression_xbzrle_cache / 100
        found["xbzrle-cache-size"] = int(report.hardware.mem * _GIB * share)
    if scenario.multifd:
        found["multifd-channels"] = scenario.multifd_channels
        if scenario.multifd_compression:
            found["multifd-compression"] = scenario.multifd_compression
    if scenario.dirty_limit:
        found["x-vcpu-dirty-limit-period"] = scenario.x_vcpu_dirty_limit_period
        found["vcpu-dirty-limit"] = scenario.vcpu_dirty_limit
    return found


def _postcopy_start(report: _Report) -> float | None:
    """Seconds after which post-copy was asked for: once as many rounds had been seen."""
    scenario = report.scenario
    if not scenario.post_copy:
        return None
    if scenario.post_copy_iters == 0:
        return 0.0
    for one in report.progress_history[:-1]:
        if one.ram.iterations >= scenario.post_copy_iters:
            return one.duration / 1e3
    return None


def _measured(last: _Progress) -> Measured:
    completed = last.status == "completed"
    return Measured(
        status=last.status,
        total_seconds=last.duration / 1e3,
        # QEMU 7.2 may say that it is done before it says for how long the guest stood still.
        downtime_seconds=last.downtime / 1e3 if completed and last.downtime else None,
        setup_seconds=last.setup_time / 1e3,
        transferred_bytes=last.ram.transferred_bytes,
        normal_pages=last.ram.normal_pages,
        dirty_syncs=last.ram.iterations,
        throttle_percent=int(last.throttle_pcent),
    )
