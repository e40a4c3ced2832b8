"""Small builders that several test modules use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from migsim import Link, Migration, VirtualMachine
from migsim.network.link import PRESETS
from migsim.registry import find
from migsim.simulate import Outcome
from migsim.trace.format import Trace, write_trace

ROOT = Path(__file__).resolve().parent.parent
PAGE = 4096


def preset(name: str, **changes: Any) -> Link:
    return Link(**{**PRESETS[name][1], **changes})


def machine(pages: int, **changes: Any) -> VirtualMachine:
    page_size = changes.get("page_size", PAGE)
    plain = {"device_state": 0, "resume_seconds": 0.0, "sync_seconds_per_gib": 0.0}
    return VirtualMachine(memory=pages * page_size, **{**plain, **changes})


class Listed:
    """A workload that is given as a list of (guest time, page, is a write), sorted by time."""

    def __init__(self, accesses: Sequence[tuple[float, int, bool]], pages: int) -> None:
        self.listed = list(accesses)
        self.pages = pages
        self._times = np.array([time for time, _, _ in self.listed], np.float64)
        self._pages = np.array(
            [page if write else ~page for _, page, write in self.listed], np.int64
        )

    def index(self, guest_time: float) -> int:
        return int(np.searchsorted(self._times, guest_time, side="left"))

    def accesses(self, first: int, pages: np.ndarray, times: np.ndarray) -> None:
        pages.fill(0)
        times.fill(np.inf)
        known = slice(first, first + pages.size)
        count = self._pages[known].size
        pages[:count], times[:count] = self._pages[known], self._times[known]


def migration(
    accesses: Sequence[tuple[float, int, bool]] = (),
    pages: int = 256,
    link: Link | None = None,
    **vm: Any,
) -> Migration:
    """Return a handle over a small guest that makes the given accesses."""
    shape = machine(pages, **vm)
    return Migration(shape, Listed(accesses, pages), link or preset("gigabit"))


def row_text(outcome: Outcome) -> str:
    """Return everything an outcome says, as text in which every bit of every float shows."""
    events = [list(vars(event).values()) for event in outcome.timeline]
    latencies = outcome.fault_latencies.tolist()
    return json.dumps([outcome.result.as_dict(), events, latencies], sort_keys=True)


def python(code: str, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """Run ``code`` in a fresh interpreter that finds migsim; return what it prints."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def small_trace(path: Path, pages: int = 200, intervals: int = 100) -> Path:
    """Write a trace of 10 ms intervals in which a few random pages are written."""
    draw = np.random.default_rng(1)
    sets = [
        np.sort(draw.choice(pages, draw.integers(0, 60), replace=False)) for _ in range(intervals)
    ]
    write_trace(
        path,
        Trace(
            ends=np.arange(1, intervals + 1) / 100,
            counts=np.array([len(one) for one in sets], np.uint32),
            pages=np.concatenate(sets).astype(np.uint32),
            resident=np.arange(pages, dtype=np.uint32),
            pages_total=pages,
        ),
    )
    return path


# What makes algorithms end that would otherwise go on until the guest dirties less.
ENDING: dict[str, dict[str, Any]] = {
    "cloud_hypervisor": {"timeout": "5s", "on_timeout": "ignore"},
    "qemu": {"postcopy_after": "5s"},
}


def small_arguments(workload: str, trace: Path) -> dict[str, Any]:
    """Return workload parameters that make a guest of 4 MiB busy within some ten milliseconds."""
    nested = {
        "curve": {"curve": "1ms:20,5ms:80,20ms:200", "read_fraction": 0.2},
        "trace": {"file": str(trace), "read_fraction": 0.2, "speed": 10.0},
        "phases": {
            "schedule": "10ms hotcold(rate=30000, read_fraction=0.2); 5ms sequential(rate=50000);"
            "3ms idle; 7ms uniform(rate=20000, offset=25%)"
        },
        "mix": {
            "parts": "zipf(rate=20000, read_fraction=0.5) + sequential(rate=5000, offset=50%) + "
            "phases(schedule=5ms uniform(rate=10000); 5ms idle)"
        },
    }  # fmt: skip
    if workload in nested:
        return nested[workload]
    known = {parameter.name for parameter in find("workload", workload).parameters}
    usual = {"rate": 30_000, "read_fraction": 0.25}
    return {name: value for name, value in usual.items() if name in known}


_GUESTPERF_START = 1_700_000_000.0


def _progress(status: str, seconds: float, syncs: int, **changes: Any) -> dict[str, Any]:
    ram = {
        "transferred_bytes": int(1e8 * seconds),
        "remaining_bytes": 0,
        "total_bytes": 1_611_538_432,
        "duplicate_pages": 120_000,
        "skipped_pages": 0,
        "normal_pages": 25_000,
        "normal_bytes": 25_000 * 4096,
        "dirty_rate_pps": 30_000,
        "transfer_rate_mbs": 800.0,
        "iterations": syncs,
    }
    return {
        "status": status,
        "ram": ram,
        "now": _GUESTPERF_START + seconds,
        "duration": int(1e3 * seconds),
        "downtime": 0,
        "downtime_expected": 300,
        "setup_time": 5,
        "throttle_pcent": 0,
        **changes,
    }


def guestperf_report(**scenario: Any) -> dict[str, Any]:
    """A report as `Report.to_json` of QEMU 10 writes it."""
    return {
        "hardware": {
            "cpus": 2, "mem": 1, "src_cpu_bind": [], "src_mem_bind": [], "dst_cpu_bind": [],
            "dst_mem_bind": [], "prealloc_pages": False, "huge_pages": False,
            "locked_pages": False, "dirty_ring_size": 0,
        },
        "scenario": {
            "name": "auto-converge-step-5", "downtime": 500, "bandwidth": 125, "max_iters": 30,
            "max_time": 300, "pause": False, "pause_iters": 5, "post_copy": False,
            "post_copy_iters": 5, "auto_converge": False, "auto_converge_step": 10,
            "compression_mt": False, "compression_mt_threads": 1, "compression_xbzrle": False,
            "compression_xbzrle_cache": 10, "multifd": False, "multifd_channels": 2,
            "multifd_compression": "", "dirty_limit": False, "x_vcpu_dirty_limit_period": 500,
            "vcpu_dirty_limit": 1, **scenario,
        },
        "progress_history": [
            _progress("active", 0.05, 1),
            _progress("active", 9.0, 2),
            _progress("active", 17.5, 3),
            _progress("completed", 20.5, 5, downtime=431),
        ],
        "guest_timings": [
            {"tid": tid, "timestamp": _GUESTPERF_START + at, "value": value}
            for tid, at, value in [(70, -3.0, 400), (71, -2.5, 410), (70, -1.0, 390), (70, 5, 900)]
        ],
        "qemu_timings": [{"tid": 1, "timestamp": _GUESTPERF_START, "value": 120.0}],
        "vcpu_timings": [{"tid": 2, "timestamp": _GUESTPERF_START, "value": 100.0}],
        "result": {"success": True},
        "binary": "/usr/bin/qemu-system-x86_64",
        "dst_host": "localhost",
        "kernel": "/boot/vmlinuz",
        "initrd": "initrd-stress.img",
        "transport": "unix",
        "sleep": 15,
    }  # fmt: skip
