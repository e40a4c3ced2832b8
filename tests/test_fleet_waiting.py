"""Who waits in a fleet: the same happens as if all were looked at again whenever anything does."""

from __future__ import annotations

import random

import pytest
from test_fleet_manager import fleet, host, vm, wanting

from migsim.fleet import manager as manager_module
from migsim.fleet.chain import Entry
from migsim.fleet.manager import Minutes
from migsim.fleet.model import Evacuate, Failure, Fleet, Job, Migrating, Move, Rule
from migsim.fleet.requests import Request
from migsim.fleet.running import run_fleet
from migsim.fleet.waiting import Waiting
from migsim.units import GIB, MIB


class Impatient(Waiting):
    """Never lets anybody wait: all are due at any time."""

    def wait(self, number: int, *places: str, until: float | None = None) -> None:
        """Stay due."""


def random_fleet(seed: int) -> Fleet:
    """Return a fleet in which machines get in one another's way, hosts fall and windows close."""
    draw = random.Random(seed)
    names = [f"v{k}" for k in range(9)]
    vms = [vm(name, draw.choice("ab"), seed=k, memory=draw.choice([8, 16]) * MIB)
           for k, name in enumerate(names)]  # fmt: skip
    jobs: list[Job] = [
        Move(vm=name, to=draw.choice("cd"), at=draw.choice([0.0, 0.2]),
             until=draw.choice([float("inf"), 0.3, 0.6, 2.0]))
        for name in names[:6]
    ]  # fmt: skip
    jobs.append(Evacuate(host=draw.choice("ab"), at=draw.choice([0.1, 0.4]),
                         deadline=draw.choice([1.0, float("inf")])))  # fmt: skip
    down = draw.choice("bcd")
    return fleet(
        *vms,
        given=[host(one, memory=draw.choice([48 * MIB, 96 * MIB, GIB]), most_migrations=limit)
               for one, limit in zip("abcd", draw.choices([1, 2, 4], k=4), strict=True)],
        rules=(Rule(kind="apart", vms=tuple(draw.sample(names, 3)), hosts=(), name="apart"),),
        jobs=tuple(jobs),
        failures=(Failure(at=0.3, kind="crash", target=down, lasts=draw.choice([0.4, 60.0])),),
        migrating=Migrating(retries=2, backoff=0.1),
    )  # fmt: skip


def entries(where: Fleet) -> list[Entry]:
    minutes = Minutes()
    run_fleet(where, minutes)
    return minutes.entries


@pytest.mark.parametrize("seed", range(8))
def test_the_same_happens_as_if_nobody_waited(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    where = random_fleet(seed)
    patient = entries(where)
    monkeypatch.setattr(manager_module, "Waiting", Impatient)
    assert entries(where) == patient
    assert {"started", "completed"} <= {entry.kind for entry in patient}


def test_a_long_queue_is_not_walked_again_for_each_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count, looks = 24, 0
    due = Waiting.due

    def counted(self: Waiting, now: float):  # type: ignore[no-untyped-def]
        nonlocal looks
        for one in due(self, now):
            looks += 1
            yield one

    monkeypatch.setattr(Waiting, "due", counted)
    where = fleet(
        *(vm(f"v{k}", "abcdefgh"[k % 8], memory=4 * MIB, workload="idle", workload_args={})
          for k in range(count)),
        given=[host(name, most_migrations=1) for name in "abcdefghijklmnop"],
    )  # fmt: skip
    done = wanting(
        where,
        *(Request(vm=f"v{k}", to="ijklmnop"[k % 8], job="all") for k in range(count)),
    )
    assert len(done.attempts) == count
    # Each once when it is wanted, and those that want the same host when it becomes free.
    assert looks <= 4 * count


def test_requests_come_in_their_order_and_only_when_due() -> None:
    waiting = Waiting()
    waiting.add(*(Request(vm=name) for name in "abcd"))

    def due(now: float = 0.0) -> str:
        return "".join(request.vm for _, request in waiting.due(now))

    assert due() == "abcd"
    waiting.wait(0, "door")
    waiting.wait(2, "door", until=5.0)
    waiting.wait(3, "window")
    assert due() == "b"
    assert due(5.0) == "bc"
    waiting.tell("door")
    assert due() == "abc"
    waiting.remove(1)
    waiting.wait(0, "door")
    seen = []
    for number, request in waiting.due(6.0):
        seen.append(request.vm)
        if number == 2:  # what is told in a pass is due in it, if its turn is still to come
            waiting.tell("door", "window")
    assert seen == ["c", "d"]
    assert due() == "acd"
    assert len(waiting) == 3


def test_an_evacuation_may_begin_while_machines_come_and_go() -> None:
    where = fleet(
        vm("leaves"), vm("stays"), vm("comes", "b"),
        jobs=(Move(vm="leaves", to="c"), Move(vm="comes", to="a"), Evacuate(host="a", at=0.05)),
    )  # fmt: skip
    outcome = run_fleet(where)
    assert outcome.state.runs_at["leaves"] == ("c",)
    assert not [name for name, hosts in outcome.state.runs_at.items() if "a" in hosts]
    assert [one.vm for one in outcome.attempts].count("leaves") == 1
