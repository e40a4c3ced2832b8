"""A Dask cluster that runs the jobs of a sweep: other processes here, or other machines.

Jobs go out in batches, since a message costs some milliseconds, and come back in batches. What a
worker was at when it died is run again by another one.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from migsim.errors import InputError
from migsim.interrupts import interrupts_held
from migsim.jobs import Done, Job, OtherSource, Stopped, keep_freed_memory, run_batch
from migsim.work import told

__all__ = ["Cluster", "connected"]

Client: TypeAlias = Any
"""A ``distributed.Client``; distributed has hardly any types."""

Future: TypeAlias = Any
"""A ``distributed.Future`` of what `run_batch` returns."""

_BATCH_SECONDS = 0.5
"""How much work to put into a batch, as far as it can be foreseen."""

_BUDGET_SECONDS = 2.0
"""After that time a worker hands a batch back, with what is left of it undone."""

_GROWTH = 4
"""How much longer a batch may be than the longest before: the first migrations may be short."""

_IN_FLIGHT = 2
"""Batches for each thread of the workers: one that it is at, and one that waits for it."""

_LOOK_SECONDS = 0.5
"""How often to look whether scheduler and workers are still there while nothing comes."""

_CONNECT_SECONDS = 10.0
"""How long to wait for the scheduler's first answer."""

_PATIENCE_SECONDS = 30.0
"""How long to wait for a first worker, and for another one after all have gone."""


