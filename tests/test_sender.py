"""The sending thread: blocking writes into sockets, CPU time, windows, guests that catch up."""

from __future__ import annotations

import pytest
from helpers import PAGE, machine, migration, preset
from hypothesis import given
from hypothesis import strategies as st

from migsim import InputError, Link, Pages, codecs

SLOW = Link(rate=1000 * PAGE, rtt=0, overhead=0)  # 1 ms a page, and nothing else
FAR = preset("gigabit", rtt=0.02)


def some(*pages: int, size: int = 100) -> Pages:
    return Pages.of(list(pages), size=size)


# ---- blocking writes -----------------------------------------------------------------------------


def test_without_sockets_a_blocking_write_ends_when_the_page_has_left() -> None:
    handles = [migration((), 100, SLOW) for _ in range(2)]
    first, second = (
        handle.send(handle.everything, buffered=buffered)
        for handle, buffered in zip(handles, (False, True), strict=True)
    )
    assert first.seconds == second.seconds == pytest.approx(0.1)


def test_sockets_run_ahead_of_the_link_by_what_they_hold() -> None:
    plain, ahead = (migration((), 20_000, FAR) for _ in range(2))
    plain.connect()
    ahead.connect()
    left = plain.send(plain.everything)
    taken = ahead.send(ahead.everything, buffered=True)
    assert left.bytes == taken.bytes
    # What the sockets hold and what is under way, which is in the sockets, too, until acknowledged.
    ahead_bytes = (left.seconds - taken.seconds) * FAR.goodput
    assert ahead_bytes + FAR.rtt * FAR.goodput == pytest.approx(FAR.socket, rel=0.02)
    # Whoever waits for the link then meets the same backlog.
    plain.pause()
    ahead.pause()
    plain.resume()
    ahead.resume()
    assert ahead.now == pytest.approx(plain.now, rel=1e-9)


def test_pages_are_read_when_the_sockets_take_them() -> None:
    """A page written after that is stale, though it has not left yet."""
    handle = migration([(0.03, 10, True)], 2000, FAR)
    handle.connect()
    handle.send(handle.everything, buffered=True)
    handle.wait(0.1)
    assert handle.take_dirty().indices().tolist() == [10]
    assert handle._guest.stale.indices().tolist() == [10]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_how_a_buffered_transfer_is_cut_changes_nothing(parts: list[int]) -> None:
    accesses = [(0.001 * k, (37 * k) % 2000, True) for k in range(300)]
    whole, pieces = (migration(accesses, 2000, FAR) for _ in range(2))
    for handle in (whole, pieces):
        handle.connect()
    end = min(2000, sum(parts))
    whole.send(Pages.range(0, end, size=2000), buffered=True)
    at = 0
    for part in parts:
        stop = min(2000, at + part)
        pieces.send(Pages.range(at, stop, size=2000), buffered=True)
        at = stop
    assert pieces.now == whole.now
    assert pieces._guest.stale == whole._guest.stale


def test_the_next_page_is_where_a_cyclic_scan_goes_on() -> None:
    handle = migration((), 100, SLOW)
    sent = handle.send(some(3, 50, 90), start=40)
    assert sent.next_page == 4
    sent = handle.send(some(3, 50, 90), start=40, max_bytes=1)
    assert (sent.next_page, sent.left.indices().tolist()) == (51, [3, 90])


def test_a_packet_that_is_not_full_does_not_move_the_scan() -> None:
    handle = migration((), 1000, SLOW)
    part = Pages.range(300, 400, size=1000)
    assert handle.send(part, codec=codecs.zlib(level=1, packet=128)).next_page == 400


# ---- CPU time ------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffered", [False, True])
def test_the_thread_is_the_bottleneck_where_the_link_is_faster(buffered: bool) -> None:
    handle = migration(
        (), 100, preset("unlimited"), zero_fraction=0.4, page_seconds=3e-3, zero_page_seconds=1e-3
    )
    sent = handle.send(handle.everything, buffered=buffered)
    assert sent.seconds == pytest.approx(60 * 3e-3 + 40 * 1e-3)


def test_a_fast_thread_costs_nothing_on_a_slow_link() -> None:
    handle = migration((), 100, SLOW, page_seconds=0.2e-3)
    assert handle.send(handle.everything).seconds == pytest.approx(0.1, abs=0.3e-3)


# ---- the machine ---------------------------------------------------------------------------------


