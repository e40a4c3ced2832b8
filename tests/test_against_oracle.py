"""The compiled engine against the slow oracle: same pages, bytes, sets and times."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from helpers import PAGE, Listed, machine
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from oracle import Oracle

from migsim import Link, Migration, Pages
from migsim.codecs import scaled

LINKS = {
    "gigabit": Link(rate=125e6, rtt=200e-6),
    "slow": Link(rate=1e6, rtt=1e-3, initial_window=1),
    "long": Link(rate=125e6, rtt=0.1, queue="local"),
    "tiny window": Link(rate=125e6, rtt=2e-3, initial_window=1, queue="local"),
    "small buffer": Link(rate=125e6, rtt=5e-3, queue="local", send_buffer=100_000),
    "bare": Link(rate=50e6, rtt=1e-3, overhead=0),
    "plain": Link(rate=50e6, rtt=1e-3, congestion="none"),
    "lossy": Link(rate=125e6, rtt=2e-3, loss=0.01),
    "unlimited": Link(rate=math.inf, rtt=0.0),
}

machines = st.fixed_dictionaries(
    {
        "vcpus": st.sampled_from([1, 2, 3, 8]),
        "device_state": st.sampled_from([0, 1, 5000, 200_000]),
        "zero_fraction": st.sampled_from([0.0, 0.0, 0.3, 1.0]),
        "resume_seconds": st.sampled_from([0.0, 1e-3, 0.02]),
        "dirty_log": st.sampled_from(["sync", "send"]),
        "clear_chunk": st.sampled_from([PAGE, 8 * PAGE, 64 * PAGE, 1 << 30]),
        "sync_seconds_per_gib": st.sampled_from([0.0, 0.1, 2.0]),
        # Not 0: a vCPU that goes on in the very moment of the last landing may or may not count.
        "fault_seconds": st.sampled_from([1e-6, 20e-6]),
    }
)
moment = st.floats(0.01, 1.0)
chosen = st.one_of(
    st.sampled_from(["everything", "dirty", "left", "nothing"]), st.integers(0, 2**32 - 1)
)
send = st.tuples(
    st.just("send"),
    chosen,
    st.fixed_dictionaries(
        {},
        optional={
            "start": st.integers(0, 64),
            "until": moment,
            "max_bytes": st.integers(0, 200_000),
            "skip_redirtied": st.booleans(),
            "codec": st.sampled_from(
                [scaled(ratio=0.5), scaled(ratio=0.1, rate=20e6), scaled(ratio=0.0)]
            ),
        },
    ),
)
waiting = st.tuples(st.just("wait"), moment)
sync = st.tuples(st.just("take_dirty"))
throttle = st.tuples(st.just("throttle"), st.sampled_from([0.0, 0.5, 0.9]))
# Half of the acts at the destination end in the middle, as an algorithm's own control loop does.
push = st.tuples(
    st.just("push"),
    st.fixed_dictionaries(
        {"prepaging": st.sampled_from(["none", "forward"])},
        optional={
            "until": moment,
            "demand": st.booleans(),
            "background": st.booleans(),
            "order": st.integers(0, 2**32 - 1),
        },
    ),
)


def random_accesses(
    seed: int, pages: int, count: int, seconds: float
) -> list[tuple[float, int, bool]]:
    draw = random.Random(seed)
    focus = draw.randint(1, pages)  # from one page hit by all to all pages hit alike
    return [
        (time, draw.randrange(focus) if draw.random() < 0.8 else draw.randrange(pages),
         draw.random() < 0.7)
        for time in sorted(draw.uniform(0, seconds) for _ in range(count))
    ]  # fmt: skip


class Pair:
    """Engine and oracle, driven by the same acts and compared after each of them."""

    def __init__(self, pages: int, count: int, seed: int, link: Link, vm: dict[str, Any]) -> None:
        self.pages, self.seed = pages, seed
        # Long enough to send all a few times and to see some round trips.
        page_seconds = (PAGE + 8) / link.goodput if math.isfinite(link.rate) else 1e-5
        self.scale = 2 * pages * page_seconds + 4 * link.rtt
        shape = machine(pages, **vm)
        accesses = random_accesses(seed, pages, count, 4 * self.scale)
        self.engine = Migration(shape, Listed(accesses, pages), link)
        self.oracle = Oracle(shape, accesses, link)
        self.idled = False
        self.dirty: set[int] = set()
        self.left: set[int] = set()

    def pick(self, what: str | int) -> set[int]:
        if isinstance(what, int):
            draw = random.Random(what)
            return {page for page in range(self.pages) if draw.random() < 0.4}
        everything = set(range(self.pages))
        known = {"dirty": self.dirty, "left": self.left, "nothing": set()}
        return {"everything": everything, **known}[what]

    def bitmap(self, pages: set[int]) -> Pages:
        return Pages.of(sorted(pages), size=self.pages)

    def check(self) -> None:
        engine, oracle = self.engine, self.oracle
        assert engine.now == pytest.approx(oracle.now, rel=1e-9, abs=1e-12)
        assert set(engine._guest.stale.indices().tolist()) == oracle.stale
        assert set(engine._guest.log.indices().tolist()) == oracle.log
        if oracle.away:
            assert set(engine.missing.indices().tolist()) == oracle.missing

    def send(self, what: str | int, options: dict[str, Any]) -> None:
        pages = self.pick(what)
        given_options = dict(options)
        given_options["start"] = min(options.get("start", 0), self.pages)
        if "until" in options:
            given_options["until"] = self.engine.now + options["until"] * self.scale
        done = self.engine.send(self.bitmap(pages), **given_options)
        count, size, left = self.oracle.send(pages, **given_options)
        assert (done.pages, done.bytes) == (count, size)
        assert set(done.left.indices().tolist()) == left
        self.left = left

    def take_dirty(self) -> None:
        self.dirty = self.oracle.take_dirty()
        assert set(self.engine.take_dirty().indices().tolist()) == self.dirty

    def wait(self, moment: float) -> None:
        self.engine.wait(moment * self.scale)
        self.oracle.wait(moment * self.scale)

    def throttle(self, share: float) -> None:
        self.engine.throttle(share)
        self.oracle.throttle(share)

    def pause(self) -> None:
        self.engine.pause()
        self.oracle.pause()

    def resume(self, what: str | int) -> None:
        missing = self.pick(what)
        self.engine.resume(self.bitmap(missing))
        self.oracle.resume(missing)
        assert set(self.engine._switch.exposed.indices().tolist()) == self.oracle.exposed

    def push(self, options: dict[str, Any]) -> None:
        given_options = dict(options)
        if "until" in options:
            given_options["until"] = self.engine.now + options["until"] * self.scale
        elif not options.get("background", True):
            return
        if not options.get("demand", True):
            given_options["background"] = True
        self.idled |= not given_options.get("background", True)
        order = sorted(self.pick(options["order"])) if "order" in options else []
        random.Random(len(order)).shuffle(order)
        given_options["order"] = np.array(order, np.int64)
        self.engine.push(**given_options)
        given_options["order"] = tuple(order)
        self.oracle.push(**given_options)

    def act(self, act: tuple[Any, ...]) -> None:
        getattr(self, act[0])(*act[1:])
        self.check()

    def finish(self) -> None:
        ledger, wanted = self.engine.close(), self.oracle.close()
        for name in ("seconds", "downtime", "throttled", "tracking", "stalled", "guest"):
            assert getattr(ledger, name) == pytest.approx(wanted[name], rel=1e-9, abs=1e-11), name
        for name in ("faults", "requests", "zero_pages", "carried"):
            assert getattr(ledger, name) == wanted[name], name
        # While the link idles for a request, vCPUs may be replayed ahead of the end of the push.
        ahead = ledger.accesses - wanted["accesses"]
        assert ahead >= 0 if self.idled else ahead == 0
        assert ledger.sent_by_kind.ravel().tolist() == wanted["sent"]
        latencies = self.oracle.latencies if self.oracle.away else []
        assert sorted(ledger.latencies) == pytest.approx(sorted(latencies), rel=1e-7, abs=1e-11)
        event(f"faults: {min(3, wanted['faults'])}")
        spent = ledger.guest + ledger.throttled + ledger.tracking + ledger.paused + ledger.stalled
        assert spent == pytest.approx(ledger.seconds, rel=1e-9, abs=1e-12)


guests = {
    "link": st.sampled_from(sorted(LINKS)),
    "vm": machines,
    "pages": st.sampled_from([2, 5, 64, 65, 100, 150]),
    "count": st.sampled_from([0, 20, 200, 1000]),
    "seed": st.integers(0, 2**32 - 1),
}


@given(**guests, plan=st.lists(st.one_of(send, send, sync, sync, waiting, throttle), max_size=10))
def test_acts_at_the_source(
    link: str, vm: dict[str, Any], pages: int, count: int, seed: int, plan: list[Any]
) -> None:
    pair = Pair(pages, count, seed, LINKS[link], vm)
    for act in plan:
        pair.act(act)
    pair.finish()


@given(
    **guests,
    cost=st.sampled_from([1e-6, 1e-4, 5e-3]),
    plan=st.lists(st.one_of(send, sync, sync, waiting), max_size=10),
)
@settings(max_examples=50)
def test_the_cost_of_first_writes(
    link: str, vm: dict[str, Any], pages: int, count: int, seed: int, cost: float, plan: list[Any]
) -> None:
    pair = Pair(pages, count, seed, LINKS[link], {**vm, "first_write_seconds": cost})
    for act in [("take_dirty",), *plan]:
        pair.act(act)
    pair.finish()


@given(
    **guests,
    before=st.lists(st.one_of(send, sync, waiting, throttle), max_size=4),
    missing=st.one_of(st.just("everything"), chosen),
    after=st.lists(st.one_of(push, push, waiting), min_size=1, max_size=6),
    to_the_end=st.booleans(),
)
@settings(max_examples=300)
@example(
    link="gigabit",
    vm={"vcpus": 3},
    pages=100,
    count=300,
    seed=1,
    before=[],
    missing="everything",
    after=[("wait", 0.5), ("push", {"prepaging": "forward", "until": 0.2}), ("wait", 0.1)],
    to_the_end=True,
)
def test_acts_on_both_sides(
    link: str,
    vm: dict[str, Any],
    pages: int,
    count: int,
    seed: int,
    before: list[Any],
    missing: str | int,
    after: list[Any],
    to_the_end: bool,
) -> None:
    pair = Pair(pages, count, seed, LINKS[link], vm)
    for act in [*before, ("pause",), ("resume", missing), *after]:
        pair.act(act)
    if to_the_end:
        pair.act(("push", {"prepaging": "none"}))
        assert not pair.engine.missing
    pair.finish()
