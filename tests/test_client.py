"""The model of a client's TCP: known schedules, an event simulation, and Linux itself."""

from __future__ import annotations

import heapq
import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim import InputError
from migsim.network.announcing import announced
from migsim.network.client import Client
from migsim.validate.client import Wait, recorded

aways = st.floats(0.001, 60.0)
round_trips = st.sampled_from([0.0, 0.0002, 0.005, 0.02, 0.1, 0.15])


# ---- known schedules ----------------------------------------------------------------------------


def test_without_a_probe_the_times_are_linux_well_known_ones() -> None:
    times = Client(tail_probe=False).attempts()
    assert times[:11] == pytest.approx([0.2 * (2**k - 1) for k in range(11)])
    assert times[10:] == pytest.approx([204.6 + 120 * k for k in range(6)])  # capped at 120 s
    assert len(times) == 1 + 15


def test_fifteen_retries_are_given_up_after_924_6_seconds() -> None:
    """Documentation/networking/ip-sysctl: tcp_retries2, the hypothetical timeout."""
    assert Client().patience == pytest.approx(924.6)
    assert Client(retries=8).patience == pytest.approx(102.2)  # at least 100 s: RFC 1122's advice
    # The last attempt is a timeout earlier: an absence after that is not survived.
    assert Client(tail_probe=False).longest == pytest.approx(804.6)


def test_a_user_timeout_and_fewer_retries_end_a_connection_earlier() -> None:
    assert Client(tail_probe=False, user_timeout=5.0).longest == pytest.approx(3.0)
    assert Client(tail_probe=False, retries=5).longest == pytest.approx(6.2)
    long_way = Client(rtt=0.1, tail_probe=False, retries=5)
    assert long_way.patience == pytest.approx(12.6)  # a time, not a count
    assert long_way.longest == pytest.approx(0.3 * 31)


def test_a_probe_makes_the_times_double_from_the_start() -> None:
    assert Client().attempts()[:7] == pytest.approx([0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4])
    upload = Client(traffic="upload", rtt=0.02)
    assert upload.attempts()[:4] == pytest.approx([0.048, 0.268, 0.708, 1.588])
    assert Client(traffic="upload", rtt=0.15).probe == 0.2  # the oldest segment's timeout


def test_a_request_waits_for_the_next_attempt_and_a_round_trip() -> None:
    client = Client(rtt=0.01)  # attempts after 0, 0.21, 0.42, 0.84 s
    assert client.gap(0.3) == pytest.approx(0.43)
    assert client.gap(0.3, at=0.1) == pytest.approx(0.22)
    assert client.gap(0.3, at=0.3) == client.gap(0.0) == pytest.approx(0.01)
    assert Client(rtt=0.01, queued=True).gap(0.3, at=0.1) == pytest.approx(0.21)


def test_a_download_goes_on_when_the_guest_does() -> None:
    client = Client(traffic="download", rtt=0.01)
    assert client.gap(3.0) == pytest.approx(3.0 + 0.028)
    assert client.survives(1e6)
    assert client.longest == math.inf
    assert Client(traffic="download", rtt=0.01, tail_probe=False).gap(3.0) == pytest.approx(3.21)


def test_short_absences_cost_an_upload_a_round_trip() -> None:
    assert Client(traffic="upload", rtt=0.1).gap(0.05) == pytest.approx(0.15)


def test_the_longest_absence_within_a_second() -> None:
    assert Client().longest_within(1.0) == pytest.approx(0.8)
    assert Client(rtt=0.1).longest_within(1.0) == pytest.approx(0.6)  # 0, 0.3, 0.6, 1.2
    assert Client(rtt=2.0).longest_within(1.0) == 0.0
    assert Client(queued=True, rtt=0.1).longest_within(1.0) == pytest.approx(0.9)
    assert Client(traffic="download").longest_within(1.0) == pytest.approx(0.992)


