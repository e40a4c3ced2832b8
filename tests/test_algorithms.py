"""The contract of algorithms, for every one that the registry finds; and literal runs of each."""

from __future__ import annotations

import functools
import inspect
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers import PAGE, Listed, row_text, small_arguments, small_trace

from migsim import InputError, Workload, migrate
from migsim.registry import find, names
from migsim.result import Result
from migsim.simulate import Outcome

ALGORITHMS = names("algorithm")
WORKLOADS = names("workload")
LINKS = ["gigabit", "long_distance"]
CHANNELS = 2  # so that `multifd` and the bound have equally many
WHOLE = ["total_seconds", "bytes_sent"]
SEEDS = [0, 1]

each = pytest.mark.parametrize("algorithm", ALGORITHMS)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_trace(tmp_path_factory.mktemp("traces") / "small.mtrace")


@functools.cache
def small_run(algorithm: str, workload: str, link: str, seed: int, trace: Path) -> Outcome:
    return migrate(
        algorithm,
        workload,
        link,
        memory="16MiB",
        seed=seed,
        workload_args=small_arguments(workload, trace),
        link_args={"streams": CHANNELS},
        vm_args={"vcpus": 2},
    )


def every_run(algorithm: str, trace: Path) -> list[tuple[str, Result, Result]]:
    """Return a name, the result and that of the bound, for each guest and link."""
    found = []
    for workload in WORKLOADS:
        for link in LINKS:
            for seed in SEEDS:
                best = small_run("clairvoyant", workload, link, seed, trace).result
                result = small_run(algorithm, workload, link, seed, trace).result
                found.append((f"{workload}, {link}, seed {seed}", result, best))
    return found


# ---- the contract -----------------------------------------------------------------------------


@each
def test_completes_on_every_workload(algorithm: str, trace: Path) -> None:
    for name, result, _ in every_run(algorithm, trace):
        assert (result.status, result.error, result.corrupt_pages) == ("completed", "", 0), name
        assert result.pages_sent >= 4096, name
        assert sum(result.sent_by_kind.values()) == result.bytes_sent, name
        outside = result.sent_by_kind["headers"] + result.sent_by_kind["requests"]
        assert result.payload_bytes == result.bytes_sent - outside, name
        assert 0 < result.downtime_seconds <= result.total_seconds, name


@each
def test_never_better_than_the_bound(algorithm: str, trace: Path) -> None:
    for name, result, best in every_run(algorithm, trace):
        # The bound sends whole pages; what encodes them can have less of anything but downtime.
        encodes = result.cpu_seconds > 0
        figures = ["downtime_seconds"] if encodes else [*WHOLE, "downtime_seconds"]
        for figure in figures:
            assert getattr(result, figure) >= getattr(best, figure) * (1 - 1e-9), (name, figure)


@each
def test_the_same_to_the_byte(algorithm: str, trace: Path) -> None:
    for workload in ("mix", "trace"):
        first = small_run(algorithm, workload, "gigabit", 1, trace)
        again = small_run.__wrapped__(algorithm, workload, "gigabit", 1, trace)
        assert row_text(first) == row_text(again)


@each
def test_follows_the_time_line(algorithm: str, trace: Path) -> None:
    outcome = small_run(algorithm, "uniform", "gigabit", 0, trace)
    events = list(outcome.timeline)
    assert all(event.start <= event.end for event in events)
    assert all(one.end == other.start for one, other in pairwise(events))
    assert [event.act for event in events].count("pause") == 1
    assert sum(event.pages for event in events if event.act in {"send", "push"}) == (
        outcome.result.pages_sent
    )
    assert sum(event.faults for event in events) == outcome.result.faults


@each
def test_documented_and_typed(algorithm: str) -> None:
    plugin = find("algorithm", algorithm)
    assert len(plugin.summary) > 20
    if algorithm != "clairvoyant":  # the bound is ours
        assert re.search(r"\b(19|20)\d\d\b", plugin.call.__doc__ or ""), "no citation"
    first, *others = inspect.signature(plugin.call).parameters.values()
    assert first.name == "migration"
    for parameter in others:
        assert parameter.kind is parameter.KEYWORD_ONLY, parameter
        assert parameter.default is not parameter.empty, parameter
        assert parameter.annotation is not parameter.empty, parameter


# ---- literal runs: a guest of 100 pages, a link that takes 1 ms a page and nothing else ----------


