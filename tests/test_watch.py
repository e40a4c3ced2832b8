"""Whoever looks at a migration changes nothing, and sees what is there."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import row_text, small_arguments, small_trace
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim import Task
from migsim.registry import names
from migsim.simulate import Outcome, execute
from migsim.watch import Watch

LINKS: dict[str, dict[str, Any]] = {
    "plain": {"rate": "50MB/s"},
    "lossy": {"rate": "50MB/s", "loss": 0.01, "queue": "64KiB", "rtt": "2ms"},
    "timed": {"rate": "20MB/s", "outages": "10ms+5ms,0.1s+0.1s"},
    "cut": {"rate": "20MB/s", "outages": "30ms+1000s"},
}
MACHINES: dict[str, dict[str, Any]] = {
    "plain": {},
    "costly": {"vcpus": 3, "first_write_seconds": 1e-4, "dirty_log": "send", "zero_fraction": 0.1,
               "clear_chunk": 64 * 4096},
    "bytes": {"memory_model": "bytes"},
}  # fmt: skip


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_trace(tmp_path_factory.mktemp("traces") / "small.mtrace")


def task(algorithm: str, workload: str, trace: Path, link: str = "plain", vm: str = "plain") -> Any:
    return Task(
        algorithm=algorithm, workload=workload, memory="4MiB", seed=3,
        workload_args=small_arguments(workload, trace), link_args=LINKS[link],
        vm_args=MACHINES[vm], limit_seconds=60.0,
    ).resolve()  # fmt: skip


def story(outcome: Outcome) -> tuple[Any, ...]:
    return (
        row_text(outcome),
        outcome.timeline.events,
        outcome.fault_latencies.tolist(),
        outcome.corrupt_pages.indices().tolist(),
    )


def check_nothing_changes(chosen: Any, count: int) -> Watch:
    alone = execute(chosen)
    watch = Watch(np.linspace(0.0, alone.result.total_seconds, count))
    assert story(execute(chosen, watch)) == story(alone)
    check_sense(watch, alone)
    return watch


def check_sense(watch: Watch, outcome: Outcome) -> None:
    seconds = [sample.seconds for sample in watch.samples]
    assert seconds == sorted(seconds)
    assert math.isinf(watch.next) or outcome.result.status != "completed"
    for field in ("first", "resent", "demanded", "zeros", "carried"):
        values = [getattr(sample, field) for sample in watch.samples]
        assert values == sorted(values), field
    guest = [sample.guest_seconds for sample in watch.samples]
    assert all(b - a >= -1e-9 for a, b in itertools.pairwise(guest))


@pytest.mark.parametrize("vm", sorted(MACHINES))
@pytest.mark.parametrize("algorithm", names("algorithm"))
def test_a_watched_migration_is_the_same_to_the_bit(algorithm: str, vm: str, trace: Path) -> None:
    watch = check_nothing_changes(task(algorithm, "hotcold", trace, vm=vm), 97)
    assert len(watch.samples) > 90


@pytest.mark.parametrize("workload", names("workload"))
@pytest.mark.parametrize("algorithm", ["qemu", "hybrid", "xen"])
def test_it_is_the_same_with_every_workload(algorithm: str, workload: str, trace: Path) -> None:
    check_nothing_changes(task(algorithm, workload, trace), 31)


@pytest.mark.parametrize("link", sorted(LINKS))
@pytest.mark.parametrize("algorithm", names("algorithm"))
def test_it_is_the_same_over_every_link(algorithm: str, link: str, trace: Path) -> None:
    check_nothing_changes(task(algorithm, "uniform", trace, link=link), 41)


@settings(max_examples=30)
@given(
    st.sampled_from(names("algorithm")),
    st.lists(st.floats(0.0, 0.3), max_size=12),
    st.sampled_from(sorted(MACHINES)),
)
def test_any_instants_will_do(trace: Path, algorithm: str, instants: list[float], vm: str) -> None:
    chosen = task(algorithm, "zipf", trace, vm=vm)
    assert story(execute(chosen, Watch(instants))) == story(execute(chosen))


def test_what_is_seen_is_what_happened(trace: Path) -> None:
    chosen = task("precopy", "uniform", trace)
    outcome = execute(chosen)
    watch = Watch(np.linspace(0.0, outcome.result.total_seconds, 50))
    execute(chosen, watch)
    last = watch.samples[-1]
    result = outcome.result
    assert last.behind == 0
    assert last.first + last.resent == result.pages_sent
    assert last.first == chosen.vm.pages
    assert last.carried == result.payload_bytes + 8 * result.pages_sent
    syncs = [event for event in outcome.timeline if event.act == "sync"]
    for sync in syncs:
        after = next(s for s in watch.samples if s.seconds >= sync.end)
        before = [s for s in watch.samples if s.seconds <= sync.start][-1]
        assert after.logged == 0
        assert before.logged <= sync.pages
    assert syncs[0].pages > 100


def test_the_dirty_log_grows_as_theory_says() -> None:
    """Random writes at a rate to a working set of W pages dirty W(1 - exp(-n / W)) of them."""
    chosen = Task(
        algorithm="precopy", workload="uniform", memory="64MiB",
        workload_args={"rate": "100MB/s", "working_set": "32MiB"},
    ).resolve()  # fmt: skip
    watch = Watch(np.linspace(0.01, 0.4, 40))
    execute(chosen, watch)
    size, rate = 8192, 100e6 / 4096
    for sample in [s for s in watch.samples if 0.01 < s.seconds < 0.4]:
        expected = size * (1 - math.exp(-rate * sample.seconds / size))
        assert sample.logged == pytest.approx(expected, rel=0.05)
