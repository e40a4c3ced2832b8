"""What a recorded migration of QEMU is predicted to come to, from its inputs alone."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from migsim.errors import InputError
from migsim.hypervisor.runs import RecordedRun
from migsim.network.link import LEAST_QUEUE, SEND_LIMIT
from migsim.simulate import Outcome, migrate
from migsim.units import MIB
from migsim.validate.errors import Claim, Prediction

__all__ = [
    "CLAIMS",
    "HOST",
    "RUNS",
    "Host",
    "family",
    "is_calibration",
    "predict",
    "predict_all",
    "reported",
    "simulate",
]

_DATA = Path(__file__).parents[1] / "data"
HOST = _DATA / "qemu-host.json"
"""The constants of the host, fitted once: `migsim.validate.fit`."""
CODEC_COSTS = _DATA / "qemu-host-codecs.csv"
"""What codecs cost on the machine of ``recorded.jsonl``: `migsim calibrate`."""
RUNS = tuple(sorted((_DATA / "qemu-runs").glob("*.jsonl")))
"""The committed recordings."""

CLAIMS = (
    Claim(text="total time, median error", quantity="total", measure="median", bound=0.02),
    Claim(text="total time, 90 % of errors", quantity="total", measure="p90", bound=0.06),
    Claim(text="bytes, median error", quantity="bytes", measure="median", bound=0.01),
    Claim(text="rounds within one", quantity="rounds", measure="within_one", bound=0.9,
          at_least=True),
    Claim(text="downtime within 20 ms or 25 %", quantity="downtime",
          measure="within_20_ms_or_25_percent", bound=0.9, at_least=True),
    Claim(text="post-copy requests, median error", quantity="postcopy_requests", measure="median",
          bound=0.3),
    Claim(text="verdicts of convergence right", quantity="convergence", measure="right", bound=1.0,
          at_least=True),
)  # fmt: skip
"""What is claimed of the committed recordings that no constant was fitted on."""

_FAMILIES = {"xbzrle": "XBZRLE", "auto-converge": "auto-converge", "multifd": "multifd"}
_KNOWN = {
    *_FAMILIES, "dirty-limit", "postcopy-ram", "postcopy-preempt",
    # These change nothing that is predicted.
    "events", "late-block-activate", "postcopy-blocktime", "release-ram", "return-path",
    "validate-uuid",
}  # fmt: skip
_SEEDS = 5
_MANY_WRITES = 2e8  # of which simulations take some ten seconds
_JITTER = 0.02  # seconds by which simulations differ in when they begin
_PATIENCE = 900.0  # seconds after which a migration without a time limit counts as not converging
_FILL = 64 * MIB  # random words beside the working set
_WORKING_SET_AT = 40 * MIB  # where the guest's kernel puts the memory of the first program
_PACKET_PAGES, _PACKET_HEADER = 128, 1344  # of multifd


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Constants of one machine on which both QEMUs run; the same for all runs.

    Attributes:
        setup_seconds: from the command to the first reading of the log.
        page_seconds, zero_page_seconds: the migration thread's CPU time for a page.
        loopback_rate: bytes per second that a destination on the same machine takes in.
        postcopy_rate: the same in post-copy, where each page is put in its place by itself.
        write_seconds: the guest's CPU time for each byte that a write changes.
        fault_seconds, preempt_fault_seconds: what a demanded page takes beside the network, where
            bursts of other pages keep the destination busy, and where not.
        stop_seconds: the part of the downtime that does not depend on pages.
        switch_seconds: the downtime of post-copy as QEMU counts it.
        command_seconds: from the end of the warm-up to the command to migrate.
        top_pages: pages at the end of memory that hold data: the guest's kernel.
        kernel: what the guest's kernel does to those: pages, and their writes and reads per second.
        low_reads: reads per second of the guest's kernel anywhere in the memory below its programs.
        device_bytes: device state without its first vCPU's part.
    """

    setup_seconds: float
    page_seconds: float
    zero_page_seconds: float
    loopback_rate: float
    postcopy_rate: float
    write_seconds: float
    fault_seconds: float
    preempt_fault_seconds: float
    stop_seconds: float
    switch_seconds: float
    command_seconds: float = 0.01
    top_pages: int = 2900
    kernel: tuple[tuple[int, float, float], ...] = ((60, 1000.0, 0.0), (80, 15.0, 0.0))
    low_reads: float = 0.0
    device_bytes: int = 112_000