def run(algorithm: str, writes: list[tuple[float, int]], **arguments: Any) -> Outcome:
    """Migrate a guest that writes the given (millisecond, page)."""
    vm = arguments.pop("vm", {})

    def workload(_vm: object, _seed: int) -> Workload:
        return Listed([(time / 1000, page, True) for time, page in writes], 100)

    outcome = migrate(
        algorithm,
        workload,
        "custom",
        memory=100 * PAGE,
        algorithm_args=arguments,
        link_args={"rate": 1000 * PAGE, "rtt": 0, "overhead": 0},
        vm_args={
            "device_state": 0, "resume_seconds": 0, "sync_seconds_per_gib": 0,
            "fault_seconds": 0, **vm,
        },
    )  # fmt: skip
    assert outcome.result.status == "completed", outcome.result.error
    return outcome


def figures(outcome: Outcome) -> tuple[int, int, int, float, float]:
    """Return rounds, pages sent, faults, and total time and downtime in milliseconds."""
    result = outcome.result
    milliseconds = (result.total_seconds * 1000, result.downtime_seconds * 1000)
    return result.rounds, result.pages_sent, result.faults, *(round(x, 6) for x in milliseconds)


# Three pages behind the copy, one before it; then one of them again.
WRITES = [(50.5, 5), (50.5, 6), (50.5, 7), (50.6, 80), (100.5, 5)]


def test_stop_and_copy() -> None:
    assert figures(run("stop_and_copy", WRITES)) == (0, 100, 0, 100.0, 100.0)


def test_precopy() -> None:
    # Round 2 sends 5, 6, 7, 80 (in the log, though sent after its write); the rest is page 5.
    assert figures(run("precopy", WRITES, max_downtime="2ms")) == (2, 105, 0, 105.0, 1.0)
    # The four fit a downtime of 4 ms at once, and page 5 is not written any more.
    assert figures(run("precopy", WRITES, max_downtime="4ms")) == (1, 104, 0, 104.0, 4.0)
    # A log that is cleared when the page is sent does not know the write before.
    late = {"dirty_log": "send", "clear_chunk": PAGE}
    assert figures(run("precopy", WRITES, max_downtime="2ms", vm=late)) == (2, 104, 0, 104.0, 1.0)


def test_precopy_that_does_not_converge() -> None:
    writes = [(k * 0.5 + 0.25, k % 50) for k in range(2000)]
    # 50 pages are written in 25 ms, so each later round and the rest have all of them.
    outcome = run("precopy", writes, max_downtime="1ms", max_rounds=4)
    assert figures(outcome) == (4, 100 + 4 * 50, 0, 300.0, 50.0)


def test_postcopy() -> None:
    outcome = run("postcopy", [(10.5, 50), (10.6, 51), (60.7, 99)], prepaging="none")
    # Page 50 waits for the page on the link: 0.5 + 1 ms; 51 at 12.1 likewise: 0.9 + 1 ms; then at
    # 60.7 + 3.4 ms the push has come to page 62, and page 99 goes next: 0.9 or 0.6 + 1 ms.
    assert figures(outcome) == (0, 100, 3, 100.0, 0.0)
    assert (outcome.fault_latencies * 1000).round(6).tolist() == [1.5, 1.9, 1.9]
    assert outcome.result.stalled_seconds == pytest.approx(0.0053)


@pytest.mark.parametrize(
    ("prepaging", "faults"), [("none", 5), ("forward", 3), ("bubble", 2), ("multi", 2)]
)
def test_postcopy_prepaging(prepaging: str, faults: int) -> None:
    # 50 and 90 always fault; 51 and 52 are behind 50, and 49 before it.
    writes = [(10.5, 50), (14.6, 49), (20.5, 51), (20.6, 52), (20.7, 90)]
    outcome = run("postcopy", writes, prepaging=prepaging)
    assert outcome.result.faults == faults
    assert outcome.result.pages_sent == 100


def test_hybrid() -> None:
    outcome = run("hybrid", [*WRITES[:4], (101.5, 80), (101.6, 6)], max_downtime="1ms")
    # 4 pages are missing; 80 is demanded at 101.5 and 6 comes by itself in [101, 102).
    rounds, sent, faults, total, downtime = figures(outcome)
    assert (rounds, sent, faults) == (1, 104, 1)
    bitmap = 13 / PAGE  # 100 bits, in milliseconds of the link
    assert (total, downtime) == (round(104 + bitmap, 6), round(bitmap, 6))
    assert outcome.result.sent_bitmap == 13
    # Where pre-copy fits the downtime, it ends as pre-copy does.
    assert figures(run("hybrid", WRITES, max_downtime="4ms")) == (1, 104, 0, 104.0, 4.0)


