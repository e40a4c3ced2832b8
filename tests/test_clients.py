"""How the network finds a guest that has moved, and what its clients see of a migration."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim import InputError, Migration, Task, migrate, run
from migsim.clients import Clients, Whereabouts, build_clients, client_parameters
from migsim.network.announcing import REACHES, Reach, announced
from migsim.network.client import Client
from migsim.recall import task_of
from migsim.store import Row, frame

TIMEOUT = 0.2002
"""Of a client on the LAN: 200 ms and its round trip."""


def seen(downtime: float, where: Whereabouts = "destination", **given: Any) -> tuple[float, int]:
    return build_clients(given).seen(downtime, where, 1)


def wait(downtime: float, **given: Any) -> float:
    return seen(downtime, **given)[0]


# ---- when the network finds the guest -----------------------------------------------------------


def test_announcements_are_as_far_apart_as_qemu_s() -> None:
    assert [announced(k) for k in range(5)] == pytest.approx([0, 0.05, 0.2, 0.45, 0.8])
    assert announced(9, 10) == pytest.approx(0.05 + 0.15 + 0.25 + 0.35 + 0.45 + 4 * 0.55)


@pytest.mark.parametrize(
    ("network", "found"),
    [
        ({}, 0.0),  # the first announcement
        ({"learning": 0.3}, 0.3),
        ({"port_delay": 0.1}, 0.2),  # the third is the first behind an open port
        ({"port_delay": 0.81}, 36.0),  # all are lost there, and a neighbour asks 38 s after 2 s
        ({"announcements": 0}, 36.0),
        ({"announcements": 0, "learning": 0.5}, 36.5),
        ({"announcements": 0, "asked_after": 1.0}, 0.0),  # it has been asking since
        ({"announcements": 0, "asked_after": 1.0, "port_delay": 3.0}, 3.0),
        ({"announcements": 0, "speaks_every": 1.5}, 1.5),
        ({"announcements": 0, "speaks_every": 1.5, "port_delay": 4.0}, 4.5),
        ({"announcements": 0, "asked_after": math.inf}, 298.0),  # tables age
        ({"announcement_loss": 1.0, "asked_after": math.inf, "ageing": 1.0}, 0.0),
        ({"learning": 60.0, "ageing": 10.0}, 8.0),  # flooded until the table has changed
    ],
)
def test_the_first_frame_or_ageing_finds_a_guest(network: dict[str, Any], found: float) -> None:
    assert Reach(**network).found(2.0, 1) == pytest.approx(found)


def test_a_guest_s_own_frames_find_it_once_its_port_is_open() -> None:
    silent = Reach(announcements=0, port_delay=0.3)
    assert silent.found(1.0, 1, own=[0.1, 0.2, 0.4]) == 0.4
    assert silent.found(1.0, 1, own=[0.1]) == 37.0


def test_announcements_are_lost_as_often_as_said() -> None:
    def share_at_once(switches: int) -> float:
        network = Reach(announcement_loss=0.3, switches=switches)
        return sum(network.found(1.0, seed) == 0.0 for seed in range(2000)) / 2000

    assert share_at_once(1) == pytest.approx(0.7, abs=0.05)  # five standard deviations
    assert share_at_once(3) == pytest.approx(0.7**3, abs=0.055)


@given(
    loss=st.floats(0, 1), more=st.floats(0, 1), switches=st.integers(1, 5), seed=st.integers(0, 999)
)
def test_more_lost_announcements_never_find_a_guest_earlier(
    loss: float, more: float, switches: int, seed: int
) -> None:
    few = Reach(announcement_loss=min(loss, more), switches=switches)
    many = Reach(announcement_loss=max(loss, more), switches=switches)
    long = Reach(announcement_loss=min(loss, more), switches=switches + 1)
    assert few.found(0.5, seed) <= min(many.found(0.5, seed), long.found(0.5, seed))


# ---- what clients see, by hand ------------------------------------------------------------------


def test_on_one_segment_a_request_waits_for_the_next_attempt() -> None:
    assert seen(0.3) == (pytest.approx(2 * TIMEOUT + 0.0002), 0)
    assert wait(0.3) == Client(rtt=0.0002).gap(0.3)
    # Nobody announces it: a neighbour asks after 38 s, or tables age after 300 s.
    assert wait(0.3, announcements=0) == pytest.approx(256 * TIMEOUT + 0.0002)
    aged = wait(0.3, announcements=0, asked_after="inf")
    assert aged == pytest.approx(1024 * TIMEOUT + 120 + 0.0002)


def test_across_distributed_switches_the_port_comes_first() -> None:
    assert wait(0.25, reach="distributed") == pytest.approx(4 * TIMEOUT + 0.0002)  # 0.25 + 0.2
    assert wait(0.25, reach="distributed", port_delay=0) == wait(0.25)
    assert wait(0.25, reach="distributed", port_delay="1s") == wait(0.25, announcements=0)


def test_across_sites_the_path_changes_and_is_longer() -> None:
    assert wait(0.1, reach="sites") == pytest.approx(4 * TIMEOUT + 0.0102)  # away for 0.6 s
    # Forwarding costs half of the 10 ms once, instead of half a second.
    assert wait(0.1, reach="sites", forwards=True) == pytest.approx(TIMEOUT + 0.0102)
    assert wait(0.1, reach="sites", rtt_after="50ms") == pytest.approx(4 * TIMEOUT + 0.05)
    forwarded = {"reach": "sites", "forwards": True, "rtt_after": "50ms"}
    assert wait(0.1, **forwarded) == pytest.approx(TIMEOUT + 0.0102)  # the path has not moved yet
    assert wait(0.1, **forwarded, path_delay="50ms") == pytest.approx(TIMEOUT + 0.05)


def test_a_download_finds_its_way_by_itself_but_must_be_heard() -> None:
    download, probe = {"traffic": "download"}, 0.0084
    assert wait(0.1, **download) == pytest.approx(0.1 + probe)
    assert wait(0.1, **download, announcements=0) == pytest.approx(0.1 + probe)
    # The probe and the first retransmission leave, but acknowledgements go to the old site.
    heard = probe + TIMEOUT + 2 * TIMEOUT
    assert wait(0.1, **download, reach="sites") == pytest.approx(0.1 + heard + 0.005)


def test_an_upload_waits_as_the_model_of_its_tcp_says() -> None:
    client = Client(traffic="upload", rtt=0.02)
    given = {"traffic": "upload", "rtt": "20ms"}
    assert wait(0.3, **given) == client.gap(0.3)
    assert wait(0.3, **given, port_delay=0.1) == client.gap(0.5)


def test_connections_are_given_up_one_by_one() -> None:
    few = {"retries": 5, "tail_probe": False, "rtt": 0, "connections": 4}  # up to 6.2 s
    assert seen(6.0, **few) == (pytest.approx(6.2), 0)
    assert seen(8.0, **few) == (pytest.approx(12.6), 1)  # requests after 0, 2, 4 and 6 s
    assert seen(16.0, **few) == (pytest.approx(12.6), 3)
    assert seen(16.0, **few, period="2s") == (pytest.approx(12.6), 4)
    assert seen(100.0, **few, traffic="upload") == (pytest.approx(12.6 + 0.0), 4)


def test_clients_between_requests_are_not_hit() -> None:
    given = {"connections": 10, "period": "10s"}  # the second one asks after a second
    assert seen(0.5, **given) == seen(0.5)


def test_a_guest_that_goes_back_need_not_be_found_and_one_that_is_gone_is_waited_for() -> None:
    assert seen(0.3, "source", reach="sites", announcements=0) == seen(0.3)
    assert seen(0.0, "source") == (0.0, 0)
    assert seen(0.0, "nowhere", connections=7, user_timeout="5s") == (pytest.approx(5.2002), 7)


# ---- laws ---------------------------------------------------------------------------------------

networks = st.fixed_dictionaries(
    {
        "reach": st.sampled_from(list(REACHES)),
        "traffic": st.sampled_from(["requests", "upload", "download"]),
        "rtt": st.sampled_from([0.0, 0.0002, 0.02, 0.15]),
        "tail_probe": st.booleans(),
        "retries": st.integers(1, 15),
        "announcements": st.integers(0, 6),
        "announcement_loss": st.sampled_from([0.0, 0.5, 1.0]),
        "speaks_every": st.sampled_from([0.7, math.inf]),
        "port_delay": st.sampled_from([0.0, 0.3, 5.0]),
        "forwards": st.booleans(),
    }
)


@settings(max_examples=200)
@given(network=networks, downtime=st.floats(0.001, 400), more=st.floats(0, 400))
def test_clients_wait_for_the_downtime_at_least_and_longer_ones_never_less(
    network: dict[str, Any], downtime: float, more: float
) -> None:
    outage, lost = seen(downtime, **network)
    assert lost == 1 or outage >= downtime
    assert outage >= seen(downtime, "source", **network)[0] - 1e-9
    later, lost_later = seen(downtime + more, **network)
    # A download's sender stands still in a pause, while neighbours begin to ask: of it alone
    # a longer pause may leave less to be waited for once the guest goes on.
    if network["traffic"] != "download":
        assert lost_later >= lost
        assert later >= outage - 1e-9


def test_a_longer_pause_may_spare_a_download() -> None:
    impatient = {"traffic": "download", "rtt": 0, "tail_probe": False, "retries": 5,
                 "reach": "sites", "announcements": 0, "port_delay": "5s"}  # fmt: skip
    # After a second the guest's own frame, 6.2 s after its return, is the first to pass, and the
    # last that it sends. After 33 s a neighbour has been asking when the port opens.
    assert seen(1.0, **impatient) == (pytest.approx(1 + 12.6), 1)
    assert seen(33.0, **impatient) == (pytest.approx(33 + 6.2 + 0.005), 0)


@given(downtime=st.floats(0, 1000), rtt=st.sampled_from([0.0002, 0.1]))
def test_without_an_absence_an_answer_takes_a_round_trip(downtime: float, rtt: float) -> None:
    assert wait(0.0, rtt=rtt) == rtt
    away = wait(downtime, rtt=rtt)
    assert away == min(Client(rtt=rtt).gap(downtime), Client(rtt=rtt).given_up)


# ---- parameters ---------------------------------------------------------------------------------


def test_parameters_come_back_as_they_were_given() -> None:
    for name in REACHES:
        clients = build_clients({"reach": name, "rtt": "5ms", "connections": 3})
        assert build_clients(clients.as_dict()) == clients
    assert build_clients({}) == Clients()
    names = [each.name for each in client_parameters()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"reach": "moon"}, "reach: got 'moon', expected one of segment, distributed, sites"),
        ({"reech": "sites"}, "clients: unknown parameter 'reech', did you mean 'reach'"),
        ({"connections": 0}, "connections is 0, expected 1 to 10,000"),
        ({"announcements": 101}, "announcements is 101, expected 0 to 100"),
        ({"switches": 0}, "switches is 0, expected 1 to 100"),
        ({"announcement_loss": 1.5}, "announcement_loss: got '1.5'"),
        ({"speaks_every": 0}, "speaks_every is 0.0, expected more than 0 s"),
        ({"port_delay": "inf"}, "port_delay is inf, expected 0 s or more"),
        ({"floor": "inf"}, "floor is inf, expected a finite time"),
        ({"ceiling": "inf", "user_timeout": "inf"}, "ceiling is inf, expected a finite time"),
        ({"retries": 256}, "retries is 256, expected at least 1 and at most 255"),
        ({"user_timeout": "inf"}, "user_timeout is inf, expected more than 0 s and at most"),
        ({"user_timeout": 0}, "user_timeout is 0.0, expected more than 0 s"),
    ],
)
def test_wrong_parameters_are_told_in_a_sentence(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        Task(algorithm="precopy", workload="idle", client_args=wrong).resolve()
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"announcement_loss": 2.0},
        {"asked_after": math.nan},
        {"rtt_after": -1.0},
        {"ageing": math.inf},
    ],
)
def test_what_is_no_reach_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"reach: {next(iter(wrong))} is"):
        Reach(**wrong)


# ---- of whole migrations ------------------------------------------------------------------------

GUEST: dict[str, Any] = {"algorithm": "precopy", "workload": "uniform", "memory": "256MiB"}


def test_a_known_migration() -> None:
    """256 MiB over Gigabit Ethernet, written at 10,000 pages/s: paused for 0.145 s."""
    found = {
        reach: run(Task(**GUEST, client_args={"reach": reach})).client_outage_seconds
        for reach in REACHES
    }
    assert found == pytest.approx({"segment": 0.2004, "distributed": 0.4006, "sites": 0.811})
    usual, far = run(Task(**GUEST)), run(Task(**GUEST, client_args={"reach": "sites"}))
    differing = {name for name, value in usual.as_dict().items() if far.as_dict()[name] != value}
    assert differing == {"client_outage_seconds"}  # a client does not change its guest
    assert usual.connections_lost == 0


def test_usual_clients_go_unsaid_in_the_key() -> None:
    plain = Task(**GUEST)
    assert "clients" not in plain.resolve().describe()
    assert Task(**GUEST, client_args={"reach": "segment", "rtt": "0.2ms"}).key == plain.key
    assert Task(**GUEST, client_args={"rtt": "1ms"}).key != plain.key


def test_a_stored_task_with_clients_is_found_again() -> None:
    given: list[dict[str, Any]] = [{}, {"reach": "sites", "user_timeout": "30s", "connections": 5}]
    tasks = [Task(**GUEST, client_args=each).resolve() for each in given]
    rows = [Row(t.key, json.loads(t.text), {"status": "completed"}) for t in tasks]
    table = frame(rows)
    assert [task_of(row).key for row in table.to_dict("records")] == [task.key for task in tasks]


def test_a_guest_that_never_pauses_hits_no_client() -> None:
    def idle(migration: Migration) -> None:
        migration.wait(1.0)
        migration.give_up("not now")

    def paused(migration: Migration) -> None:
        migration.pause()
        migration.wait(0.5)
        migration.give_up("not now")

    def forgets(migration: Migration) -> None:
        migration.pause()

    kept = migrate(idle, "idle", memory="4MiB").result
    assert (kept.status, kept.client_outage_seconds, kept.connections_lost) == ("gave_up", 0.0, 0)
    back = migrate(paused, "idle", memory="4MiB", client_args={"announcements": 0}).result
    assert back.client_outage_seconds == Client(rtt=0.0002).gap(0.5)
    nowhere = migrate(forgets, "idle", memory="4MiB", client_args={"connections": 3}).result
    assert nowhere.connections_lost == 3


def test_a_lost_guest_loses_its_clients() -> None:
    """Rows stay numbers: a client waits until its TCP gives up, not for ever."""
    link = {"outages": "1s+inf", "rate": "100Mbit/s"}
    lost = migrate("postcopy", "idle", memory="64MiB", link_args=link).result
    assert lost.status == "lost"
    assert lost.connections_lost == 1
    assert lost.client_outage_seconds == Client(rtt=0.0002).given_up < 1100
