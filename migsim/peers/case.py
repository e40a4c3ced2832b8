"""What a peer is told of a migration, and what it says of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from migsim.errors import InputError
from migsim.hypervisor.runs import GuestLoad, MigrationPath, RecordedRun
from migsim.network.link import Link

__all__ = ["Case", "Forecast", "case_of", "dirtied_pages", "linear_case"]

_MAX_BANDWIDTH = 128 << 20
_DOWNTIME_LIMIT = 300
"""QEMU's defaults of ``max-bandwidth`` (bytes per second) and ``downtime-limit`` (ms)."""
_RATE_PERIOD = 1.0  # seconds of QEMU's calc-dirty-rate by default


@dataclass(frozen=True, kw_only=True)
class Case:
    """The inputs of all peers; each takes of them what it knows of.

    Attributes:
        memory: bytes.
        zero_pages: pages that hold only zeros.
        working_set: bytes that the guest writes to.
        dirty_rate: bytes per second, as an operator measures it: pages dirtied within a second.
        dirtied: distinct pages dirtied within so many seconds, on average.
        limit: the most that the hypervisor is allowed to send, bytes per second.
        link: bytes per second on the wire; infinite inside one machine.
        goodput: of these, the bytes of the migration stream.
        rtt: seconds.
        downtime_limit: seconds.
        postcopy: whether the guest is resumed before all its pages are there.
    """

    memory: int
    page_size: int = 4096
    zero_pages: int = 0
    working_set: float
    dirty_rate: float
    dirtied: Callable[[float], float]
    limit: float = math.inf
    link: float = math.inf
    goodput: float = math.inf
    rtt: float = 0.0
    downtime_limit: float
    postcopy: bool = False

    @property
    def rate(self) -> float:
        """Bytes of the migration stream per second: what limits it, the hypervisor or the link."""
        return min(self.limit, self.goodput)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a peer says. None: it has no such output.

    Attributes:
        seconds: from start to end.
        downtime: seconds.
        sent: bytes.
        rounds: of pre-copy while the guest runs, the first included.
        converged: whether it ends by itself. If not, there is nothing else to say.
    """

    seconds: float | None = None
    downtime: float | None = None
    sent: float | None = None
    rounds: int | None = None
    converged: bool | None = None


def dirtied_pages(load: GuestLoad, page_size: int = 4096) -> Callable[[float], float]:
    """Return how many distinct pages a guest dirties within so many seconds, on average.

    Writes at random leave W (1 - exp(-D t / W)) of W pages (each page is missed by all of D t
    writes with that chance), a sweep min(D t, W); hot and cold pages are two sets at random.

    >>> dirtied = dirtied_pages(GuestLoad(kind="sequential", working_set=4096_000, rate=100))
    >>> dirtied(2.0), dirtied(20.0)
    (200.0, 1000.0)
    """
    pages = load.working_set / page_size
    if load.kind == "idle" or load.rate == 0:
        return lambda seconds: 0.0
    if load.kind == "sequential":
        return lambda seconds: min(load.rate * seconds, pages)
    hot = pages * load.hot_fraction if load.kind == "hotcold" else 0.0
    share = load.hot_probability if load.kind == "hotcold" else 0.0
    sets = [(hot, load.rate * share), (pages - hot, load.rate * (1.0 - share))]

    def dirtied(seconds: float) -> float:
        return sum(
            -math.expm1(-rate * seconds / count) * count for count, rate in sets if count > 0
        )

    return dirtied


def case_of(run: RecordedRun, *, used_memory: bool = False) -> Case:
    """Return what a peer is told of a recorded run: inputs only, nothing of what was measured.

    ``used_memory`` tells the memory that holds data as if it were all, which a user of a model
    without zero pages could do. Raises `InputError` where a run makes no sense.
    """
    if run.memory < run.page_size:
        raise InputError(f"run '{run.name}': memory is {run.memory}, expected at least a page")
    dirtied = dirtied_pages(run.workload, run.page_size)
    idle = run.workload.kind == "idle" or run.workload.rate == 0
    # QEMU counts a page of zeros whenever it sends one; most are sent once.
    zero_pages = min(run.zero_pages, run.memory // run.page_size - 1)
    return Case(
        memory=run.memory - zero_pages * run.page_size if used_memory else run.memory,
        page_size=run.page_size,
        zero_pages=0 if used_memory else zero_pages,
        working_set=0.0 if idle else run.workload.working_set,
        dirty_rate=dirtied(_RATE_PERIOD) * run.page_size / _RATE_PERIOD,
        dirtied=dirtied,
        limit=run.parameter("max-bandwidth", _MAX_BANDWIDTH) or math.inf,
        link=run.link.rate / 8 if run.link.kind == "emulated" else math.inf,
        goodput=_goodput(run.link),
        rtt=run.link.rtt,
        downtime_limit=run.parameter("downtime-limit", _DOWNTIME_LIMIT) / 1e3,
        postcopy=run.switches,
    )


def _goodput(path: MigrationPath) -> float:
    if path.kind == "loopback":
        return math.inf
    return Link(rate=path.rate / 8, rtt=path.rtt).goodput


def linear_case(
    memory: int, dirty_rate: float, rate: float, *, working_set: float | None = None,
    downtime_limit: float = 0.3, rtt: float = 0.0, limit: float = math.inf, page_size: int = 4096,
) -> Case:  # fmt: skip
    """Return a guest that dirties ``dirty_rate`` bytes per second in order, over a plain link.

    ``working_set`` defaults to all memory, ``rate`` is that of the link in bytes per second.
    """
    most = float(memory) if working_set is None else working_set
    return Case(
        memory=memory,
        page_size=page_size,
        working_set=most,
        dirty_rate=dirty_rate,
        dirtied=lambda seconds: min(dirty_rate * seconds, most) / page_size,
        limit=limit,
        link=rate,
        goodput=rate,
        rtt=rtt,
        downtime_limit=downtime_limit,
    )
