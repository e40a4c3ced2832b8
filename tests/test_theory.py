"""The engine against closed forms; `test_published` has figures that others have measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import Listed, machine, migration, preset

from migsim import Link, Migration, Pages, Workload, codecs, migrate
from migsim.meter import BandwidthMeter
from migsim.network import Flow
from migsim.simulate import Outcome

MEBI = 2**20
BARE = {"rtt": 0, "overhead": 0}
PLAIN = {"device_state": 0, "resume_seconds": 0, "sync_seconds_per_gib": 0}


def rounds_of(outcome: Outcome) -> list[tuple[int, float]]:
    """Return pages and seconds of each pre-copy round."""
    sends = [event for event in outcome.timeline if event.act == "send" and event.guest == "source"]
    return [(event.pages, event.seconds) for event in sends]


def precopy(workload: str, link_rate: str, **workload_args: Any) -> Outcome:
    return migrate(
        "precopy",
        workload,
        "custom",
        memory="256MiB",
        algorithm_args={"max_downtime": 0, "max_rounds": 8},
        workload_args={"working_set": "100%", **workload_args},
        link_args={**BARE, "rate": link_rate},
        vm_args=PLAIN,
    )


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_precopy_of_a_linear_writer_is_a_geometric_series(ratio: float) -> None:
    """Each round sends what the one before let be written: N, N r, N r^2, ... (r = D / R)."""
    bandwidth = 4096 * 10_000
    outcome = precopy("sequential", f"{bandwidth}B/s", rate=ratio * 10_000)
    pages, seconds = 65_536.0, 6.5536
    for sent, took in rounds_of(outcome):
        # Whole pages only, and the rounding of one round is sent on to the next.
        assert sent == pytest.approx(pages, abs=1 / (1 - ratio))
        assert took == pytest.approx(seconds, abs=1e-4 / (1 - ratio))
        pages, seconds = pages * ratio, seconds * ratio
    assert outcome.result.rounds >= min(8, math.log(65_536) / -math.log(ratio) - 1)


def test_precopy_of_a_uniform_writer() -> None:
    """n' = W (1 - exp(-D T / W)) with T = n / R, down to the fixed point."""
    outcome = precopy("uniform", "400MiB/s", rate=80_000)
    expected, bandwidth = 65_536.0, 400 * MEBI / 4096
    found = rounds_of(outcome)
    assert len(found) == 8
    for sent, took in found:
        assert sent == pytest.approx(expected, rel=0.02)
        assert took == pytest.approx(sent / bandwidth, rel=1e-9)
        expected = 65_536 * (1 - math.exp(-80_000 * took / 65_536))


def test_goodput() -> None:
    assert preset("gigabit").goodput == pytest.approx(125e6 * 1448 / 1538)
    assert Link(rate=1e9, rtt=0.0, mtu=9000).goodput == pytest.approx(1e9 * 8948 / 9038)
    assert Link(rate=1e9, rtt=0.0, overhead=0).goodput == 1e9
    result = migrate("stop_and_copy", "idle", memory="64MiB").result
    stream = 16_384 * 4104 + 256 * 1024
    assert result.bytes_sent == stream + math.ceil(stream / 1448) * 90


# ---- slow start ---------------------------------------------------------------------------------

FIRST = 10 * 1448


def left_at(size: int, flow: Flow, now: float = 0.0) -> float:
    """Return when ``size`` bytes have left, the flow staying as it is."""
    return flow.copy().transmit(now, size)


def test_slow_start_doubles_each_round_trip() -> None:
    link = preset("long_distance")
    flow = Flow(link, 0.0)
    byte = 1 / link.goodput
    for k in range(6):
        before = FIRST * (2**k - 1)
        # Round trip 1 is the handshake; window k goes in round trip k + 2.
        assert left_at(before + FIRST * 2**k, flow) == pytest.approx(
            0.1 * (k + 1) + FIRST * 2**k * byte
        )
        assert left_at(before + 1, flow) == pytest.approx(0.1 * (k + 1) + byte)


def test_slow_start_ends_at_the_rate_of_the_link() -> None:
    link = preset("long_distance", send_buffer=2**26, receive_buffer=2**26, queue="64MiB")
    flow = Flow(link, 0.0)
    product = link.goodput * link.rtt
    full = next(k for k in range(30) if FIRST * 2**k >= product)
    begins = FIRST * (2**full - 1)
    for size in (1, 10**7, 10**9):
        expected = 0.1 * (full + 1) + size / link.goodput
        assert left_at(begins + size, flow) == pytest.approx(expected, rel=1e-12)


