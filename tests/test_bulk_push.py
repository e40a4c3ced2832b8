"""The push in bulk against the same push page by page: to the bit, and with less work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Listed, machine, preset
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_bulk import LINKS, PAGES, SECONDS, random_writes, seeds

from migsim import Link, Migration, Pages, make_workload
from migsim._kernels.sets import MIXED, count_range, remove_range
from migsim.destination import Destination
from migsim.limits import GaveUp, Lost

PATHS = {
    **LINKS,
    "cut": Link(rate=500e6, rtt=1e-3, outages="0.2s+1000s"),
    "cut late": Link(rate=500e6, rtt=1e-3, outages="1.2s+1000s"),
}


def reached(handle: Migration) -> tuple[Any, ...]:
    """Return all that the push and the guest have come to, what is in flight included."""
    destination = handle._destination
    assert destination is not None
    s, vcpus = destination._states[0], destination._vcpus
    flying = (s["flight_head"] + np.arange(s["flight_count"])) % destination._flight_page.size
    numbers = [
        float(s[name])
        for name in (
            "stream", "segment", "shift", "ready", "sender_free", "window_began", "window_bytes",
            "unsent", "cursor", "turn", "pivot", "now", "blocked", "faults", "requests",
            "zero_pages",
        )
    ]  # fmt: skip
    arrays = [
        destination._flight_page[flying], destination._flight_at[flying],
        *(vcpus[name] for name in ("next", "lag", "free", "stalled", "waits_for")),
        destination._sent_by_kind, *destination.latencies,
    ]  # fmt: skip
    sets = [destination.missing, destination._todo, handle._guest.sent]
    return (
        numbers,
        [array.tolist() for array in arrays],
        [pages.indices().tobytes() for pages in sets],
    )


def drive(handle: Migration, seed: int, before: str, cuts: list[float], how: Any) -> list[Any]:
    """Switch over, push with a halt at each of ``cuts``, and return how things stood there."""
    draw = np.random.default_rng(seed)
    missing = handle.everything
    seen: list[Any] = []
    try:
        if before == "some":
            missing = Pages.of(np.flatnonzero(draw.random(PAGES) < draw.random()), size=PAGES)
        elif before == "ranges":
            start, stop = np.sort(draw.integers(0, PAGES, 2))
            missing -= Pages.range(int(start), int(stop), size=PAGES)
        elif before == "sent":  # all once, and the end for a second time
            handle.send(missing)
            handle.wait(SECONDS)
            missing = handle.take_dirty() | Pages.range(PAGES // 3, PAGES, size=PAGES)
        handle.pause()
        handle.resume(missing=missing)
        began = handle.now
        for cut in cuts:
            quota = int(draw.integers(1, 2 * 10**7)) if draw.random() < 0.2 else None
            until = max(handle.now, began + cut * SECONDS)
            handle.push(**how, until=until, window_bytes=quota)
            seen.append(reached(handle))
        handle.push(**how)
    except (GaveUp, Lost) as error:
        seen.append(str(error))
    return [*seen, reached(handle) if handle._destination else handle.now]


def both(make: Any, *arguments: Any) -> None:
    bulk, single = make(), make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Destination, "_goes_in_bulk", lambda *_: False)
        expected = drive(single, *arguments)
    assert drive(bulk, *arguments) == expected


@given(
    seeds,
    st.sampled_from(sorted(PATHS)),
    st.sampled_from(["all", "some", "ranges", "sent"]),
    st.lists(st.floats(0.0, 1.2), max_size=3).map(sorted),
    st.integers(0, 20_000),
    st.fixed_dictionaries(
        {
            "prepaging": st.sampled_from(["none", "forward", "bubble", "multi"]),
            "preempt": st.booleans(),
            "demand": st.booleans(),
        }
    ),
    st.fixed_dictionaries(
        {
            "vcpus": st.sampled_from([1, 2, 5]),
            "zero_fraction": st.sampled_from([0.0, 0.0, 0.3, 1.0]),
            "catch_up": st.sampled_from([0.0, 0.01]),
            "fault_seconds": st.sampled_from([0.0, 2e-5]),
        }
    ),
)
@settings(max_examples=80)
@example(1, "10g", "all", [], 20_000, {"prepaging": "bubble"}, {"vcpus": 2})
@example(3, "cut", "all", [0.1], 20_000, {"prepaging": "forward"}, {"vcpus": 2})
@example(2, "10g", "sent", [0.3], 300, {"prepaging": "multi"}, {"vcpus": 5})
def test_to_the_bit(
    seed: int,
    link: str,
    before: str,
    cuts: list[float],
    count: int,
    how: dict[str, Any],
    vm: dict[str, Any],
) -> None:
    workload = random_writes(seed, count)
    both(lambda: Migration(machine(PAGES, **vm), workload, PATHS[link]), seed, before, cuts, how)


@pytest.mark.parametrize("rate", [0.98, 1.0, 1.02])
def test_a_reader_behind_the_push(rate: float) -> None:
    """Each page is read in about the moment in which it arrives."""
    link = LINKS["10g"]
    turn = 4104 / link.goodput
    accesses = [(link.rtt + page * turn * rate, page, False) for page in range(PAGES)]
    workload = Listed(accesses, PAGES)
    how = {"prepaging": "none"}
    both(lambda: Migration(machine(PAGES), workload, link), 0, "all", [0.5], how)


@pytest.mark.parametrize("prepaging", ["none", "forward", "bubble", "multi"])
def test_faults_at_the_same_moment(prepaging: str) -> None:
    """Of requests that reach the source together all but one wait while others leave."""
    pages = np.random.default_rng(5).integers(0, PAGES, 4000)
    accesses = [(1e-3 * (j // 4), page, True) for j, page in enumerate(pages.tolist())]
    workload, how = Listed(accesses, PAGES), {"prepaging": prepaging}
    shape = machine(PAGES, vcpus=4)
    both(lambda: Migration(shape, workload, LINKS["10g"]), 0, "all", [0.2], how)


def test_what_is_idle_is_not_touched() -> None:
    """Of 24 TiB all but a few blocks are pushed whole, and their words stay untouched."""
    shape = machine(24 << 28)
    handle = Migration(shape, make_workload("idle", shape, 0), preset("100g"))
    handle.pause()
    handle.resume(missing=handle.everything)
    handle.push()
    assert len(handle.missing) == 0
    assert (handle._guest.sent.bits.blocks == MIXED).sum() <= 12  # where a look ahead ends


@given(seeds, st.integers(0, PAGES), st.integers(0, PAGES))
@settings(max_examples=30)
def test_ranges(seed: int, start: int, stop: int) -> None:
    draw = np.random.default_rng(seed)
    pages = Pages.of(np.flatnonzero(draw.random(PAGES) < draw.random()), size=PAGES)
    if seed % 2:
        pages |= Pages.range(0, PAGES // 2, size=PAGES)
    start, stop = min(start, stop), max(start, stop)
    expected = pages - Pages.range(start, stop, size=PAGES)
    assert count_range(pages.bits, start, stop) == len(pages) - len(expected)
    remove_range(pages.bits, start, stop)
    pages.touched()
    assert pages == expected
    assert len(pages) == len(expected)
