"""The push of post-copy while no virtual CPU meets a missing page: stretches of pages, at once.

Between two faults nothing but the link decides when the push sends a page, and its place in the
push decides which: each pivot grows by contiguous pages, in turn with the others. So the pages that
leave before the next access to a missing page, the next request and the next wake-up are ranges,
and their times follow from how many go before. Whatever is not that plain (a given order, rate
limits, curves that bend, pivots that run into each other, the faults themselves) is left to
`migsim._kernels.destination.run_destination`, to the same bit.
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.curve import departure, earlier_segment
from migsim._kernels.push import takes_at
from migsim._kernels.sets import Bitmap, has, remove
from migsim._kernels.streams import book, find_streams, measure
from migsim._types import Floats, Integers, Record

__all__ = ["FEWEST", "NO_ROOM", "push_in_bulk"]

FEWEST = 4
"""Pages that go one by one as fast as in bulk."""

NO_ROOM = -1

_REACH = 1 << 14
"""Pages to look ahead at first: few enough to be looked at again after each fault."""
_FAR = 1 << 40


# ---- when they leave ----------------------------------------------------------------------------


@jit
def _chosen_at(s: Record, place: int, size: int, curve: Record) -> float:
    """Return when the page behind ``place`` others is chosen."""
    stream, ready = s.stream + place * size, s.ready
    if place > 0:
        ready = max(ready, departure(stream, s.segment, curve) + s.shift)
    return takes_at(s, stream, ready, curve)


@jit
def _arrives_at(s: Record, place: int, size: int, curve: Record) -> float:
    """Return when the page behind ``place`` others arrives."""
    left = departure(s.stream + (place + 1) * size, s.segment, curve) + s.shift
    return max(s.ready, left) + s.half_trip


@jit
def _room(s: Record, size: int, curve: Record) -> int:
    """Return how many pages lie in one segment of the curve, in all that their times depend on."""
    here = curve[s.segment]
    most = (s.curve_end - s.page_bytes - s.header_bytes - s.stream) // size + 1
    if s.segment + 1 < curve.size:
        most = min(most, (curve[s.segment + 1].bytes - s.stream) // size)
    for ahead in (here.queue, here.backlog):
        if ahead > 0:
            behind = earlier_segment(max(0, s.stream - ahead), s.queue_segment, curve)
            if behind + 1 < curve.size:
                most = min(most, (curve[behind + 1].bytes - s.stream + ahead) // size + 1)
    return most


@jit
def _fitting(s: Record, most: int, size: int, below: float, stop: float, curve: Record) -> int:
    """Return how many of ``most`` pages are chosen before ``below`` and before what is at ``stop``.

    What happens at the destination counts once the source could know.
    """
    low, high, tried = 0, max(0, most), most
    while low < high:  # everything fits, as a rule
        chosen = _chosen_at(s, tried - 1, size, curve)
        if chosen < below and chosen - s.request_delay <= stop:
            low = tried
        else:
            high = tried - 1
        tried = (low + high + 1) >> 1
    return low


@jit
def _landed_by(s: Record, most: int, size: int, horizon: float, curve: Record) -> int:
    """Return how many of ``most`` pages arrive before ``horizon``."""
    low, high = 0, most
    while low < high:
        middle = (low + high) >> 1
        if _arrives_at(s, middle, size, curve) < horizon:
            low = middle + 1
        else:
            high = middle
    return low


# ---- the guest ----------------------------------------------------------------------------------


@jit
def _look_ahead(
    s: Record,
    v: Record,
    step: int,
    horizon: float,
    pages: Integers,
    times: Floats,
    missing: Bitmap,
) -> float:
    """Move a vCPU to its next access to a missing page, or to the first not before ``horizon``.

    Returns when the former happens at the earliest, infinite if not before ``horizon``.
    """
    v.began = v.next
    anchor_real, anchor_guest, lag, free = s.anchor_real, s.anchor_guest, v.lag, v.free
    index, stop = v.next - s.buffer_first, np.inf
    due, when = v.due, v.time
    while index < pages.size:
        due = anchor_real + (times[index] - anchor_guest) + lag
        when = max(due, free)
        if when >= horizon:
            break
        page = pages[index]
        if has(missing, page if page >= 0 else ~page):
            stop = when
            break
        index += step
    if index >= pages.size:
        stop = when  # what comes then is not known yet
    v.next, v.due, v.time = index + s.buffer_first, due, when
    return stop


@jit
def _go_back(s: Record, v: Record, step: int, horizon: float, times: Floats) -> None:
    """Take back accesses that a vCPU was moved over but that do not happen before ``horizon``."""
    while v.next > v.began:
        due = s.anchor_real + (times[v.next - step - s.buffer_first] - s.anchor_guest) + v.lag
        if max(due, v.free) < horizon:
            break
        v.next -= step
        v.due, v.time = due, max(due, v.free)


@jit
def _run_guest(
    s: Record,
    vcpus: Record,
    most: int,
    size: int,
    stop: float,
    pages: Integers,
    times: Floats,
    missing: Bitmap,
    curve: Record,
) -> int:
    """Let the vCPUs run while pages leave; return how many do before one needs a missing page."""
    horizon = _chosen_at(s, most - 1, size, curve) - s.request_delay
    limit = horizon
    for k in range(vcpus.size):
        v = vcpus[k]
        v.began = v.next
        if v.waits_for < 0 and v.time < limit:
            stop = min(stop, _look_ahead(s, v, vcpus.size, limit, pages, times, missing))
            limit = min(limit, stop)
    if limit == horizon:
        return most
    most = _fitting(s, most, size, np.inf, stop, curve)
    horizon = -np.inf
    if most >= FEWEST:
        horizon = _chosen_at(s, most - 1, size, curve) - s.request_delay
    for k in range(vcpus.size):
        if vcpus[k].time >= horizon:
            _go_back(s, vcpus[k], vcpus.size, horizon, times)
    return most


@jit
def _lands_at(s: Record, page: int, flight_page: Integers, flight_at: Floats) -> float:
    """Return when a page in flight arrives."""
    at = s.flight_head
    for _ in range(s.flight_count):
        if flight_page[at] == page:
            return float(flight_at[at])
        at = (at + 1) & (flight_page.size - 1)
    return -np.inf


# ---- both ---------------------------------------------------------------------------------------


@jit
def _note_windows(s: Record, most: int, size: int, curve: Record) -> None:
    """Count the bytes of each window of time: without a quota now, there may be one later."""
    first = 0
    last = _chosen_at(s, most - 1, size, curve)
    while last >= s.window_began + s.window:
        first = _fitting(s, most, size, s.window_began + s.window, np.inf, curve)
        s.window_began, s.window_bytes = _chosen_at(s, first, size, curve), 0
    s.window_bytes += (most - first) * size


@jit
def _fly(
    s: Record,
    streams: Record,
    found: int,
    first: int,
    most: int,
    size: int,
    flight_page: Integers,
    flight_at: Floats,
    curve: Record,
) -> None:
    """Note the pages from number ``first`` on as being in flight."""
    tail = (s.flight_head + s.flight_count) & (flight_page.size - 1)
    which, further = first % found, first // found
    for place in range(first, most):
        stream = streams[which]
        flight_page[tail] = stream.page - further if stream.down else stream.page + further
        flight_at[tail] = _arrives_at(s, place, size, curve)
        tail = (tail + 1) & (flight_page.size - 1)
        which += 1
        if which == found:
            which = 0
            further += 1
    s.flight_count += most - first


@jit
def push_in_bulk(
    state: Record,
    vcpus: Record,
    pages: Integers,
    times: Floats,
    todo: Bitmap,
    missing: Bitmap,
    nonzero: Bitmap,
    sent: Bitmap,
    left: Integers,
    right: Integers,
    flight_page: Integers,
    flight_at: Floats,
    streams: Record,
    curve: Record,
    sent_by_kind: Integers,
) -> int:
    """Push pages until something else happens; return how many, or `NO_ROOM` in flight.

    Arguments as for `run_destination`, with no given order left, no rate limit, no CPU time of
    pages, and bytes that are not kept track of; ``streams`` is scratch for as many places as the
    push goes on from.
    """
    s = state[0]
    reach = max(s.reach, _REACH)
    most = min(_room(s, s.page_bytes + s.header_bytes, curve), reach, s.unsent)
    chosen = _chosen_at(s, 0, 0, curve)
    if most < FEWEST or s.sender_free > chosen or chosen < s.window_began:
        return 0
    found = find_streams(s, todo, left, right, streams)
    zeros = not has(nonzero, streams[0].page)
    size = (1 if zeros else s.page_bytes) + s.header_bytes
    if departure(s.stream + size, s.segment, curve) + s.shift < s.ready:
        return 0
    below, stop = s.until, np.inf
    if s.blocked > 0:
        for k in range(vcpus.size):
            v = vcpus[k]
            if v.waits_for >= 0 and has(todo, v.waits_for):
                below = min(below, v.request)
            elif v.waits_for >= 0:
                stop = min(stop, _lands_at(s, v.waits_for, flight_page, flight_at))
    most = _fitting(s, most, size, below, stop, curve)
    most = measure(vcpus, s.blocked, todo, nonzero, zeros, streams, found, most)
    if most < FEWEST:
        return 0
    most = _run_guest(s, vcpus, most, size, stop, pages, times, missing, curve)
    if most < FEWEST:
        return 0
    chosen = _chosen_at(s, most - 1, size, curve)
    horizon = chosen - s.request_delay
    while s.flight_count > 0 and flight_at[s.flight_head] < horizon:
        remove(missing, flight_page[s.flight_head])
        s.flight_head = (s.flight_head + 1) & (flight_page.size - 1)
        s.flight_count -= 1
    landed = _landed_by(s, most, size, horizon, curve)
    if s.flight_count + most - landed > flight_page.size:
        return NO_ROOM
    book(s, streams, found, most, landed, zeros, todo, missing, sent, left, right, sent_by_kind)
    _fly(s, streams, found, landed, most, size, flight_page, flight_at, curve)
    s.now = max(s.now, chosen)  # and nothing has arrived after that
    s.sender_free = chosen
    _note_windows(s, most, size, curve)
    s.unsent -= most
    s.ready = max(s.ready, departure(s.stream + most * size, s.segment, curve) + s.shift)
    s.stream += most * size
    s.reach = min(_FAR, 4 * reach) if most == reach else _REACH
    return most