def test_a_short_path_has_no_slow_start_to_speak_of() -> None:
    link = preset("gigabit")
    ideal = link.rtt + 10**7 / link.goodput
    assert ideal <= left_at(10**7, Flow(link, 0.0)) <= ideal + 2 * link.rtt
    # A router's queue overflows once; what lies behind the hole waits for a full queue.
    router = preset("gigabit", queue="256KiB")
    hole = link.rtt + router.queue_bytes / link.rate
    assert ideal + hole / 2 <= left_at(10**7, Flow(router, 0.0)) <= ideal + 2 * link.rtt + 2 * hole
    plain = preset("gigabit", congestion="none")
    assert left_at(10**7, Flow(plain, 0.0)) == pytest.approx(ideal, rel=1e-12)


@pytest.mark.parametrize(("idle", "halvings"), [(0.2, 0), (0.31, 1), (0.61, 2), (60.0, 30)])
def test_idle_restart(idle: float, halvings: int) -> None:
    """A window that the buffers limit halves per time-out of rtt + 200 ms (RFC 2861)."""
    link = preset("long_distance", send_buffer=10**6, send_share=1.0, send_refill=0)
    flow = Flow(link, 0.0)
    ended = flow.transmit(0.0, 10**8)
    grown = next(FIRST * 2**k for k in range(30) if FIRST * 2**k >= 10**6)
    window = max(grown / 2**halvings, FIRST)
    start = ended + idle
    if window >= 10**6:  # paced by acknowledgements of the same window
        assert left_at(10**6, flow, start) == pytest.approx(start + link.rtt)
        return
    assert left_at(int(window), flow, start) == pytest.approx(start + window / link.goodput)
    second = left_at(int(window) + 2, flow, start)
    assert second == pytest.approx(start + link.rtt, abs=1e-6)


