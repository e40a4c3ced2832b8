"""Running a task: pure, and checked against the invariants before anything is reported."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from migsim._kernels.disk import COPIED, MIRRORED
from migsim._kernels.disk_destination import FETCHED
from migsim._types import Floats
from migsim.clients import Whereabouts
from migsim.compile_ahead import make_network_kernels
from migsim.disk import Disk
from migsim.errors import InputError
from migsim.ledger import Ledger
from migsim.limits import GaveUp, Lost
from migsim.machine import VirtualMachine
from migsim.migration import Migration
from migsim.network import Link, Share
from migsim.pages import Pages
from migsim.result import Result, Status
from migsim.task import ResolvedTask, Task
from migsim.timeline import Timeline
from migsim.units import KIB, MIB
from migsim.watch import Sample, Watch
from migsim.workload import Steady

__all__ = ["Outcome", "execute", "load_kernels", "migrate", "run", "watched"]


@dataclass(frozen=True)
class Outcome:
    """A result with the details that do not fit into a row.

    Attributes:
        result: the row.
        timeline: every act.
        fault_latencies: seconds of each post-copy fault, in order of wake-up.
        corrupt_pages: pages that were readable while stale, or that never arrived.
    """

    result: Result
    timeline: Timeline
    fault_latencies: Floats
    corrupt_pages: Pages


def run(task: Task) -> Result:
    """Return what the migration described by ``task`` comes to.

    The same task gives the same result to the bit. Raises `InputError` where the task cannot be
    used; whatever happens inside the algorithm is told by the result's status.
    """
    return execute(task.resolve()).result


def migrate(
    algorithm: str | Callable[..., Any],
    workload: str | Callable[..., Any] = "uniform",
    link: str | Link = "gigabit",
    *,
    memory: int | str | None = None,
    seed: int = 0,
    algorithm_args: Mapping[str, Any] | None = None,
    workload_args: Mapping[str, Any] | None = None,
    link_args: Mapping[str, Any] | None = None,
    vm_args: Mapping[str, Any] | None = None,
    client_args: Mapping[str, Any] | None = None,
    disk_args: Mapping[str, Any] | None = None,
) -> Outcome:
    """Simulate one migration and return its outcome; algorithm and workload may be functions.

    Arguments as in `Task`, numbers or texts with units; ``link`` may be a `Link` of one's own, such
    as a path of several (`migsim.network.compose`). Raises `InputError`.
    """
    if isinstance(link, Link):
        link, link_args = "custom", {**vars(link), **(link_args or {})}
    task = Task(
        algorithm=algorithm,
        workload=workload,
        link=link,
        memory=memory,
        seed=seed,
        algorithm_args=algorithm_args or {},
        workload_args=workload_args or {},
        link_args=link_args or {},
        vm_args=vm_args or {},
        client_args=client_args or {},
        disk_args=disk_args or {},
    )
    return execute(task.resolve())


def execute(task: ResolvedTask, watch: Watch | None = None, share: Share | None = None) -> Outcome:
    """Return the outcome of a resolved task, which ``watch`` may look at without changing it.

    ``share`` is the migration's place among others that use its path.
    Raises `InputError` for parameters that only the workload or the algorithm itself can judge.
    """
    migration = Migration(
        task.vm,
        task.make_workload(),
        task.link,
        task.limits,
        task.seed,
        task.content,
        watch,
        share,
        task.disk,
        task.make_disk_workload(),
    )
    status: Status = "completed"
    error = ""
    try:
        migration.connect()
        task.algorithm.call(migration, **task.algorithm_args)
    except InputError:
        raise  # a parameter that only the algorithm could judge
    except GaveUp as reason:
        status, error = "gave_up", str(reason)
    except Lost as reason:
        status, error = "lost", str(reason)
    except (Exception, SystemExit):
        status, error = "failed", traceback.format_exc()
    ledger = migration.close()
    if status == "completed" and ledger.place == "source":
        status, error = "gave_up", "the algorithm returned without switching over"
    if status == "gave_up" and ledger.place == "destination":
        status = "failed"
        error += f", and the guest at the destination lacks {len(ledger.missing)} pages"
        if ledger.missing_blocks:
            error += f" and {len(ledger.missing_blocks)} blocks"
    breaches = ledger.breaches(task.link)
    bad = ledger.exposed | ledger.differing
    if bad or ledger.exposed_blocks or (status == "completed" and breaches):
        status, error = "corrupt", "\n".join(filter(None, ["; ".join(breaches), error]))
    result = _summarise(ledger, status, error, task)
    return Outcome(result, migration.timeline, ledger.latencies, bad | ledger.missing)


def watched(task: ResolvedTask, instants: int = 400) -> tuple[Outcome, list[Sample]]:
    """Return the outcome, and how things stood at ``instants`` instants equally far apart.

    Simulates twice, because the end has to be known first. Raises `InputError`.
    """
    outcome = execute(task)
    watch = Watch(np.linspace(0.0, outcome.result.total_seconds, instants + 1))
    again = execute(task, watch)
    if again.result != outcome.result:
        raise AssertionError("looking at a migration changed it")
    return outcome, watch.samples


def load_kernels(task: ResolvedTask) -> None:
    """Compile the kernels that ``task`` needs, or load them from the cache.

    Whoever measures how long a simulation takes calls this first. Raises `InputError`.
    """
    workload = task.make_workload()
    workload.accesses(0, np.empty(1, np.int64), np.empty(1, np.float64))
    silence = Steady(pages=0, rate=0.0, read_fraction=0.0, draw=lambda first, pages: None)
    rehearsal = Migration(
        VirtualMachine(memory=64 * KIB), silence, Link(rate=math.inf, rtt=0.0),
        disk=None if task.disk is None else Disk(size=MIB), disk_workload=silence,
    )  # fmt: skip
    make_network_kernels()
    if rehearsal.all_blocks:
        rehearsal.mirror()
        rehearsal.send_blocks(rehearsal.all_blocks)
        rehearsal.send(rehearsal.everything)
        rehearsal.pause()
        rehearsal.resume(missing_blocks=rehearsal.all_blocks)
        rehearsal.push_blocks()
        return
    rehearsal.send(rehearsal.everything)
    rehearsal.pause()
    rehearsal.resume(missing=rehearsal.everything)
    rehearsal.push()


def _whereabouts(ledger: Ledger, status: Status) -> Whereabouts:
    """Return where the guest goes on: given up in the pause, it goes back to the source."""
    if status == "lost" or (ledger.place == "paused" and status != "gave_up"):
        return "nowhere"
    return "destination" if ledger.place == "destination" else "source"


def _summarise(ledger: Ledger, status: Status, error: str, task: ResolvedTask) -> Result:
    latencies = ledger.latencies
    faulted = latencies.size > 0
    headers, requests = ledger.header_bytes(task.link), ledger.request_bytes()
    outage, lost = task.clients.seen(ledger.downtime, _whereabouts(ledger, status), task.seed)
    blocks = ledger.sent_disk
    first, resent, demanded = (int(size) for size in ledger.sent_by_kind[:, 1])
    return Result(
        status=status,
        error=error,
        total_seconds=ledger.seconds,
        downtime_seconds=ledger.downtime,
        client_outage_seconds=outage,
        connections_lost=lost,
        bytes_sent=ledger.payload_bytes + headers + requests,
        payload_bytes=ledger.payload_bytes,
        pages_sent=ledger.pages_sent,
        zero_pages=ledger.zero_pages,
        encoded_pages=ledger.encoded_pages,
        unchanged_pages=ledger.unchanged_pages,
        cache_misses=ledger.cache_misses,
        overflows=ledger.overflows,
        cpu_seconds=ledger.cpu_seconds,
        rounds=ledger.rounds,
        faults=ledger.faults,
        requests=ledger.requests,
        fault_mean_seconds=float(latencies.mean()) if faulted else 0.0,
        fault_p99_seconds=float(np.quantile(latencies, 0.99)) if faulted else 0.0,
        fault_max_seconds=float(latencies.max()) if faulted else 0.0,
        stalled_seconds=ledger.stalled,
        throttled_seconds=ledger.throttled,
        tracking_seconds=ledger.tracking,
        mirror_seconds=ledger.mirror,
        disk_stalled_seconds=ledger.disk_stalled,
        paused_seconds=ledger.paused,
        guest_seconds=ledger.guest,
        accesses=ledger.accesses,
        acts=ledger.acts,
        corrupt_pages=len(ledger.exposed | ledger.differing | ledger.missing),
        disk_blocks_sent=int(blocks[COPIED, 0] + blocks[FETCHED, 0]),
        mirrored_writes=int(blocks[MIRRORED, 0]),
        disk_faults=ledger.disk_faults,
        corrupt_blocks=len(ledger.exposed_blocks) + len(ledger.missing_blocks),
        sent_disk=int(blocks[COPIED, 1] + blocks[FETCHED, 1]),
        sent_mirrored=int(blocks[MIRRORED, 1]),
        sent_first_copy=first,
        sent_resent=resent,
        sent_faulted=demanded,
        sent_bitmap=ledger.bitmap_bytes,
        sent_device_state=ledger.device_bytes,
        sent_requests=requests,
        sent_headers=headers,
    )