def test_delta() -> None:
    """The three pages behind the copy go as 64 written bytes each; the one before is unchanged."""
    result = run("delta", WRITES, max_downtime="1us").result
    assert (result.rounds, result.pages_sent, result.cache_misses) == (2, 103, 100)
    assert (result.encoded_pages, result.unchanged_pages) == (3, 1)
    assert result.sent_first_copy == 100 * PAGE
    assert 3 * 40 < result.sent_resent < 3 * 90
    # A cache of four pages holds 96 to 99 after the first round.
    few = run("delta", WRITES, max_downtime="1us", cache=4 * PAGE).result
    assert (few.cache_misses, few.encoded_pages) == (104, 1)


def test_xbzrle() -> None:
    """Deltas come from the third round on: only the second fills the cache."""
    writes = [*WRITES, (103.5, 5), (104.5, 5)]
    result = run("xbzrle", writes, max_downtime="1us").result
    assert (result.rounds, result.pages_sent, result.cache_misses) == (3, 105, 4)
    assert result.encoded_pages == 1
    assert 4 * PAGE < result.sent_resent < 4 * PAGE + 150  # written twice: two records of 64 bytes


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [("compressed", {}), ("adaptive_compression", {}), ("multifd", {"compression": "zstd"})],
)
def test_compression_halves_a_guest_of_all_classes(
    algorithm: str, arguments: dict[str, Any]
) -> None:
    outcome = run(algorithm, WRITES, **arguments)
    plain = run("precopy", WRITES)
    assert 0.35 < outcome.result.payload_bytes / plain.result.payload_bytes < 0.65
    assert outcome.result.cpu_seconds > 0


def test_multifd_opens_its_channels() -> None:
    assert figures(run("multifd", WRITES)) == figures(run("precopy", WRITES))
    link = {"rate": "1Gbit/s", "rtt": "100ms", "loss": 1e-3}
    one, eight = (
        migrate("multifd", "idle", "custom", memory="64MiB", link_args=link,
                algorithm_args={"channels": channels}).result
        for channels in (1, 8)
    )  # fmt: skip
    assert eight.total_seconds < one.total_seconds / 3
    with pytest.raises(InputError, match=r"open_channels\(0\)"):
        run("multifd", WRITES, channels=0)


def test_dedup() -> None:
    result = migrate("dedup", "idle", memory="16MiB").result
    # A tenth of the pages are copies, and one of each group has to go as it is.
    assert 0.06 < result.encoded_pages / 4096 < 0.10
    whole = migrate("precopy", "idle", memory="16MiB").result
    saved = whole.payload_bytes - result.payload_bytes
    assert saved == result.encoded_pages * (PAGE - 11)


@pytest.mark.parametrize("quick", [False, True])
def test_vmotion(quick: bool) -> None:
    writes = [(k * 0.5 + 0.25, k % 50) for k in range(2000)]
    outcome = run(
        "vmotion", writes, switchover="1ms", max_rounds=3, progress=0.5, quick_resume=quick
    )
    # 50 of 100 dirty is just progress; 50 of 50 is not: the dirty rate was 50 pages in 50 ms,
    # half of the sending rate is wanted.
    shares = [event.speed for event in outcome.timeline if event.act == "throttle"]
    assert shares == pytest.approx([0.5, 0.25])
    assert figures(outcome)[:2] == (3, 250)
    assert outcome.result.sent_bitmap == (13 if quick else 0)
    assert outcome.result.downtime_seconds == pytest.approx(50e-3 if not quick else 13 / 4.096e6)


SLOW = {"start_rate": 100 * PAGE, "rate_step": 50 * PAGE, "max_rate": 500 * PAGE, "least": PAGE}


def test_xen() -> None:
    """Ten pages are written at the start: they are passed over and go later."""
    early = [(0.5 + k / 100, k) for k in range(10)]
    outcome = run("xen", [*early, (995.0, 50)], batch=1, **SLOW)
    sends = [event for event in outcome.timeline if event.act == "send"]
    assert [event.pages for event in sends] == [90, 10, 1, 0]
    assert [event.seconds for event in sends] == pytest.approx([0.90, 0.1, 0.01, 0])
    # When all pages are one batch, none was dirty as the log was looked at.
    assert run("xen", early, **SLOW).result.pages_sent == 110


def test_xen_raises_its_rate() -> None:
    """Each round at what the one before was dirtied at and 50, until that exceeds 500."""
    writes = [(k * 2 + 1.0, 2 * k % 100) for k in range(9000)]  # 500 writes a second to 50 pages
    outcome = run("xen", writes, max_factor=100, **SLOW)
    sends = [event for event in outcome.timeline if event.act == "send" and event.guest == "source"]
    rates = [event.pages / event.seconds for event in sends]
    dirtied = [event.pages for event in outcome.timeline if event.act == "sync"]
    for k in range(len(sends) - 1):
        wanted = dirtied[k] / sends[k].seconds + 50
        assert rates[k + 1] == pytest.approx(max(100, min(500, wanted)), rel=1e-6)
    assert dirtied[len(sends) - 1] / sends[-1].seconds + 50 > 500
    # The tools' rate stays at 500, and rounds end when one has sent more than the one before.
    tools = run("xen", writes, max_factor=100, rules="source", **SLOW)
    counts = [event.pages for event in tools.timeline if event.act == "send"]
    assert tools.result.rounds > outcome.result.rounds
    assert counts[-2] > counts[-3] or tools.result.rounds == 29


