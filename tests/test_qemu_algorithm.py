"""QEMU's migration loop against hand-made cases; real runs are in test_validate_qemu.py."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import PAGE, Listed

from migsim import InputError, Workload, migrate
from migsim.simulate import Outcome
from migsim.timeline import Event

PAGES = 2000
RAW = 8 + PAGE


def run(writes: list[tuple[float, int]] | None = None, **arguments: Any) -> Outcome:
    """Migrate 2,000 pages over a fast link, 64 pages in a window unless told otherwise."""

    def workload(_vm: object, _seed: int) -> Workload:
        return Listed([(at, page, True) for at, page in sorted(writes or [])], PAGES)

    vm = arguments.pop("vm", {})
    outcome = migrate(
        "qemu", workload, "custom", memory=PAGES * PAGE,
        algorithm_args={"max_bandwidth": 640 * RAW, "downtime_limit": "1ms", **arguments},
        link_args={"rate": 1e9, "rtt": 0, "overhead": 8, "congestion": "none"},
        vm_args={"device_state": 0, "resume_seconds": 0, "sync_seconds_per_gib": 0, **vm},
    )  # fmt: skip
    assert outcome.result.status in {"completed", "gave_up"}, outcome.result.error
    return outcome


def acts(outcome: Outcome, act: str) -> list[Event]:
    return [event for event in outcome.timeline if event.act == act]


def test_a_tenth_of_the_limit_leaves_in_a_burst_in_each_window() -> None:
    outcome = run()
    sends = acts(outcome, "send")
    assert [event.pages for event in sends] == [64] * 31 + [16]
    assert all(event.seconds < 0.001 for event in sends)
    starts = [event.start for event in sends[:31]]
    assert starts == pytest.approx([0.1001 * k for k in range(31)])


@pytest.mark.parametrize(("version", "pages"), [(7.2, 63), (8.0, 64), (10.0, 64)])
def test_only_what_is_flushed_counts_since_8(version: float, pages: int) -> None:
    """A quota of 62.5 pages lets 63 pages start, or two writes of 32 pages."""
    outcome = run(version=version, max_bandwidth=625 * RAW)
    assert acts(outcome, "send")[0].pages == pages


def test_the_log_is_read_once_the_rest_is_below_the_threshold() -> None:
    """The threshold is a second's worth of the last window: 640 pages, less the wake-up."""
    outcome = run([(0.35, 1), (0.35, 1999)], downtime_limit="1s")
    first, last = acts(outcome, "sync")
    before = sum(event.pages for event in acts(outcome, "send") if event.end <= first.start)
    assert PAGES - 640 * 1.001 - 64 <= PAGES - 640 < before + 64
    assert first.pages == 2
    # The one page that was sent before adds to the rest, and all of it is sent while paused.
    assert (last.guest, acts(outcome, "send")[-1].pages) == ("paused", PAGES - before + 1)


def test_before_the_first_window_there_is_no_threshold() -> None:
    """All drains within 50 ms: nothing is left, so that it completes with the final reading."""
    outcome = run([(0.001, 7)], max_bandwidth="10GB/s")
    assert [event.guest for event in acts(outcome, "sync")] == ["paused"]
    assert outcome.result.pages_sent == PAGES + 1


def test_the_stop_phase_knows_no_limit() -> None:
    outcome = run([(0.01 * k, k % 500) for k in range(400)], downtime_limit="2s")
    assert outcome.result.downtime_seconds < 0.01
    assert acts(outcome, "send")[-1].pages > 500


def test_a_guest_that_dirties_too_much_is_cancelled() -> None:
    writes = [(0.0005 * k, k % 1000) for k in range(40_000)]
    result = run(writes, cancel_after="5s").result
    assert (result.status, result.error) == ("gave_up", "cancelled after 5 s")


def test_auto_converge_throttles_at_the_second_strike() -> None:
    writes = [(0.0004 * k, k % 1500) for k in range(150_000)]
    outcome = run(writes, auto_converge=True, cancel_after="60s", version=9.0)
    speeds = [event.speed for event in acts(outcome, "throttle")]
    assert speeds[:4] == pytest.approx([0.8, 0.7, 0.6, 0.5])
    syncs = [event.start for event in acts(outcome, "sync")]
    # The first reading that counts strikes once, the second acts.
    assert acts(outcome, "throttle")[0].start == syncs[1]
    assert outcome.result.status == "completed"