def test_zero_pages_lie_where_they_are_put() -> None:
    handle = migration((), 100, SLOW, zero_fraction=0.3, zero_offset=20 * PAGE)
    zero = handle.everything - handle._guest.nonzero
    assert zero.indices().tolist() == list(range(20, 50))
    with pytest.raises(InputError, match=r"zero_offset is .*, expected at most"):
        machine(100, zero_fraction=0.3, zero_offset=80 * PAGE)


def test_throttling_takes_idle_time_first() -> None:
    busy, paced = machine(1), machine(1, load=0.25, catch_up=0.25)
    assert [busy.speed(share) for share in (0, 0.2, 0.9)] == pytest.approx([1, 0.8, 0.1])
    assert [paced.speed(share) for share in (0, 0.5, 0.75)] == [1, 1, 1]
    assert paced.speed(0.9) == pytest.approx(0.4)
    # 990 of 1,000 ms asleep: what was missed for longer than a quarter of a second is dropped.
    assert paced.speed(0.99) == pytest.approx(0.01)


def test_a_log_that_needs_the_vcpus_waits_for_those_that_sleep() -> None:
    """At 90 % they sleep for 90 of 100 ms: 40.5 ms on average until the next one runs."""
    waits = [machine(1, log_needs_vcpus=needs).sync_wait(0.9) for needs in (False, True)]
    assert waits == pytest.approx([0, 0.09**2 / 2 / 0.1])
    handle = migration((), 100, SLOW, log_needs_vcpus=True)
    handle.throttle(0.9)
    handle.take_dirty()
    assert handle.now == pytest.approx(0.0405)


# ---- the rate limit of a push --------------------------------------------------------------------


def pushing(*accesses: tuple[float, int], **options: object) -> tuple[float, list[float], int]:
    """Push 100 pages, ten in a window of 100 ms; return seconds, latencies in ms, faults."""
    vm = {"fault_seconds": 0.0, "catch_up": options.pop("catch_up", 0.0)}
    handle = migration([(at, page, True) for at, page in accesses], 100, SLOW, **vm)
    handle.pause()
    handle.resume(missing=handle.everything)
    handle.push(prepaging="none", window_bytes=10 * (PAGE + SLOW.message_header), **options)  # type: ignore[arg-type]
    ledger = handle.close()
    return handle.now, [round(1e3 * x, 1) for x in ledger.latencies.tolist()], ledger.faults


def test_a_window_ends_before_the_next_begins() -> None:
    seconds, _, _ = pushing()
    assert seconds == pytest.approx(9 * 0.1 + 10e-3)


def test_a_demanded_page_wakes_the_sender_or_waits_for_the_window() -> None:
    """At 50 ms the sender sleeps until 100 ms."""
    for options, latency in (
        ({"preempt": True}, 1.0),
        ({"preempt": False}, 1.0),
        ({"preempt": False, "demand_limited": True}, 51.0),
        ({"preempt": True, "demand_limited": True}, 1.0),
    ):
        _, latencies, _ = pushing((0.05, 99), **options)
        assert latencies == [latency], options


def test_demanded_pages_do_not_wake_the_push() -> None:
    """Two requests while the sender sleeps: two pages, and no more of the background."""
    seconds, latencies, _ = pushing((0.03, 98), (0.05, 99), preempt=False)
    assert latencies == [1.0, 1.0]
    assert seconds == pytest.approx(9 * 0.1 + 8e-3)


def test_a_window_holds_a_byte_or_more() -> None:
    handle = migration((), 100, SLOW)
    handle.pause()
    handle.resume(missing=handle.everything)
    with pytest.raises(ValueError, match=r"window_bytes=0\): expected 1 or more"):
        handle.push(window_bytes=0)


def test_a_paced_guest_catches_up_after_a_fault() -> None:
    """What was to be written while page 99 was awaited follows at once, and faults at once."""
    accesses = [(0.05, 99), (0.06, 98), (0.09, 97)]
    _, latencies, _ = pushing(*accesses, preempt=False, demand_limited=True)
    # The others come 10 and 30 ms after the fault before was served, at 111 and 231 ms.
    assert latencies == [51.0, 90.0, 70.0]
    _, latencies, _ = pushing(*accesses, preempt=False, demand_limited=True, catch_up=0.25)
    assert latencies == [51.0, 2.0, 2.0]  # behind the page that was chosen meanwhile