def is_calibration(run: RecordedRun) -> bool:
    """Whether constants may be fitted: on ``given.jsonl`` and ``calibration.jsonl``."""
    return run.set in {"a", "d", "calibration"}


@cache
def _host() -> Host:
    return msgspec.json.decode(HOST.read_bytes(), type=Host)


def predict(run: RecordedRun, host: Host | None = None, seeds: int = _SEEDS) -> Prediction:
    """Return the medians of several simulations that differ in what chance the guest had.

    Where a guest writes so much that each takes a while, one has to do.

    Raises `InputError` where the run uses what the model does not know.
    """
    chosen = host or _host()
    found = []
    for seed in range(1, seeds + 1):
        found.append(reported(run, simulate(run, chosen, seed), chosen))
        total = found[-1].total
        if total is None or total * run.workload.rate > _MANY_WRITES:
            break
    if not found[-1].converged:
        return found[-1]
    values = {
        name: statistics.median_low(getattr(one, name) for one in found)
        for name in ("total", "downtime", "bytes", "rounds", "postcopy_requests")
    }
    return Prediction(**values, converged=True)


def predict_all(runs: Sequence[RecordedRun], host: Host | None = None) -> list[Prediction]:
    """Return the predictions of many runs; equal inputs are simulated once.

    Where one cannot be predicted, its reason says why, and the others are.
    """
    known: dict[bytes, Prediction] = {}
    found = []
    for run in runs:
        inputs = msgspec.json.encode({name: getattr(run, name) for name in run.uses})
        key = inputs + run.hypervisor.encode()
        if key not in known:
            try:
                known[key] = predict(run, host)
            except InputError as error:
                reason = str(error).removeprefix(f"run '{run.name}': ")
                known[key] = Prediction(reason=reason)
        found.append(known[key])
    return found


def family(run: RecordedRun) -> str:
    """Return the kind of migration that a run is, for tables and figures."""
    if run.switches:
        kind = "post-copy" if run.postcopy_after_seconds == 0 else "hybrid"
        return f"{kind}, preempt" if "postcopy-preempt" in run.capabilities else kind
    for name, kind in _FAMILIES.items():
        if name in run.capabilities:
            return kind
    return "pre-copy"


def simulate(run: RecordedRun, host: Host, seed: int) -> Outcome:
    """Return the outcome of one simulation of a run. Raises `InputError`."""
    _check(run)
    pages, zero_pages = run.memory // run.page_size, _zero_pages(run)
    accelerated = "kvm" in run.hypervisor
    top = min(host.top_pages, pages - zero_pages)
    preempt = "postcopy-preempt" in run.capabilities
    # What comes in bursts keeps the destination's processors from the guest.
    crowded = run.link.kind == "loopback" and not preempt
    return migrate(
        "qemu",
        "mix",
        "custom",
        memory=pages * run.page_size,
        seed=seed,
        algorithm_args=_algorithm(run),
        workload_args={
            "parts": _workload(run, host, seed),
            "content": _content(run),
            "write_bytes": run.workload.write_bytes,
            "write_pattern": "fixed",
            "duplicate_fraction": 0,
        },
        link_args=_link(run, host),
        vm_args={
            "vcpus": run.vcpus,
            "zero_fraction": zero_pages / pages,
            "zero_offset": (pages - zero_pages - top) * run.page_size,
            "device_state": host.device_bytes + 9500 * run.vcpus,
            "resume_seconds": 0,
            "dirty_log": "send" if accelerated else "sync",
            "log_needs_vcpus": not accelerated,
            "sync_seconds_per_gib": 200e-6,
            "page_seconds": host.page_seconds,
            "zero_page_seconds": host.zero_page_seconds,
            "codec_costs": str(CODEC_COSTS),
            "fault_seconds": host.fault_seconds if crowded else host.preempt_fault_seconds,
            "load": min(
                1.0, run.workload.rate * run.workload.write_bytes * host.write_seconds / run.vcpus
            ),
            "catch_up": 0.25,
        },
    )


