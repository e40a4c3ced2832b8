"""Algorithms that cheat, break or never end; and what must add up in every migration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from helpers import Listed, small_arguments, small_trace
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim import InputError, Migration, Pages, Task, migrate, run
from migsim.codecs import scaled
from migsim.registry import names
from migsim.result import Result

PAGES = 1024  # of 4 MiB

READ_CONTENT = {"adaptive_compression", "compressed", "dedup", "delta", "xbzrle"}
"""Algorithms whose codecs know pages of 4 KiB only."""


def outcome_of(algorithm: Any, workload: Any = "uniform", **task: Any) -> Result:
    return run(Task(algorithm=algorithm, workload=workload, memory="4MiB", **task))


# ---- corrupt -----------------------------------------------------------------------------------


def leaves_out_dirty_pages(migration: Migration) -> None:
    migration.send(migration.everything)
    migration.pause()
    migration.resume()


def test_left_out_pages_are_counted() -> None:
    def writes_eleven(_vm: object, _seed: int) -> Listed:
        # Page 900 is sent after its write; 3 is written twice; 1 is only read.
        listed = [(0.02, page, True) for page in [3, 3, 900, *range(10, 20)]]
        return Listed([*listed, (0.021, 1, False)], PAGES)

    result = outcome_of(leaves_out_dirty_pages, writes_eleven)
    assert (result.status, result.corrupt_pages) == ("corrupt", 11)
    assert result.error == (
        "11 stale pages were readable at the destination "
        "(pages 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, ...): "
        "11 in the dirty log, which was not read again"
    )


def test_a_zero_page_that_was_written_is_stale_too() -> None:
    def forgets_the_log(migration: Migration) -> None:
        migration.wait(0.01)
        migration.pause()
        migration.resume()

    def writes_one(_vm: object, _seed: int) -> Listed:
        return Listed([(0.005, 1000, True)], PAGES)

    result = outcome_of(forgets_the_log, writes_one, vm_args={"zero_fraction": 1})
    assert (result.status, result.corrupt_pages) == ("corrupt", 1)
    result = outcome_of(forgets_the_log, "idle", vm_args={"zero_fraction": 1})
    assert (result.status, result.pages_sent) == ("completed", 0)


@pytest.mark.parametrize("chunk", ["4KiB", "256KiB", "1GiB"])
@pytest.mark.parametrize("link", ["gigabit", "long_distance"])
def test_no_write_is_lost_by_a_late_clearing_of_the_log(chunk: str, link: str) -> None:
    """A page that is written between the reading of the log and the clearing of its chunk."""
    result = run(
        Task(
            algorithm="precopy",
            workload="uniform",
            link=link,
            memory="64MiB",
            algorithm_args={"max_downtime": "10ms", "max_rounds": 8},
            workload_args={"rate": 20_000},
            vm_args={"dirty_log": "send", "clear_chunk": chunk},
        )
    )
    assert (result.status, result.rounds >= 3) == ("completed", True), result.error


def test_left_paused() -> None:
    def algorithm(migration: Migration) -> None:
        migration.send(migration.everything)
        migration.pause()

    result = outcome_of(algorithm, "idle")
    assert (result.status, result.corrupt_pages) == ("corrupt", 0)
    assert "paused" in result.error


def test_missing_pages_that_never_come() -> None:
    def algorithm(migration: Migration) -> None:
        migration.pause()
        migration.resume(missing=migration.everything)
        migration.push(until=migration.now + 0.005)

    result = outcome_of(algorithm)
    assert result.status == "corrupt"
    assert 0 < result.corrupt_pages < PAGES
    assert result.error.startswith(
        f"{result.corrupt_pages} pages never reached the destination (pages "
    )


def test_an_exception_does_not_hide_stale_pages() -> None:
    def algorithm(migration: Migration) -> None:
        migration.pause()
        migration.resume()
        raise KeyError("later")

    result = outcome_of(algorithm, "idle")
    assert (result.status, result.corrupt_pages) == ("corrupt", PAGES)


# ---- failed ------------------------------------------------------------------------------------


def test_an_exception_is_kept_with_its_traceback() -> None:
    def breaks_here(migration: Migration) -> None:
        migration.send(migration.everything)
        raise ZeroDivisionError("what a pity")

    result = outcome_of(breaks_here)
    assert result.status == "failed"
    assert "Traceback" in result.error
    assert "breaks_here" in result.error
    assert "ZeroDivisionError: what a pity" in result.error
    assert result.pages_sent == PAGES


def test_exit_does_not_end_the_sweep() -> None:
    def algorithm(_migration: Migration) -> None:
        raise SystemExit(3)

    assert outcome_of(algorithm).status == "failed"


def switched(migration: Migration) -> None:
    migration.pause()
    migration.resume(migration.everything)


MISUSES = {
    "send() after resume(): use push()": lambda m: (switched(m), m.send(m.everything)),
    "throttle() while the guest does not run": lambda m: (switched(m), m.throttle(0.1)),
    "pause() while the guest does not run": lambda m: (m.pause(), m.pause()),
    "resume() while the guest is not paused": lambda m: m.resume(),
    "push() before resume()": lambda m: m.push(),
    "needs demand and an until": lambda m: (switched(m), m.push(background=False)),
    "wait(-1): expected 0": lambda m: m.wait(-1),
    "wait(nan): expected 0": lambda m: m.wait(math.nan),
    "throttle(1): expected": lambda m: m.throttle(1),
    "throttle(nan): expected": lambda m: m.throttle(math.nan),
    "the guest has 1024 pages": lambda m: m.send(Pages.range(0, 2048, size=2048)),
    "from page -1: the guest": lambda m: m.send(m.everything, start=-1),
    "order with pages 0 to 1024": lambda m: (switched(m), m.push(order=[0, 1024])),
    "sets of pages of two guests": lambda m: (m.pause(), m.resume(Pages.none(7))),
    "give_up() after resume()": lambda m: (switched(m), m.give_up("too late")),
}


@pytest.mark.parametrize("message", MISUSES)
def test_misuse_is_told(message: str) -> None:
    result = outcome_of(MISUSES[message])
    assert (result.status, message in result.error) == ("failed", True), result.error


# ---- gave up -----------------------------------------------------------------------------------


def test_without_switching_over() -> None:
    result = outcome_of(lambda migration: migration.send(migration.everything))
    assert result.status == "gave_up"
    assert result.error == "the algorithm returned without switching over"
    assert result.downtime_seconds == 0


def test_by_its_own_decision() -> None:
    result = outcome_of(lambda migration: migration.give_up("not today"))
    assert (result.status, result.error) == ("gave_up", "not today")


def test_too_many_acts() -> None:
    def algorithm(migration: Migration) -> None:
        while True:
            migration.peek_dirty()

    result = outcome_of(algorithm, limit_acts=500)
    assert (result.status, result.acts) == ("gave_up", 501)
    assert "500 acts" in result.error


@pytest.mark.parametrize("where", ["source", "paused", "destination"])
def test_too_much_time(where: str) -> None:
    def algorithm(migration: Migration) -> None:
        if where != "source":
            migration.pause()
        if where == "destination":
            migration.resume(missing=migration.everything)
            migration.push(until=migration.now + 0.01)
        while True:
            migration.wait(1000)

    result = outcome_of(algorithm, "sequential", workload_args={"rate": 100}, limit_seconds=5000)
    assert result.status == ("failed" if where == "destination" else "gave_up")
    assert "5000 s" in result.error
    assert result.total_seconds == 5000


def test_a_transfer_that_never_ends() -> None:
    """A link of one byte a second reaches the limit inside one act."""
    result = outcome_of(
        "precopy", link="custom", link_args={"rate": 1, "rtt": 0}, limit_seconds=10_000
    )
    assert result.status == "gave_up"
    assert 10_000 <= result.total_seconds < 20_000


def test_waiting_for_a_look_to_change() -> None:
    def algorithm(migration: Migration) -> None:
        while migration.bandwidth == 0:
            pass

    result = outcome_of(algorithm, "idle", limit_acts=100)
    assert (result.status, "keeps looking" in result.error) == ("gave_up", True)


def test_a_broad_except_cannot_swallow_the_limit() -> None:
    def algorithm(migration: Migration) -> None:
        while True:
            try:
                migration.wait(10)
            except Exception:
                continue

    assert outcome_of(algorithm, "idle", limit_seconds=100).status == "gave_up"
    assert outcome_of(algorithm, "idle", limit_acts=100).status == "gave_up"


def test_a_limit_during_post_copy_is_a_lost_guest() -> None:
    result = outcome_of("postcopy", limit_seconds=0.03)
    assert result.status == "failed"
    assert f"lacks {result.corrupt_pages} pages" in result.error
    assert 0 < result.corrupt_pages < PAGES


def test_parameters_that_only_the_algorithm_can_judge_are_bad_input() -> None:
    with pytest.raises(InputError, match="ratio is 2"):
        outcome_of(lambda m: scaled(ratio=2.0))


def test_a_workload_that_leaves_its_pages_is_told() -> None:
    def runs_away(_vm: object, _seed: int) -> Listed:
        return Listed([(0.001, 10**10, True)], PAGES)

    with pytest.raises(InputError, match=f"access 0 is to page {10**10}"):
        outcome_of("precopy", runs_away)


def test_a_workload_whose_index_disagrees_with_its_times_is_told() -> None:
    def forgets(_vm: object, _seed: int) -> Listed:
        listed = Listed([(0.001 * k, k, True) for k in range(100)], PAGES)
        listed.index = lambda guest_time: 0
        return listed

    result = outcome_of("stop_and_copy", forgets, link_args={"rtt": "50ms"})
    assert (result.status, "accesses too many" in result.error) == ("corrupt", True)


# ---- what must add up --------------------------------------------------------------------------


@given(
    algorithm=st.sampled_from(names("algorithm")),
    workload=st.sampled_from(names("workload")),
    link=st.sampled_from(["gigabit", "10g", "metro", "transatlantic", "unlimited"]),
    vm=st.fixed_dictionaries(
        {},
        optional={
            "vcpus": st.integers(1, 5),
            "zero_fraction": st.floats(0, 1),
            "dirty_log": st.sampled_from(["sync", "send"]),
            "clear_chunk": st.sampled_from(["16KiB", "64KiB", "1MiB"]),
            "first_write_seconds": st.sampled_from([0.0, 2e-6, 1e-3]),
            "sync_seconds_per_gib": st.sampled_from([0.0, 1.0]),
            "resume_seconds": st.sampled_from([0.0, 0.5]),
            "device_state": st.sampled_from([0, 10**6]),
            "page_size": st.sampled_from(["4KiB", "16KiB"]),
        },
    ),
    overhead=st.sampled_from([0, 90]),
    seed=st.integers(-5, 5),
)
@settings(max_examples=100)
def test_bytes_and_time_are_conserved(
    tmp_path_factory: pytest.TempPathFactory,
    algorithm: str,
    workload: str,
    link: str,
    vm: dict[str, Any],
    overhead: int,
    seed: int,
) -> None:
    trace = tmp_path_factory.getbasetemp() / "invariants.mtrace"
    if not trace.exists():
        small_trace(trace)
    if vm.get("page_size") and algorithm in READ_CONTENT:
        vm = {key: value for key, value in vm.items() if key != "page_size"}
    result = migrate(
        algorithm,
        workload,
        link,
        memory="4MiB",
        seed=seed,
        workload_args=small_arguments(workload, trace),
        link_args={"overhead": overhead},
        vm_args={"clear_chunk": "64KiB", **vm},
    ).result
    assert (result.status, result.error) == ("completed", "")
    assert sum(result.sent_by_kind.values()) == result.bytes_sent
    assert all(size >= 0 for size in result.sent_by_kind.values())
    assert (result.sent_headers > 0) == (overhead > 0)
    pages = result.sent_first_copy + result.sent_resent + result.sent_faulted
    assert pages + result.sent_bitmap + result.sent_device_state == result.payload_bytes
    spent = (
        result.guest_seconds + result.throttled_seconds + result.tracking_seconds
        + result.paused_seconds + result.stalled_seconds
    )  # fmt: skip
    assert spent == pytest.approx(result.total_seconds, rel=1e-9, abs=1e-12)
    assert result.paused_seconds == result.downtime_seconds
    assert result.zero_pages <= result.pages_sent
    assert result.requests <= result.faults


def test_all_zero_on_an_unlimited_link() -> None:
    result = migrate(
        "precopy", "idle", "unlimited", memory="4MiB",
        vm_args={"resume_seconds": 0, "sync_seconds_per_gib": 0},
    ).result  # fmt: skip
    assert (result.status, result.total_seconds, result.downtime_seconds) == ("completed", 0, 0)


def test_input_errors_come_before_anything_runs(tmp_path: Path) -> None:
    def never(_migration: Migration) -> None:
        raise AssertionError

    for bad in (
        {"workload_args": {"working_set": "5MiB"}},
        {"workload_args": {"rate": "fast"}},
        {"link": "gigabyte"},
        {"vm_args": {"page_size": 5000}},
        {"seed": 2**63},
    ):
        with pytest.raises(InputError) as caught:
            outcome_of(never, **bad)
        assert "\n" not in str(caught.value)