def test_postcopy_starts_when_told_and_sends_each_page_once() -> None:
    outcome = run([(0.52, 1), (0.53, 1500)], postcopy_after="500ms", max_postcopy_bandwidth="1GB/s")
    (pause,) = acts(outcome, "pause")
    assert 0.5 <= pause.start < 0.61
    assert outcome.result.pages_sent == PAGES
    assert run(postcopy_rounds=0).result.pages_sent == PAGES
    assert acts(run(postcopy_rounds=0), "pause")[0].start == 0.0


def test_a_demanded_page_waits_for_the_window_since_8_unless_preempted() -> None:
    late = [(0.05, 1999)]
    for arguments, least, most in (
        ({"version": 7.2, "postcopy_rounds": 0, "downtime_limit": 0}, 0, 0.001),
        ({"version": 10.0, "postcopy_rounds": 0}, 0.04, 0.06),
        ({"version": 10.0, "postcopy_rounds": 0, "postcopy_preempt": True}, 0, 0.001),
    ):
        outcome = run(late, max_postcopy_bandwidth=640 * RAW, **arguments)
        (latency,) = outcome.fault_latencies
        assert least <= latency <= most, arguments


def test_xbzrle_begins_when_the_scan_wraps_around() -> None:
    """Page 5 is written again and again: raw in pass one, a miss in pass two, then deltas."""
    writes = [(0.01 * k, 5) for k in range(1, 700)]
    outcome = run(
        writes, xbzrle=True, xbzrle_cache="1MiB", downtime_limit=0, cancel_after="6s",
    )  # fmt: skip
    assert outcome.result.cache_misses >= 1
    first_pass = [event for event in acts(outcome, "send") if event.end < 3.1]
    assert sum(event.pages for event in first_pass) == 31 * 64


def test_what_does_not_go_together_is_told() -> None:
    for other in ({"xbzrle": True}, {"postcopy_after": 0}, {"postcopy_rounds": 1}):
        with pytest.raises(InputError, match="multifd goes with neither xbzrle nor post-copy"):
            run(multifd=True, **other)
    with pytest.raises(InputError, match=r"version is 6\.0, expected 7\.2 or later"):
        run(version=6)
    with pytest.raises(InputError, match="auto_converge does not go with dirty_limit"):
        run(auto_converge=True, dirty_limit=True)


@pytest.mark.parametrize(
    "wrong", [{"max_throttle": 1}, {"throttle_initial": 0}, {"max_throttle": 0.1}]
)
def test_throttles_that_qemu_does_not_take(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"expected 0\.01 to 0\.99, and the former not above"):
        run(auto_converge=True, **wrong)
    run(**wrong)  # nothing throttles


@pytest.mark.parametrize("limit", ["unlimited", "1e30"])
def test_an_unlimited_bandwidth_is_none(limit: str) -> None:
    assert run(max_bandwidth=limit).result == run(max_bandwidth=0).result
    switched = run(max_bandwidth=0, postcopy_rounds=0).result
    assert run(max_bandwidth=0, postcopy_rounds=0, max_postcopy_bandwidth=limit).result == switched


def test_a_limit_below_a_byte_in_a_window_sends_all_the_same() -> None:
    assert run(max_bandwidth=5, version=7.2).result.total_seconds == pytest.approx(200, rel=0.01)


def test_packets_count_when_the_channels_have_written_them_together() -> None:
    """Where a link is filled, windows see whole packets of all channels: some look fast."""
    alone, four = (
        migrate(
            "qemu", "sequential", "custom", memory="256MiB",
            algorithm_args={"max_bandwidth": 0, **channels},
            workload_args={"rate": 1500, "working_set": "64MiB"},
            link_args={"rate": "25MB/s", "rtt": 0, "overhead": 0},
        ).result
        for channels in ({}, {"multifd": True, "channels": 4})
    )  # fmt: skip
    assert 0.2 < alone.downtime_seconds < 0.35
    # Two times four packets of 525,632 bytes in a window of 0.1 s let 12.6 MB fit 0.3 s.
    assert 0.4 < four.downtime_seconds < 0.65