def _check(run: RecordedRun) -> None:
    """Raise `InputError` where a run makes no sense, or where something is on that has no model."""
    if not 0 < run.page_size <= run.memory:
        raise InputError(f"run '{run.name}': memory is {run.memory}, expected at least a page")
    if run.vcpus < 1:
        raise InputError(f"run '{run.name}': vcpus is {run.vcpus}, expected at least 1")
    load = run.workload
    if load.kind != "idle" and not run.page_size <= load.working_set <= run.memory:
        raise InputError(
            f"run '{run.name}': workload.working_set is {load.working_set}, expected a page to "
            "all memory"
        )
    if unknown := sorted(set(run.capabilities) - _KNOWN):
        raise InputError(
            f"run '{run.name}': capabilities has {', '.join(unknown)}, of which there is no model"
        )


def _zero_pages(run: RecordedRun) -> int:
    """QEMU counts a page of zeros whenever it sends one; most are sent once."""
    return min(run.zero_pages, run.memory // run.page_size - 1)


def reported(run: RecordedRun, outcome: Outcome, host: Host) -> Prediction:
    """Return what QEMU's source would report of a simulated migration.

    Its clock stops when its sockets have taken the last byte, in post-copy when the destination
    has all pages.
    """
    result, events = outcome.result, list(outcome.timeline)
    if result.status not in {"completed", "gave_up"}:
        raise InputError(f"run '{run.name}': the simulation ended as {result.status}")
    sent = result.sent_first_copy + result.sent_resent + result.sent_faulted
    if "multifd" in run.capabilities:
        zeros = result.zero_pages
        transferred = sent - zeros + _PACKET_HEADER * (result.pages_sent // _PACKET_PAGES)
    else:
        transferred = sent + 8 * result.pages_sent
    rounds = 1 + sum(event.act == "sync" for event in events)
    if result.status == "gave_up":
        return Prediction(
            total=None, downtime=None, bytes=None, rounds=None, postcopy_requests=None,
            converged=False,
        )  # fmt: skip
    paused = next(event.start for event in events if event.act == "pause")
    if events[-1].act == "push":
        total = result.total_seconds + run.link.rtt / 2
        downtime = host.switch_seconds + (
            host.device_bytes * 8 / run.link.rate if run.link.rate else 0
        )
    else:
        last = max((event.end for event in events if event.act in {"send", "sync"}), default=paused)
        downtime = last - paused + host.stop_seconds
        if {"postcopy-ram", "return-path"} & set(run.capabilities):
            downtime += run.link.rtt
        total = paused + downtime
    return Prediction(
        total=host.setup_seconds + total,
        downtime=downtime,
        bytes=transferred,
        rounds=rounds,
        postcopy_requests=result.requests,
        converged=True,
    )


def _algorithm(run: RecordedRun) -> dict[str, Any]:
    """Return the parameters of algorithm ``qemu`` that say what the run's say."""
    given, number, on = run.parameters, run.parameter, set(run.capabilities)
    arguments: dict[str, Any] = {
        "version": _version(run),
        "max_bandwidth": number("max-bandwidth", 128 * MIB),
        "downtime_limit": number("downtime-limit", 300) / 1e3,
        "switchover_bandwidth": number("avail-switchover-bandwidth", 0),
        "cancel_after": run.time_limit_seconds or _PATIENCE,
    }
    if "xbzrle" in on:
        arguments |= {"xbzrle": True, "xbzrle_cache": given.get("xbzrle-cache-size", 64 * MIB)}
    if "multifd" in on:
        arguments |= {
            "multifd": True,
            "channels": given.get("multifd-channels", 2),
            "compression": given.get("multifd-compression", "none"),
        }
    if "auto-converge" in on:
        arguments |= {
            "auto_converge": True,
            "throttle_trigger": number("throttle-trigger-threshold", 50) / 100,
            "throttle_initial": number("cpu-throttle-initial", 20) / 100,
            "throttle_increment": number("cpu-throttle-increment", 10) / 100,
            "throttle_tailslow": bool(given.get("cpu-throttle-tailslow", False)),
            "max_throttle": number("max-cpu-throttle", 99) / 100,
        }
    if "dirty-limit" in on:
        arguments |= {
            "dirty_limit": True,
            "vcpu_dirty_limit": number("vcpu-dirty-limit", 1) * MIB,
        }
    if run.switches:
        arguments |= {
            "postcopy_after": run.postcopy_after_seconds,
            "postcopy_rounds": run.postcopy_after_rounds,
            "postcopy_preempt": "postcopy-preempt" in on,
            "max_postcopy_bandwidth": number("max-postcopy-bandwidth", 0),
        }
    return arguments


def _version(run: RecordedRun) -> float:
    found = re.search(r"\b\d+(\.\d+)?", run.hypervisor)
    return float(found[0]) if found else 10.0


def _workload(run: RecordedRun, host: Host, seed: int) -> str:
    """Return the guest as parts of a mix: its program, and its kernel beside."""
    load = run.workload
    place = min(_WORKING_SET_AT, run.memory - load.working_set)
    program = f"rate={load.rate}, working_set={load.working_set}, offset={place}"
    if load.kind == "sequential" and run.warm_up_seconds is not None:
        begun = load.rate * (run.warm_up_seconds + host.command_seconds + seed * _JITTER)
        program += f", start={begun * run.page_size / load.working_set % 1.0}"
    elif load.kind == "hotcold":
        program += f", hot_fraction={load.hot_fraction}, hot_probability={load.hot_probability}"
    parts = [] if load.kind == "idle" else [f"{load.kind}({program})"]
    if (
        host.low_reads and place >= run.page_size
    ):  # with one write a second, as a rate of writes is wanted
        share = host.low_reads / (1 + host.low_reads)
        parts.append(f"uniform(rate=1, read_fraction={share}, working_set={place})")
    first = run.memory // run.page_size - host.top_pages
    for pages, writes, reads in host.kernel:
        parts.append(
            f"uniform(rate={writes}, read_fraction={reads / (writes + reads)}, "
            f"working_set={pages * run.page_size}, offset={first * run.page_size})"
        )
        first += pages
    return " + ".join(parts)


def _content(run: RecordedRun) -> str:
    """Return what pages hold: random words but for the guest's kernel and page cache."""
    data = run.memory // run.page_size - _zero_pages(run)
    random = min(data, (run.workload.working_set + _FILL) // run.page_size)
    if "multifd" not in run.capabilities or random == data:
        return "encrypted"
    half = (data - random) / 2
    return f"encrypted:{random}+code:{half}+text:{half}"


def _link(run: RecordedRun, host: Host) -> dict[str, Any]:
    """Return the parameters of the link: a loopback is a link of the speed of its destination.

    What its sockets hold matters to demanded pages that have no connection of their own.
    """
    path = run.link
    if path.kind == "loopback":
        return {
            # Before it switches over, `max-bandwidth` limits it far below either of them.
            "rate": host.postcopy_rate if run.switches else host.loopback_rate,
            "rtt": 100e-6,
            "mtu": 65_535,
            "congestion": "none" if "postcopy-preempt" in run.capabilities else "cubic",
        }
    queue = path.queue
    if not isinstance(queue, int):
        queue = max(LEAST_QUEUE, int(path.rate / 8 * path.rtt))
    found = {
        "rate": path.rate / 8,
        "rtt": path.rtt,
        "loss": path.loss,
        "queue": str(queue),
        "congestion": path.congestion,
        "receive_buffer": path.receive_buffer,
    }
    if path.send_buffer != SEND_LIMIT:
        found["send_buffer"] = path.send_buffer
    return found
