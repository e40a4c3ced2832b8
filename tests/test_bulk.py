"""Pages that leave in bulk against the same pages one by one: to the bit, and with less work."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import Listed, machine, preset
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_cutting import state

from migsim import InputError, Link, Migration, Pages, Steady, make_workload, source
from migsim._kernels.sets import BLOCK
from migsim.accesses import AccessWindow
from migsim.limits import GaveUp
from migsim.network import Plans
from migsim.network.sharing import Grant
from migsim.source import Source
from migsim.watch import Watch
from migsim.workload import Workload, sweep_of

PAGES = 2 * BLOCK + 6500
LINKS = {
    "10g": preset("10g"),
    "long": preset("long_distance"),
    "lossy": Link(rate=500e6, rtt=2e-3, loss=1e-4, jitter=1e-4, queue="256KiB"),
    "timed": Link(rate=500e6, rtt=1e-3, outages="30ms+5ms", trace="step(at=0.1s, to=300MB/s)"),
    "unlimited": Link(rate=math.inf, rtt=0.0),
}
SECONDS = PAGES * 4104 / 500e6
seeds = st.integers(0, 2**32 - 1)


def random_writes(seed: int, count: int) -> Workload:
    """Return writes and reads that crowd around a moving place, around a fixed one, or nowhere."""
    draw = np.random.default_rng(seed)
    times = np.sort(draw.uniform(0, 3 * SECONDS, count))
    kind = draw.integers(0, 3)
    if kind == 0:
        pages = draw.integers(0, PAGES, count)
    elif kind == 1:
        pages = draw.integers(0, PAGES) + draw.integers(-300, 300, count)
    else:  # about as fast as pages leave
        pages = (times / SECONDS * PAGES * draw.uniform(0.5, 1.5)).astype(int)
        pages += draw.integers(-200, 200, count)
    accesses = zip(times.tolist(), (pages % PAGES).tolist(), draw.random(count) < 0.8, strict=True)
    return Listed([(time, page, bool(write)) for time, page, write in accesses], PAGES)


def sweeping(seed: int, count: int) -> Workload:
    """Return writes in order, whose closed form the engine knows."""
    shape, share = machine(PAGES), 1 + seed % 3
    rate = count / (3 * SECONDS)
    text = f"sequential(rate={rate!r}, working_set={4096 * (PAGES // share)}, offset=8KiB)"
    return make_workload(text if share > 1 else text.replace("8KiB", "0"), shape, seed)


acts = st.lists(
    st.tuples(
        st.sampled_from(["all", "dirty", "some", "ends"]),
        st.one_of(st.just(0), st.integers(0, PAGES)),
        st.sampled_from([None, "until", "bytes"]),
        st.floats(0.01, 1.0),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


def drive(handle: Migration, plan: list[Any], seed: int) -> Any:
    """Let one act follow another, as algorithms do, and return all that they have led to."""
    draw = np.random.default_rng(seed)
    counts = []
    for what, start, limit, share, buffered in plan:
        pages = handle.everything
        if what == "dirty":
            pages = handle.take_dirty()
        elif what == "some":
            pages = Pages.of(np.flatnonzero(draw.random(PAGES) < share), size=PAGES)
        elif what == "ends":
            pages = Pages.range(0, 40, size=PAGES) | Pages.range(PAGES - 40, PAGES, size=PAGES)
        bound: dict[str, Any] = {}
        if limit == "until":
            bound = {"until": handle.now + share * SECONDS}
        elif limit == "bytes":
            bound = {"max_bytes": int(share * PAGES * 4104)}
        sent = handle.send(pages, start=start, buffered=buffered, **bound)
        counts.append((sent.pages, sent.bytes, sent.seconds, sent.next_page, len(sent.left)))
        handle.wait(1e-3)
    return counts, state(handle)


def both(make: Any, plan: list[Any], seed: int) -> None:
    bulk, single = make(), make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "_goes_in_bulk", lambda *_: False)
        expected = drive(single, plan, seed)
    assert drive(bulk, plan, seed) == expected


@given(
    seeds,
    st.sampled_from(sorted(LINKS)),
    acts,
    st.integers(0, 20_000),
    st.booleans(),
    st.fixed_dictionaries(
        {
            "zero_fraction": st.sampled_from([0.0, 0.0, 0.3, 1.0]),
            "dirty_log": st.sampled_from(["sync", "send"]),
            "clear_chunk": st.sampled_from([4096 * 1024, 1 << 30]),
        }
    ),
)
@settings(max_examples=60)
@example(1, "10g", [("all", 0, None, 1.0, False)] * 2, 20_000, True, {})
def test_to_the_bit(
    seed: int, link: str, plan: list[Any], count: int, sweep: bool, vm: dict[str, Any]
) -> None:
    workload = (sweeping if sweep else random_writes)(seed, count)
    both(lambda: Migration(machine(PAGES, **vm), workload, LINKS[link]), plan, seed)


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.5])
def test_a_writer_beside_the_cursor(rate: float) -> None:
    """Each page is written in about the moment in which it leaves."""
    link = LINKS["10g"]
    turn = 4104 / link.goodput
    accesses = [(0.5 * turn + 1e-4 + page * turn * rate, page, True) for page in range(PAGES)]
    workload = Listed(accesses, PAGES)
    plan = [("all", 0, None, 1.0, buffered) for buffered in (False, True)]
    both(lambda: Migration(machine(PAGES), workload, link), plan, 0)


def test_what_is_idle_is_not_touched() -> None:
    """A guest of 24 TiB takes flags only, and its words stay untouched."""
    shape = machine(24 << 28)
    handle = Migration(shape, make_workload("idle", shape, 0), preset("100g"))
    sent = handle.send(handle.everything)
    assert sent.pages == 24 << 28
    for pages in (handle._guest.sent, handle._guest.stale, sent.left):
        assert (pages.bits.blocks == 1).sum() <= 2  # where pages went one by one


class Grants:
    """Half of the path, asked for again every 10 ms; keeps what it is told of the plans."""

    gang = None

    def __init__(self) -> None:
        self.planned: list[float] = []

    def grant(self, now: float, busy_since: float, plans: Plans) -> Grant:
        self.planned.append(plans.bytes)
        return Grant(part=0.5, cpu=1.0, until=now + 0.01)


def test_plans_count_what_was_written_meanwhile() -> None:
    """Pages that were zero when they were asked for, and are not any more, take their size."""
    shape = machine(PAGES, zero_fraction=1.0)
    writes = [(1e-3 + 1e-6 * k, PAGES - 1 - k, True) for k in range(1000)]
    grants, link = Grants(), Link(rate=1e6, rtt=1e-4)
    handle = Migration(shape, Listed(writes, PAGES), link, share=grants)
    handle.send(handle.everything, until=0.1)
    assert grants.planned[0] == 0
    size = 4096 + link.message_header
    assert 900 * size < max(grants.planned) <= 1000 * size  # less what is drawn already


def test_a_limit_within_a_partial_block() -> None:
    """What was chosen of an earlier block says nothing about the last one, which is shorter."""
    size = 2 * BLOCK + 6400
    handle = Migration(machine(size), Listed([], size), LINKS["10g"])
    mixed = Pages.range(100, BLOCK, size=size)
    handle.send(mixed)
    last = Pages.range(2 * BLOCK, size, size=size)
    sent = handle.send(last, max_bytes=3000 * 4104)
    assert sent.next_page == 2 * BLOCK + 3000


def test_a_lost_connection_clears_no_chunk() -> None:
    """The page that could not leave any more stays in the log with all of its chunk."""
    link = Link(rate=500e6, rtt=1e-3, outages="10ms+1h")

    def logged() -> tuple[int, int]:
        shape = machine(PAGES, dirty_log="send", clear_chunk=4096)
        handle = Migration(shape, Listed([], PAGES), link)
        with pytest.raises(GaveUp):
            handle.send(handle.everything)
        return len(handle._guest.log), len(handle._guest.sent)

    left, sent = logged()
    assert left == PAGES - sent


class Other(Steady):
    """Says that it sweeps, and does something else."""

    def accesses(self, first: int, pages: Any, times: Any) -> None:
        super().accesses(first, pages, times)
        pages[::2] = 7


def test_what_a_workload_says_of_itself_is_looked_at() -> None:
    def draw(first: int, out: Any) -> None:
        out[:] = (first + np.arange(out.size)) % 100

    made: dict[str, Any] = {"rate": 1000.0, "read_fraction": 0.0, "draw": draw}
    assert sweep_of(Steady(pages=100, sweep_from=(0, 100, 0), **made)) is not None
    assert sweep_of(Other(pages=100, sweep_from=(0, 100, 0), **made)) is None
    beyond = Steady(pages=100, sweep_from=(1, 100, 0), **made)
    with pytest.raises(InputError, match="expected one of pages below 100"):
        AccessWindow(beyond)
    listed = Listed([(0.1, 5, True)], PAGES)
    listed.sweep = 3  # type: ignore[attr-defined]
    assert sweep_of(listed) is None


@given(seeds, acts, st.sampled_from(["sync", "send"]), st.booleans())
@settings(max_examples=25)
def test_accesses_that_change_nothing_are_not_made(
    seed: int, plan: list[Any], dirty_log: str, watched: bool
) -> None:
    """A guest that has long written all its working set, which is a few pages or a few blocks."""
    shape = machine(PAGES, dirty_log=dirty_log, clear_chunk=1 << 27 + seed % 3)
    size = (300, BLOCK, BLOCK + 70)[seed % 3]
    rate = 100 * size / SECONDS
    made = make_workload(f"uniform(rate={rate!r}, working_set={4096 * size})", shape, seed)

    def migration() -> Migration:
        watch = Watch(np.linspace(0, 3 * SECONDS, 40)) if watched else None
        return Migration(shape, made, LINKS["10g"], watch=watch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_LOOK_EVERY", 1)
        patch.setattr(AccessWindow, "BLOCK", 1 << 12)
        both(migration, plan, seed)


def test_how_many_accesses_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    shape = machine(16 * BLOCK)
    workload = make_workload(f"uniform(rate=20M, working_set={4096 * BLOCK})", shape, 1)
    assert isinstance(workload, Steady)
    inner = workload.draw

    def draw(first: int, out: Any) -> None:
        drawn.append(out.size)
        inner(first, out)

    monkeypatch.setattr(workload, "draw", draw)
    handle = Migration(shape, workload, preset("10g"))
    handle.wait(1.0)
    assert handle.close().accesses == 20_000_000
    assert sum(drawn) < 2_000_000
    assert len(handle.peek_dirty()) == BLOCK