_QUIET = {
    "DASK_LOGGING__DISTRIBUTED": "critical",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
"""The environment of workers here: no logs, and no profiler, which would take some of the time."""


def _run_batch(jobs: Sequence[Job], budget: float) -> list[Done]:
    keep_freed_memory()
    return run_batch(jobs, budget)


class Cluster:
    """An executor of the workers of a Dask cluster."""

    def __init__(self, client: Client, *, patience: float = _PATIENCE_SECONDS) -> None:
        """Take a connected client, and the seconds to wait where there are no workers."""
        self._client = client
        self._patience = patience
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._threads = 0
        self._looked = self._seen = 0.0

    def run(self, jobs: Sequence[Job]) -> Generator[list[Done]]:
        """Run the jobs, as `migsim.jobs.Executor` says.

        A batch that costs several workers their lives (Dask's ``allowed-failures``) is tried again
        one job by one; a job that does so alone ends the sweep.
        """
        missing = deque(jobs)
        alone: deque[Job] = deque()  # those of batches whose workers died
        in_flight: dict[Future, Sequence[Job]] = {}
        longest, mean, measured = 1, _BATCH_SECONDS, False
        self._ended = queue.SimpleQueue()  # batches of a sweep that was given up still end
        self._look(at_once=True)
        try:
            while missing or alone or in_flight:
                while (missing or alone) and len(in_flight) < _IN_FLIGHT * self._threads:
                    if alone:
                        batch = [alone.popleft()]
                    else:
                        fair = -(-len(missing) // (2 * self._threads))  # so that all end together
                        size = int(_BATCH_SECONDS / mean) if measured else 1
                        size = max(1, min(size, _GROWTH * longest, fair))
                        longest = max(longest, size)
                        batch = [missing.popleft() for _ in range(size)]
                    in_flight[self._submit(batch)] = batch
                future = self._next_ended()
                if future is None:
                    continue
                sent = in_flight.pop(future)
                done = self._result(future, sent)
                if done is None:
                    alone.extend(sent)
                    continue
                missing.extendleft(reversed(sent[len(done) :]))
                took = sum(one.seconds for one in done) / len(done)
                mean = 0.7 * mean + 0.3 * took if measured else took
                measured = True
                yield done
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self._client.cancel(list(in_flight), force=True)

    def _submit(self, batch: Sequence[Job]) -> Future:
        try:
            future = self._client.submit(_run_batch, batch, _BUDGET_SECONDS, pure=False)
        except Exception:  # a client that has lost its scheduler says so in many ways
            raise self._gone() from None
        future.add_done_callback(self._ended.put)
        return future

    def _next_ended(self) -> Future | None:
        self._look()
        try:
            return self._ended.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            return None

    def _result(self, future: Future, batch: Sequence[Job]) -> list[Done] | None:
        """Return what a batch came to, or None where it is to be tried again one by one."""
        from distributed import KilledWorker

        if future.status == "cancelled":
            raise self._gone()
        if future.status == "lost":  # the worker that held what it had finished has died since
            return None
        error = future.exception() if future.status == "error" else None
        if error is None:
            done: list[Done] = future.result()
            return done
        if isinstance(error, KilledWorker):
            if len(batch) > 1:
                return None
            raise Stopped(f"every worker that tried {told(batch[0][1])} died")
        if isinstance(error, OtherSource):
            raise InputError(
                f"a worker of the cluster has another source than this process: {error}"
            ) from None
        if isinstance(error, InputError):
            raise error
        if isinstance(error, ImportError) or "deserializ" in str(error).lower():
            raise InputError(
                f"a worker of the cluster cannot load migsim as it is here: {error}"
            ) from None
        raise error

    def _look(self, *, at_once: bool = False) -> None:
        """Count the threads of the workers; raise `Stopped` where nobody is left."""
        now = time.monotonic()
        if self._client.status != "running":
            raise self._gone()
        if now - self._looked < _LOOK_SECONDS:
            return
        try:
            self._threads = sum(self._client.nthreads().values())
        except Exception:
            raise self._gone() from None
        self._looked = time.monotonic()
        if self._threads or at_once:
            self._seen = self._looked
        elif self._looked - self._seen > self._patience:
            raise Stopped(f"the cluster has had no workers for {self._patience:g} s")

    def _gone(self) -> Stopped:
        return Stopped("the scheduler of the cluster is gone")


@contextmanager
def connected(where: str, *, patience: float = _PATIENCE_SECONDS) -> Iterator[Cluster]:
    """Connect to the cluster at ``where`` for the length of a ``with`` block.

    ``where`` is an address such as ``tcp://host:8786``, ``local:N`` for N worker processes on this
    machine that end with the block, or ``scheduler-file:PATH``. Raises `InputError` where that
    cannot be reached or has no workers within ``patience`` seconds.
    """
    kind, _, rest = where.partition(":")
    if kind not in {"tcp", "tls", "ucx", "ws", "wss", "local", "scheduler-file"} or not rest:
        raise InputError(
            f"--dask {where}: expected an address such as tcp://host:8786, local:4 or "
            "scheduler-file:PATH"
        )
    if kind == "local" and not (rest.isdecimal() and int(rest) > 0):
        raise InputError(f"--dask {where}: expected a number of workers, such as local:4")
    if kind == "scheduler-file" and not Path(rest).is_file():
        raise InputError(f"--dask {where}: cannot be reached: there is no such file")
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            f"--dask needs distributed ({error}): pip install 'migsim[dask]'"
        ) from None
    _silence()
    with _client(distributed, where, kind, rest) as client:
        try:
            client.wait_for_workers(1, timeout=patience)
        except TimeoutError:
            raise InputError(
                f"--dask {where}: the cluster has no workers after {patience:g} s"
            ) from None
        yield Cluster(client, patience=patience)


def _silence() -> None:
    """Keep the logs of distributed off the screen: what goes wrong is told in one sentence."""
    for name in [
        name for name in logging.root.manager.loggerDict if name.startswith("distributed")
    ]:
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _client(distributed: Any, where: str, kind: str, rest: str) -> Iterator[Client]:
    cluster = None
    try:
        if kind == "local":
            with interrupts_held():  # the threads that start and restart workers never hear them
                cluster = distributed.LocalCluster(
                    n_workers=int(rest), threads_per_worker=1, processes=True,
                    dashboard_address=None, env=_QUIET,
                )  # fmt: skip
            client = distributed.Client(cluster, timeout=_CONNECT_SECONDS)
        elif kind == "scheduler-file":
            client = distributed.Client(scheduler_file=rest, timeout=_CONNECT_SECONDS)
        else:
            client = distributed.Client(where, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        if cluster is not None:
            cluster.close()
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"--dask {where}: cannot be reached: {reason}") from None
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=2)
        if cluster is not None:
            cluster.close(timeout=10)
