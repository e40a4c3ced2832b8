"""What an act costs beside its pages: calls of kernels, not seconds."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numba
import pytest

from migsim import Migration, _jit, migrate
from migsim.simulate import execute
from migsim.units import GIB
from migsim.validate.linear import linear_task

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


def called(monkeypatch: pytest.MonkeyPatch, dirty_rate: float) -> tuple[Counter[str], int]:
    """Return how often each kernel is called in a migration of 1 GiB, and its acts."""
    task = linear_task(GIB, GIB * 9 // 10, dirty_rate).resolve()
    counted: Counter[str] = Counter()
    plain: Any = _jit._Kernel.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        counted[self.py_func.__name__] += 1
        return plain(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(_jit._Kernel, "__call__", call)
        acts = execute(task).result.acts
    return counted, acts


@compiled
def test_an_act_calls_few_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    idle, few = called(monkeypatch, 0.0)
    busy, many = called(monkeypatch, 75e6)
    assert idle.total() <= 35
    assert many > few + 20
    assert (busy - idle).total() / (many - few) <= 5
    # Where no time passes, as in reading a log that takes none, nothing runs.
    assert busy["run_bulk"] - idle["run_bulk"] <= (many - few) // 2 + 2


@pytest.mark.parametrize("link", ["gigabit", "metro"])
def test_acts_that_take_no_time_change_nothing(link: str) -> None:
    def plan(migration: Migration, pauses: int) -> None:
        def rest() -> None:
            for _ in range(pauses):
                migration.wait(0.0)

        rest()
        migration.send(migration.everything)
        for share in (0.0, 0.5, 0.7, 0.0):
            rest()
            migration.throttle(share)
            rest()
            migration.send(migration.take_dirty(), buffered=share > 0.6)
        rest()
        migration.pause()
        rest()
        migration.send(migration.take_dirty())
        rest()
        migration.resume()
        rest()

    def briskly(migration: Migration) -> None:
        plan(migration, 0)

    def with_rests(migration: Migration) -> None:
        plan(migration, 2)

    one, other = (
        migrate(
            each, "hotcold", link, memory="16MiB", seed=5, workload_args={"rate": "40MB/s"},
            vm_args={"first_write_seconds": 1e-6, "vcpus": 2},
        ).result
        for each in (briskly, with_rests)
    )  # fmt: skip
    assert one.status == "completed"
    assert other.acts > one.acts
    assert dataclasses.replace(other, acts=one.acts) == one