def test_xen_that_starts_at_its_greatest_rate() -> None:
    """The tools pretend to have sent all pages before the first round, which so ends nothing."""
    fast = {**SLOW, "start_rate": SLOW["max_rate"], "rules": "source"}
    writes = [(k * 2 + 1.0, k % 60) for k in range(9000)]
    assert run("xen", writes, **fast).result.rounds > 1


def test_xen_without_rounds_stops_and_copies() -> None:
    assert figures(run("xen", [], max_rounds=0)) == figures(run("stop_and_copy", []))
    for wrong in ({"batch": 0}, {"start_rate": 0}, {"max_rate": 0}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} is 0, expected more than 0"):
            run("xen", [], **wrong)


def test_xen_as_shipped() -> None:
    """Without a rate limit: 29 rounds, or fewer than 50 pages in one, or thrice the memory."""
    writes = [(k * 0.5 + 0.25, k % 60) for k in range(20000)]
    counted = run("xen", writes, rules="shipped", max_factor=100).result
    assert counted.rounds == 29
    assert run("xen", writes, rules="shipped", max_rounds=5).result.rounds == 5
    assert run("xen", WRITES, rules="shipped").result.rounds == 2
    thrice = run("xen", writes, rules="shipped").result
    assert 300 < thrice.pages_sent < 300 + 2 * 60


def test_balloons() -> None:
    """Of 40 free pages, 30 are left out; one that is written later has to be sent."""
    vm = {"zero_fraction": 0.4}
    result = run("xen", [(1.5, 70)], balloon=0.75, vm=vm).result
    assert (result.pages_sent, result.zero_pages) == (71, 10)
    outcome = run("xen_postcopy", [(12.5, 59), (70.5, 99)], balloon=0.75, unpageable=0.1, vm=vm)
    # The kernel's ten pages go with the guest paused; page 99 is there, page 59 faults.
    assert figures(outcome)[:3] == (0, 70, 1)
    assert outcome.result.downtime_seconds == pytest.approx(10e-3, abs=1e-4)


def test_cloud_hypervisor() -> None:
    assert figures(run("cloud_hypervisor", WRITES, downtime="2ms")) == (2, 105, 0, 105.0, 1.0)
    assert figures(run("cloud_hypervisor", WRITES, downtime="4ms")) == (1, 104, 0, 104.0, 4.0)
    writes = [(k * 0.5 + 0.25, k % 50) for k in range(2000)]
    late = {"downtime": "1ms", "timeout": "220ms"}
    outcome = run("cloud_hypervisor", writes, on_timeout="ignore", **late)
    # The iteration that would start at 250 ms does not.
    assert figures(outcome) == (4, 300, 0, 300.0, 50.0)
    with pytest.raises(AssertionError, match="did not converge within"):
        run("cloud_hypervisor", writes, **late)
    with pytest.raises(InputError, match="connections is 129, expected 1 to 128"):
        run("cloud_hypervisor", writes, connections=129)


def test_clairvoyant() -> None:
    outcome = run("clairvoyant", [*WRITES, (101, 5)])
    assert figures(outcome) == (1, 100, 0, 100.0, 0.0)
    # The pages that will be written wait: all others go first.
    writes = [(k * 0.5 + 0.25, k % 50) for k in range(2000)]
    assert figures(run("clairvoyant", writes))[:2] == (1, 100)


# ---- conservation of pages ---------------------------------------------------------------------


def test_postcopy_sends_each_page_once(trace: Path) -> None:
    for name, result, _ in every_run("postcopy", trace):
        assert result.pages_sent == 4096, name


@pytest.mark.parametrize("algorithm", ["precopy", "delta", "hybrid", "vmotion"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_precopy_sends_all_and_what_was_dirty(algorithm: str, workload: str, trace: Path) -> None:
    outcome = small_run(algorithm, workload, "gigabit", 0, trace)
    events = list(outcome.timeline)
    # The last two readings of the log are sent as one set, which the last act holds.
    last = max(k for k, event in enumerate(events) if event.act in {"send", "push"})
    rounds = [event.pages for event in events if event.act == "sync"][:-2]
    assert outcome.result.pages_sent == 4096 + sum(rounds) + events[last].pages