def test_a_short_wait_gains_nothing() -> None:
    """Acknowledgements take their round trip, however the sender cuts its work."""
    link = preset("long_distance")
    one, many = Flow(link, 0.0), Flow(link, 0.0)
    whole = one.transmit(0.0, 100 * FIRST)
    now = 0.0
    for _ in range(1000):
        now = many.transmit(now, FIRST // 10) + 1e-9
    assert whole <= now <= whole + 1e-5
    assert one.carried == many.carried


def test_a_wait_lets_acknowledgements_come() -> None:
    """After half a window and a long enough wait the window has grown by that half."""
    link = preset("long_distance")
    flow = Flow(link, 0.0)
    flow.transmit(0.0, FIRST // 2)
    start = 0.25
    assert left_at(FIRST + FIRST // 2, flow, start) == pytest.approx(
        start + 1.5 * FIRST / link.goodput
    )
    assert left_at(FIRST + FIRST // 2 + 1, flow, start) == pytest.approx(start + 0.1, abs=1e-6)


# ---- post-copy ----------------------------------------------------------------------------------


def missing_everything(
    link: Link, accesses: list[tuple[float, int, bool]], pages: int = 64, **vm: Any
) -> Migration:
    handle = migration(accesses, pages, link, **vm)
    handle.pause()
    handle.resume(handle.everything)
    return handle


@pytest.mark.parametrize("name", ["gigabit", "10g", "long_distance"])
def test_latency_of_a_fault_on_an_idle_link(name: str) -> None:
    link = preset(name)
    # Slow start is in the way of none: a page is three segments, and the window is ten or more.
    accesses = [(0.5 * k, k, k % 2 == 0) for k in range(1, 6)]
    handle = missing_everything(link, accesses, fault_seconds=20e-6)
    handle.push(background=False, until=handle.now + 4.0)
    expected = link.rtt + (16 + 90) / link.rate + (4096 + 8) / link.goodput + 20e-6
    latencies = handle.close().latencies
    assert latencies == pytest.approx([expected] * 5, rel=1e-9)


def test_a_fault_behind_the_background_push() -> None:
    """It waits for the page on the link; with a send buffer, also for all that lies in it."""
    link = preset("gigabit", send_buffer=40 * 4104, send_share=1.0, send_refill=0, queue="64MiB")
    page, buffer = 4104 / link.goodput, link.socket
    for preempt in (True, False):
        handle = missing_everything(link, [(0.003, 200, False)], pages=256, fault_seconds=0.0)
        handle.push(prepaging="none", preempt=preempt)
        (latency,) = handle.close().latencies
        waits = latency - (link.rtt + (16 + 90) / link.rate)
        # A window of the buffer's size: all but a round trip of it stands in the queue.
        queue = buffer / link.goodput - link.rtt
        assert queue - page <= waits <= queue + 3 * page


def test_vcpus_block_alone() -> None:
    """Two of four vCPUs wait for one page each, and the two others make their accesses."""
    listed = [(0.001 * (j + 1), j % 4, True) for j in range(40)]
    handle = migration(listed, 64, preset("gigabit", rtt=0.04), vcpus=4)
    handle.pause()
    handle.resume(Pages.of([0, 1], size=64))
    start = handle.now + 0.02  # the first instruction
    handle.push(background=False, until=start + 0.0405)
    ledger = handle.close()
    # vCPUs 2 and 3 have made their 20 accesses; 0 and 1 theirs up to the first, which waits.
    assert (ledger.faults, ledger.requests, ledger.accesses) == (2, 2, 20)
    assert ledger.stalled == pytest.approx((0.0395 + 0.0385) / 4, abs=1e-9)


def test_vcpus_that_share_a_page_share_a_request() -> None:
    listed = [(0.001 + 1e-4 * j, 7, True) for j in range(4)]
    handle = migration(listed, 64, preset("metro"), vcpus=4, fault_seconds=0.0)
    handle.pause()
    handle.resume(Pages.of([7], size=64))
    handle.push()
    ledger = handle.close()
    assert ledger.faults <= 4
    assert ledger.requests <= 1
    handle = migration(listed, 64, preset("metro"), vcpus=4, fault_seconds=0.0)
    handle.pause()
    handle.resume(Pages.of([7], size=64))
    handle.push(background=False, until=handle.now + 1)
    ledger = handle.close()
    assert (ledger.faults, ledger.requests) == (4, 1)
    one = ledger.latencies.max()
    assert sorted(ledger.latencies) == pytest.approx([one - 3e-4, one - 2e-4, one - 1e-4, one])


# ---- the cost of bookkeeping ---------------------------------------------------------------------


def test_first_writes_take_their_time_from_the_guest() -> None:
    """1000 first writes at 10 us make 10 ms; a page written again in a round is free."""
    listed = [(1e-4 * (j + 1), j % 500, True) for j in range(2000)]
    handle = migration(listed, 500, preset("gigabit"), first_write_seconds=10e-6)
    handle.take_dirty()
    handle.wait(0.0505)
    handle.take_dirty()
    handle.wait(0.1505)
    ledger = handle.close()
    # Round 1: 0.0505 s hold 459 first writes (110 us each); round 2 all 500 and free ones.
    assert ledger.tracking == pytest.approx((459 + 500) * 10e-6, abs=10e-6)
    assert ledger.guest == pytest.approx(0.201 - ledger.tracking, abs=1e-9)


def test_throttling_slows_the_writes() -> None:
    listed = [(0.001 * (j + 1), j, True) for j in range(500)]
    handle = migration(listed, 500)
    handle.throttle(0.75)
    handle.wait(0.4005)
    assert len(handle.take_dirty()) == 100
    handle.throttle(0.0)
    handle.wait(0.1)
    assert len(handle.take_dirty()) == 100
    ledger = handle.close()
    assert ledger.throttled == pytest.approx(0.75 * 0.4005)
    assert ledger.guest == pytest.approx(0.25 * 0.4005 + 0.1)


def test_a_log_sync_takes_its_time_while_the_guest_runs_on() -> None:
    def workload(_vm: object, _seed: int) -> Workload:
        return Listed([(0.001 * (j + 1), j, True) for j in range(100)], 100)

    def algorithm(handle: Migration) -> None:
        started = handle.now
        assert len(handle.take_dirty()) == 10
        assert handle.now - started == pytest.approx(0.0105)
        handle.pause()
        handle.take_dirty()  # the last one is downtime
        assert handle.now - started == pytest.approx(0.021)
        handle.send(handle.everything)
        handle.resume()

    outcome = migrate(
        algorithm,
        workload,
        memory="1GiB",
        vm_args={"sync_seconds_per_gib": 0.0105, "page_size": "2MiB"},
    )
    assert outcome.result.status == "completed", outcome.result.error
    assert machine(512, page_size=2 << 20, sync_seconds_per_gib=2.0).sync_seconds == 2.0


def test_an_encoder_slower_than_the_link_holds_it_up() -> None:
    link = Link(rate=1000 * 4096, rtt=0.0, overhead=0)
    handle = migration([], 20, link)
    slow = codecs.scaled(ratio=0.5, rate=4096 * 250)
    sent = handle.send(handle.everything, codec=slow)
    assert sent.bytes == 20 * 2048
    assert sent.seconds == pytest.approx(20 / 250)
    # Two threads are twice as fast; a fast one is not felt: half a page each.
    two = codecs.scaled(ratio=0.5, rate=4096 * 250, threads=2)
    assert migration([], 20, link).send(Pages.range(0, 20, size=20), codec=two).seconds == (
        pytest.approx(20 / 500)
    )
    fast = codecs.scaled(ratio=0.5)
    assert migration([], 20, link).send(Pages.range(0, 20, size=20), codec=fast).seconds == (
        pytest.approx(0.01)
    )


def test_an_encoder_runs_ahead_as_far_as_the_sockets_hold() -> None:
    """Slow pages behind quick ones: the quick ones wait in the socket, and the link stays busy."""
    link = Link(rate=1000 * 4096, rtt=0.0, overhead=0)
    handle = migration([], 30, link)
    handle.send(Pages.range(0, 10, size=30))
    slow = codecs.scaled(ratio=1.0, rate=4096 * 500)
    sent = handle.send(Pages.range(10, 30, size=30), codec=slow)
    # 20 pages at 2 ms; up to 10 ms of that passed while the first ten were on their way.
    ahead = min(0.010, link.socket / link.rate)
    assert sent.seconds == pytest.approx(0.040 - ahead, abs=2e-3)


def test_a_rate_limit_spaces_pages_evenly() -> None:
    """No credit is saved up: after a wait the first page takes its time, too."""
    link = Link(rate=1000 * 4096, rtt=0.0, overhead=0)
    handle = migration([(0.0325, 15, True)], 20, link)
    assert handle.send(Pages.range(0, 10, size=20), rate=250 * 4096).seconds == pytest.approx(0.04)
    handle.wait(0.1)
    assert handle.send(Pages.range(10, 20, size=20), rate=500 * 4096).seconds == (
        pytest.approx(0.02)
    )
    assert handle.send(handle.everything, rate=1e12).seconds == pytest.approx(0.02)
    handle = migration([], 20, preset("gigabit"))  # with TCP
    assert handle.send(handle.everything, rate=41040).seconds == pytest.approx(2.0002)
    with pytest.raises(ValueError, match=r"send\(rate=0"):
        handle.send(handle.everything, rate=0.0)
    with pytest.raises(ValueError, match="not buffered"):
        handle.send(handle.everything, rate=1e6, buffered=True)


def test_an_order_says_which_pages_go_first() -> None:
    """Pages of the order that are not to be sent are passed over; the others go as always."""
    link = Link(rate=1000 * 4096, rtt=0.0, overhead=0)
    handle = migration([(0.0015, 3, True), (0.0015, 7, True), (0.0015, 2, True)], 10, link)
    wanted = Pages.of([1, 2, 3, 7, 8], size=10)
    sent = handle.send(wanted, order=np.array([3, 0, 7, 3]), start=8, skip_redirtied=True)
    # 3 leaves in the first millisecond and 7 in the second: its write at 1.5 ms is too late.
    assert (sent.pages, sent.left.indices().tolist()) == (4, [2])
    assert handle.take_dirty().indices().tolist() == [2, 3, 7]
    # Looked at together, at the start, 7 and 2 were clean; 1 comes behind them.
    writes = [(0.0005, page, True) for page in (2, 7, 1)]
    handle = migration(writes, 10, link)
    sent = handle.send(wanted, order=np.array([7, 2]), start=3, skip_redirtied=True, peek_pages=4)
    assert (sent.pages, sent.left.indices().tolist()) == (4, [1])
    handle = migration(writes, 10, link)
    sent = handle.send(handle.everything, start=8, skip_redirtied=True, peek_pages=3)
    assert (sent.pages, sent.left.indices().tolist()) == (7, [1, 2, 7])
    handle = migration(writes, 10, link)
    sent = handle.send(handle.everything, start=8, skip_redirtied=True, peek_pages=4)
    assert (sent.pages, sent.left.indices().tolist()) == (8, [2, 7])
    handle = migration([(0.0015, 3, True)], 10, link)
    first = handle.send(wanted, order=np.array([8, 1]), max_bytes=1)
    assert first.left.indices().tolist() == [1, 2, 3, 7]
    with pytest.raises(ValueError, match="pages 3 to 10: the guest has 10"):
        handle.send(wanted, order=np.array([3, 10]))


# ---- what the hypervisor estimates ---------------------------------------------------------------


def test_bandwidth_of_the_last_hundred_milliseconds() -> None:
    meter = BandwidthMeter()
    assert meter.rate == 0.0
    meter.add(1000, 1.0)
    assert meter.rate == pytest.approx(1000)
    meter.add(0, 5.0)  # nothing sent: no estimate
    assert meter.rate == pytest.approx(1000)
    for _ in range(10):
        meter.add(500, 0.01)
    assert meter.rate == pytest.approx(50_000)
    meter.add(100, 0.05)  # 0.05 s of this and 0.05 s of those before
    assert meter.rate == pytest.approx((100 + 5 * 500) / 0.1)


def test_estimates_of_time_and_dirty_rate() -> None:
    link = preset("gigabit", congestion="none")
    handle = migration([(0.001 * (j + 1), j, True) for j in range(100)], 1000, link)
    handle.wait(0.0505)
    assert len(handle.take_dirty()) == 50
    assert handle.dirty_rate == pytest.approx(50 / 0.0505)
    handle.send(handle.everything)
    seconds = 1000 * 4104 / link.goodput
    assert handle.seconds_to_send(handle.everything) == pytest.approx(seconds, rel=0.02)
    assert handle.exact_seconds_to_send(handle.everything) == pytest.approx(seconds, rel=1e-12)


def test_foresight() -> None:
    listed = [(0.001, 30, True), (0.002, 20, False), (0.003, 40, True), (0.004, 10, True)]
    handle = migration(listed, 64)
    assert handle.future_writes(0.0035).indices().tolist() == [30, 40]
    wanted = Pages.of([5, 10, 20, 30, 40, 50], size=64)
    assert handle.future_order(wanted, 0.0025).tolist() == [30, 20, 5, 10, 40, 50]
    assert handle.future_order(wanted, math.inf).tolist() == [30, 20, 40, 10, 5, 50]
    assert handle.now == 0.0
    handle.wait(0.0015)
    assert handle.future_writes(1.0).indices().tolist() == [10, 40]


# ---- every byte on the wire ----------------------------------------------------------------------


def test_headers_and_requests() -> None:
    """Each page 8 bytes, each packet 90, each request 16 and a packet of its own."""

    def algorithm(handle: Migration) -> None:
        handle.pause()
        handle.resume(missing=Pages.of([1, 2, 3], size=64))
        handle.push(background=False, until=handle.now + 1)

    def workload(_vm: object, _seed: int) -> Workload:
        return Listed([(0.1 * page, page, False) for page in (1, 2, 3)], 64)

    result = migrate(
        algorithm,
        workload,
        memory=64 * 4096,
        vm_args={"device_state": 1000, "zero_fraction": 1.0},
    ).result
    assert (result.status, result.requests) == ("completed", 3)
    kinds = {"bitmap": 8, "device_state": 1000, "faulted": 3, "requests": 3 * 16}
    packets = math.ceil((8 + 1000 + 3 * (8 + 1)) / 1448) + 3
    nothing = dict.fromkeys(["first_copy", "resent", "disk", "mirrored"], 0)
    expected = {**kinds, **nothing, "headers": 3 * 8 + packets * 90}
    assert result.sent_by_kind == expected
    assert result.bytes_sent == sum(expected.values())
    assert result.payload_bytes == 8 + 1000 + 3


def test_pivots_of_the_last_seven_faults() -> None:
    """``bubble`` grows around the last fault only, ``multi`` around all of the last seven."""
    found = {}
    for prepaging in ("bubble", "multi"):
        listed = [(0.0105, 50, True), (0.0205, 90, True)]
        handle = migration(listed, 100, Link(rate=1000 * 4096, rtt=0.0, overhead=0))
        handle.pause()
        handle.resume(handle.everything)
        handle.push(prepaging=prepaging, until=0.0245)
        before = set(handle.missing.indices().tolist())
        handle.push(prepaging=prepaging, until=0.0315)
        found[prepaging] = before - set(handle.missing.indices().tolist())
    assert all(page > 80 for page in found["bubble"]), found
    assert {page > 80 for page in found["multi"]} == {True, False}