def test_announcements_are_qemu_s() -> None:
    assert [announced(k) for k in range(5)] == pytest.approx([0, 0.05, 0.2, 0.45, 0.8])
    assert announced(5) == math.inf


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"traffic": "chat"}, "traffic is chat, expected requests, upload or download"),
        ({"rtt": -0.1}, "rtt is -0.1"),
        ({"rtt": math.nan}, "rtt is nan"),
        ({"queue": math.inf}, "queue is inf"),
        ({"period": 0.0}, "period is 0.0"),
        ({"floor": 0.0}, "floor is 0.0"),
        ({"ceiling": 0.1}, "ceiling is 0.1, expected at least the timeout 0.2"),
        ({"retries": 0}, "retries is 0"),
    ],
)
def test_what_is_no_client_is_refused(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Client(**wrong)  # type: ignore[arg-type]


# ---- laws ---------------------------------------------------------------------------------------


@given(away=aways, more=aways, rtt=round_trips, probe=st.booleans())
def test_a_longer_absence_is_never_a_shorter_wait(
    away: float, more: float, rtt: float, probe: bool
) -> None:
    for traffic in ("requests", "upload", "download"):
        client = Client(traffic=traffic, rtt=rtt, tail_probe=probe)  # type: ignore[arg-type]
        assert client.gap(away + more) >= client.gap(away)


@given(away=aways, rtt=round_trips, probe=st.booleans())
def test_a_request_waits_for_the_absence_and_at_most_twice_that(
    away: float, rtt: float, probe: bool
) -> None:
    client = Client(rtt=rtt, tail_probe=probe)
    assert away + rtt <= client.worst(away) + 1e-12
    assert client.worst(away) <= max(client.timeout, 2 * away + client.timeout) + rtt + 1e-9
    assert rtt <= client.mean(away) <= client.worst(away) + 1e-9


@given(wait=st.floats(0.05, 50.0), rtt=round_trips, queued=st.booleans())
def test_the_longest_absence_within_a_wait_is_the_border(
    wait: float, rtt: float, queued: bool
) -> None:
    for traffic in ("requests", "upload", "download"):
        client = Client(traffic=traffic, rtt=rtt, queued=queued)  # type: ignore[arg-type]
        border = client.longest_within(wait)
        assert border == 0.0 or client.gap(border - 1e-9) <= wait + 1e-6
        assert client.gap(border + 1e-6) > wait


@given(away=st.floats(0.01, 30.0), rtt=round_trips, period=st.sampled_from([0.05, 1.0, math.inf]))
def test_the_mean_over_phases_is_that_of_many_phases(
    away: float, rtt: float, period: float
) -> None:
    client = Client(rtt=rtt, period=period)
    count = 4000
    phases = ((i + 0.5) / count * min(period, away) for i in range(count))
    drawn = statistics.fmean(client.gap(away, at) for at in phases)
    assert client.mean(away) == pytest.approx(drawn, rel=2e-3, abs=2e-3)


# ---- a slow twin: events ------------------------------------------------------------------------


def simulated(client: Client, away: float, at: float) -> float:
    """Let a sender, a network and a server act event by event, and return the request's wait."""
    order = itertools.count()
    events: list[tuple[float, int, str]] = []
    sent = at - client.rtt / 2  # it meets the switch when half of the way lies behind it
    timer, backoff, first, state = 0.0, 0, sent, "open"

    def put(time: float, kind: str) -> None:
        heapq.heappush(events, (time, next(order), kind))

    put(sent, "send")
    while True:
        now, _, kind = heapq.heappop(events)
        if kind == "answer":
            return now - sent
        if kind == "timer":
            if now < timer:
                continue
            if state == "open" and client.tail_probe:
                state, first = "probed", now
            else:
                if now - first >= client.patience:
                    return math.inf
                backoff += 1
        arrives = now + client.rtt / 2
        if arrives >= away or arrives < 0:
            put(now + client.rtt, "answer")
        timer = now + min(client.ceiling, client.timeout * 2**backoff)
        put(timer, "timer")


@given(
    away=st.floats(0.01, 1500.0),
    share=st.floats(0.0, 0.99),
    rtt=round_trips,
    probe=st.booleans(),
    patience=st.sampled_from([None, 5.0, 30.0]),
    retries=st.integers(1, 15),
)
def test_the_closed_form_is_what_events_do(
    away: float, share: float, rtt: float, probe: bool, patience: float | None, retries: int
) -> None:
    client = Client(rtt=rtt, tail_probe=probe, user_timeout=patience, retries=retries)
    at = share * away
    if min(abs(away - at - attempt) for attempt in client.attempts()) < 1e-6:
        return  # a tie, which rounding decides
    assert client.gap(away, at) == pytest.approx(simulated(client, away, at), rel=1e-9)


# ---- Linux --------------------------------------------------------------------------------------


def of(traffic: str) -> list[Wait]:
    return [wait for wait in recorded() if wait.traffic == traffic]


def test_the_timeout_is_what_linux_says() -> None:
    """A round trip and 200 ms, in ticks of 4 ms; beside a varying queue too."""
    assert len(recorded()) > 500
    for wait in recorded():
        assert 0.1999 <= wait.timeout - wait.round_trip <= 0.2041


def test_requests_wait_as_long_as_under_linux() -> None:
    waits = of("requests")
    clear = [wait for wait in waits if wait.clear]
    assert len(clear) > 300
    assert max(abs(wait.error) for wait in clear) < 0.11
    assert abs(statistics.median(wait.error for wait in clear)) < 0.04
    assert {wait.path for wait in clear} == {0.0, 0.02, 0.1}
    # Near a step a late timer decides: there it is this attempt or the next.
    assert statistics.fmean(abs(wait.error) < 0.12 for wait in waits) > 0.9


def test_uploads_stop_as_long_as_under_linux() -> None:
    clear = [wait for wait in of("upload") if wait.clear]
    long = [wait for wait in clear if not 0.9 < wait.outage / wait.round_trip < 2.1]
    assert len(long) > 50
    assert max(abs(wait.error) for wait in long) < 0.11
    # Of an outage of one to two round trips part of a window is left: within 40 %.
    assert max(abs(wait.error) for wait in clear) < 0.4


def test_without_the_probe_linux_is_not_met() -> None:
    """The measurements decide between the two schedules."""
    clear = [wait for wait in of("requests") if wait.clear and wait.outage > 0.5]
    plain = [Client(rtt=wait.round_trip, tail_probe=False) for wait in clear]
    without = [
        abs(wait.gap / client.gap(wait.outage, wait.sent) - 1)
        for wait, client in zip(clear, plain, strict=True)
    ]
    assert statistics.fmean(without) > 4 * statistics.fmean(abs(wait.error) for wait in clear)
