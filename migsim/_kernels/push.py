"""The source in post-copy: which page the push sends next, when it is chosen, and how it leaves."""

from __future__ import annotations

from migsim._jit import jit
from migsim._kernels.curve import departure, earlier_segment, segment_of, sockets_take
from migsim._kernels.sets import Bitmap, add, has, next_in, previous_in, remove
from migsim._kernels.source import RESENT
from migsim._types import Floats, Integers, Record

__all__ = ["FAULTED", "link_takes", "next_background", "takes_at", "transmit"]

FAULTED = 2
"""A further row of `sent_by_kind` than before the switch: pages that were demanded."""


@jit
def next_background(
    s: Record, todo: Bitmap, order: Integers, left: Integers, right: Integers
) -> int:
    """Return the page that the background push sends next, or -1.

    First a given order, then the pivots in turn (each grows from the page of a fault), then
    linearly from page 0.
    """
    while s.order_next < order.size:
        page = order[s.order_next]
        if has(todo, page):
            return page
        s.order_next += 1
    sides = 2 if s.both_ways else 1
    for _ in range(sides * right.size):
        turn = s.turn
        s.turn += 1
        backwards = sides == 2 and turn & 1 == 1
        k = 0
        if right.size > 1:
            k = (turn >> (sides - 1)) % right.size
        if backwards:
            page = previous_in(todo, left[k])
            left[k] = page - 1 if page >= 0 else -1
        else:
            page = next_in(todo, right[k])
            right[k] = page + 1 if page >= 0 else todo.size
        if page >= 0:
            return page
    page = next_in(todo, s.cursor)
    s.cursor = page if page >= 0 else todo.size
    return page


@jit
def _left_at(s: Record, position: int, curve: Record) -> float:
    """Return when an earlier byte of this busy period has left."""
    position = max(0, position)
    s.queue_segment = earlier_segment(position, s.queue_segment, curve)
    return departure(position, s.queue_segment, curve) + s.shift


@jit
def takes_at(s: Record, stream: int, ready: float, curve: Record) -> float:
    """Return when the page behind ``stream`` bytes, which have left by ``ready``, is chosen.

    That is when the queues ahead of its departure take it. A page enters the bottleneck's queue
    once the queue's bytes ahead of it are all that has not left. On a shared connection it enters
    the sockets before, once so many bytes are acknowledged that the rest and the page fit into
    them.
    """
    at = ready
    queue = curve[s.segment].queue
    if queue > 0:
        at = min(at, _left_at(s, stream - queue, curve))
    if not s.preempt and curve[s.segment].backlog > 0:
        freed, s.queue_segment = sockets_take(
            stream, s.segment, s.queue_segment, s.shift, s.round_trip, curve
        )
        at = min(at, freed)
    return min(ready, max(at, s.busy_since))


@jit
def link_takes(s: Record, curve: Record) -> float:
    """Return when the next page is chosen."""
    return takes_at(s, s.stream, s.ready, curve)


@jit
def _pace(s: Record, decision: float, size: int, seconds: float) -> None:
    """Keep the sending thread busy with a page, and let it sleep once a window's quota is used.

    A demanded page may wake it: it counts in the window whose quota is used anyway, and the thread
    sleeps on.
    """
    if decision < s.window_began:
        s.sender_free = max(s.sender_free, decision + seconds)
        return
    if decision >= s.window_began + s.window:
        s.window_began, s.window_bytes = decision, 0
    s.sender_free = decision + seconds
    s.window_bytes += size
    if s.quota > 0 and s.window_bytes >= s.quota:
        s.sender_free = max(s.sender_free, s.window_began + s.window)
        s.window_began, s.window_bytes = s.sender_free, 0


@jit
def transmit(
    s: Record,
    page: int,
    kind: int,
    decision: float,
    nonzero: Bitmap,
    sent: Bitmap,
    todo: Bitmap,
    flight_page: Integers,
    flight_at: Floats,
    curve: Record,
    sent_by_kind: Integers,
) -> None:
    """Put a page on the link."""
    content = s.page_bytes
    seconds = s.page_seconds
    if not has(nonzero, page):
        content = 1
        seconds = s.zero_page_seconds
        s.zero_pages += 1
    if kind != FAULTED or not s.preempt:  # otherwise a thread of its own sends it
        _pace(s, decision, content + s.header_bytes, seconds)
    if kind != FAULTED and has(sent, page):
        kind = RESENT
    sent_by_kind[kind, 0] += 1
    sent_by_kind[kind, 1] += content
    add(sent, page)
    remove(todo, page)
    s.unsent -= 1
    s.stream += content + s.header_bytes
    s.segment = segment_of(s.stream, s.segment, curve)
    left = departure(s.stream, s.segment, curve) + s.shift
    if left < decision + seconds:  # the thread is slower than the link
        s.shift += decision + seconds - left
        left = decision + seconds
    s.ready = max(s.ready, left)
    tail = (s.flight_head + s.flight_count) & (flight_page.size - 1)
    flight_page[tail] = page
    flight_at[tail] = s.ready + s.half_trip
    s.flight_count += 1
