"""The guest at the destination with pages still missing: demand paging beside background push.

Events in order of time: a virtual CPU reaches an access, a page arrives, the source chooses the
next page. The source decides what leaves next before it leaves: by the time that the bottleneck's
queue takes and, on a shared connection, the sockets. Requests that have reached it by then go
first, oldest first, as QEMU and Xen do.
Virtual CPU v makes the accesses j with j % vcpus == v and blocks alone.
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.bulk_push import FEWEST, NO_ROOM, push_in_bulk
from migsim._kernels.encoding import Memory, change_bytes, copy_page, note_change
from migsim._kernels.push import FAULTED, link_takes, next_background, transmit
from migsim._kernels.sets import Bitmap, add, has, remove
from migsim._kernels.source import DONE, FIRST, NEED_ACCESSES, NEED_BUSY_PERIOD, NEED_CURVE
from migsim._types import Floats, Integers, Record

__all__ = [
    "DESTINATION_STATE",
    "NEED_FLIGHT_ROOM",
    "NEED_LATENCY_ROOM",
    "VCPU",
    "run_destination",
]

# Further things that may be needed than at the source.
NEED_FLIGHT_ROOM = 4
NEED_LATENCY_ROOM = 5

_MOST_PATIENCE = 500
"""Pages that go one by one, at most, before it is tried to go on in bulk."""

DESTINATION_STATE = np.dtype(
    [
        # the guest's clock: real = anchor_real + (guest - anchor_guest) + lag of the vCPU
        ("anchor_real", "f8"),
        ("anchor_guest", "f8"),
        ("buffer_first", "i8"),  # number of the first access in the buffer
        # the link
        ("stream", "i8"),
        ("segment", "i8"),
        ("shift", "f8"),
        ("ready", "f8"),
        ("curve_end", "i8"),  # the byte up to which the curve is known
        ("preempt", "i8"),  # demanded pages do not wait for what lies in the sockets
        ("round_trip", "f8"),  # until an acknowledgement makes room in them
        ("down", "i8"),  # the link is gone for good
        ("queue_segment", "i8"),
        ("busy_since", "f8"),
        ("restarts", "i8"),  # a gap begins a new busy period
        ("idle_until", "f8"),  # for `NEED_BUSY_PERIOD`: when the sender has something to send
        ("half_trip", "f8"),  # propagation delay, one way
        ("request_delay", "f8"),  # from a fault to the request's arrival at the source
        ("fault_seconds", "f8"),  # CPU time of a fault: trap, place the page, wake the vCPU
        ("catch_up", "f8"),  # seconds of work that a vCPU makes up for after a fault
        # the sending thread, and its rate limit: a quota of bytes for each window of time
        ("sender_free", "f8"),  # when it is done with the page before
        ("page_seconds", "f8"),
        ("zero_page_seconds", "f8"),
        ("quota", "i8"),  # bytes of a window after which it sleeps to the window's end; 0: none
        ("window", "f8"),  # seconds
        ("window_began", "f8"),
        ("window_bytes", "i8"),
        ("demand_limited", "i8"),  # demanded pages wait for the window's end, too
        ("page_bytes", "i8"),
        ("header_bytes", "i8"),
        # what is to be done
        ("hold", "f8"),  # the guest runs at least until then
        ("until", "f8"),  # no page starts and no event happens then or later
        ("background", "i8"),
        ("demand", "i8"),  # faults send requests
        ("unsent", "i8"),  # pages in `todo`
        ("cursor", "i8"),  # the linear push; only ever moves forward
        ("singly", "i8"),  # pages to send before it is tried to go on in bulk,
        ("patience", "i8"),  # how many they were at the last attempt,
        ("reach", "i8"),  # and how many pages are looked at in the next
        ("order_next", "i8"),
        ("both_ways", "i8"),  # pivots grow in both directions
        ("turn", "i8"),
        ("pivot", "i8"),  # the pivot that the next fault replaces
        ("soonest", "f8"),  # no vCPU that does not wait makes an access before
        # in flight: a ring of pages and their arrival times; its size is a power of two
        ("flight_head", "i8"),
        ("flight_count", "i8"),
        ("blocked", "i8"),  # vCPUs that wait
        # what was done
        ("now", "f8"),
        ("faults", "i8"),
        ("requests", "i8"),
        ("latencies", "i8"),
        ("zero_pages", "i8"),
    ]
)

VCPU = np.dtype(
    [
        ("next", "i8"),  # number of its next access
        ("time", "f8"),  # and when it comes, unless the vCPU blocks
        ("lag", "f8"),
        ("due", "f8"),  # when its next access was to come
        ("began", "i8"),  # its next access before it was moved ahead
        ("free", "f8"),  # when it was last woken up
        ("stalled", "f8"),  # how long it has waited for pages
        ("waits_for", "i8"),  # the missing page that blocks it, or -1
        ("since", "f8"),
        ("request", "f8"),  # when its request reaches the source; infinite without one
    ]
)


@jit
def _write(memory: Memory, nonzero: Bitmap, page: int, access: int, change: int) -> None:
    """Let the guest change the bytes of a page that the destination has."""
    if change == 0:
        return
    blank = not has(nonzero, page)
    change_bytes(memory, memory.there[page], page, access, change, blank)
    change_bytes(memory, memory.truth[page], page, access, change, blank)
    note_change(memory, page, change, blank)
    add(nonzero, page)


@jit
def _skip_hits(
    s: Record,
    v: Record,
    step: int,
    horizon: float,
    pages: Integers,
    times: Floats,
    changes: Integers,
    memory: Memory,
    missing: Bitmap,
    nonzero: Bitmap,
) -> bool:
    """Move a vCPU to its first access that is missing or not before ``horizon``.

    False where the buffer ends first. Looking ahead is safe: pages only ever arrive.
    """
    anchor_real, anchor_guest, first = s.anchor_real, s.anchor_guest, s.buffer_first
    lag, free, due, when = v.lag, v.free, v.due, v.time
    index = v.next - first
    while index < pages.size:
        due = anchor_real + (times[index] - anchor_guest) + lag
        when = max(due, free)
        if when >= horizon:
            break
        page = pages[index]
        if page < 0:
            page = ~page
        if has(missing, page):
            break
        if memory.truth.shape[0] > 0 and pages[index] >= 0:
            _write(memory, nonzero, page, index + first, changes[index])
        index += step
    v.next, v.due, v.time = index + first, due, when
    return index < pages.size


@jit
def _land_page(
    s: Record,
    vcpus: Record,
    page: int,
    at: float,
    memory: Memory,
    missing: Bitmap,
    latency: Floats,
) -> None:
    """Let a page arrive at the destination and wake whoever waits for it."""
    remove(missing, page)
    if memory.truth.shape[0] > 0:
        copy_page(memory, page)
    if s.blocked == 0:
        return
    for k in range(vcpus.size):
        v = vcpus[k]
        if v.waits_for == page:
            s.blocked -= 1
            waited = at + s.fault_seconds - v.since
            latency[s.latencies] = waited
            s.latencies += 1
            v.stalled += waited
            v.time += waited
            if v.time - v.due <= s.catch_up:
                v.free = v.time
            else:
                v.lag += v.time - v.due
            s.soonest = min(s.soonest, v.time)
            v.waits_for = -1
            v.request = np.inf


@jit
def _fault(s: Record, vcpus: Record, k: int, page: int, todo: Bitmap) -> bool:
    """Block vCPU ``k`` on ``page``; return whether a request goes to the source."""
    v = vcpus[k]
    s.faults += 1
    already = False
    for other in range(vcpus.size):
        already = already or vcpus[other].waits_for == page
    s.blocked += 1
    v.waits_for = page
    v.since = v.time
    if already or not s.demand:
        return False
    s.requests += 1
    if not has(todo, page):
        return False  # the source has sent it already; the request finds nothing to do
    v.request = v.time + s.request_delay
    return True


@jit
def _events(
    s: Record,
    vcpus: Record,
    horizon: float,
    stop_at_request: bool,
    pages: Integers,
    times: Floats,
    changes: Integers,
    memory: Memory,
    nonzero: Bitmap,
    todo: Bitmap,
    missing: Bitmap,
    flight_page: Integers,
    flight_at: Floats,
    latency: Floats,
) -> int:
    """Let all events before ``horizon`` happen: arrivals, faults, wake-ups."""
    while True:
        arrival = flight_at[s.flight_head] if s.flight_count > 0 else np.inf
        who = -1
        if s.soonest < min(arrival, horizon):
            s.soonest = np.inf
            for k in range(vcpus.size):
                v = vcpus[k]
                if v.waits_for < 0 and v.time < s.soonest:
                    s.soonest = v.time
                    who = k
        soonest = min(s.soonest, horizon)
        if arrival < horizon and arrival <= soonest:
            if s.latencies + vcpus.size > latency.size:
                return NEED_LATENCY_ROOM
            _land_page(s, vcpus, flight_page[s.flight_head], arrival, memory, missing, latency)
            s.flight_head = (s.flight_head + 1) & (flight_page.size - 1)
            s.flight_count -= 1
            s.now = max(s.now, arrival)
            continue
        if soonest >= horizon:
            return DONE
        v = vcpus[who]
        before = min(arrival, horizon)
        if not _skip_hits(
            s, v, vcpus.size, before, pages, times, changes, memory, missing, nonzero
        ):
            return NEED_ACCESSES
        # Only now is it known when this vCPU faults; another may fault sooner, so look again.
        if v.time <= soonest and v.time < before:
            page = pages[v.next - s.buffer_first]
            if page < 0:
                page = ~page
            if _fault(s, vcpus, who, page, todo) and stop_at_request:
                return DONE


@jit
def _oldest_request(s: Record, vcpus: Record, todo: Bitmap) -> int:
    """Return the vCPU whose request reaches the source first, or -1.

    A request for a page that the push has sent meanwhile is dropped, as the source would.
    """
    first = -1
    if s.blocked == 0:
        return first
    at = np.inf
    for k in range(vcpus.size):
        v = vcpus[k]
        if v.request < at:
            if not has(todo, v.waits_for):
                v.request = np.inf
                continue
            at = v.request
            first = k
    return first


@jit
def _last_landing(s: Record, flight_at: Floats) -> float:
    """Return a time just after the last page in flight arrives."""
    if s.flight_count == 0:
        return -np.inf
    last = (s.flight_head + s.flight_count - 1) & (flight_at.size - 1)
    return np.nextafter(flight_at[last], np.inf)


@jit
def run_destination(
    state: Record,
    vcpus: Record,
    pages: Integers,
    times: Floats,
    changes: Integers,
    memory: Memory,
    todo: Bitmap,
    missing: Bitmap,
    nonzero: Bitmap,
    sent: Bitmap,
    order: Integers,
    left: Integers,
    right: Integers,
    flight_page: Integers,
    flight_at: Floats,
    latency: Floats,
    streams: Record,
    curve: Record,
    sent_by_kind: Integers,
) -> int:
    """Run guest and push until nothing is left to do before ``state.until``.

    ``todo`` are pages that the source has not sent since the switch, ``missing`` those that the
    destination has not received; accesses, their changes and the content of memory as in
    `migsim._kernels.source.run_source`, ``streams`` as in `migsim._kernels.bulk_push.push_in_bulk`.
    Returns `DONE`, or what has to be refilled before the next call.
    """
    s = state[0]
    while True:
        if s.flight_count == flight_page.size:
            return NEED_FLIGHT_ROOM
        pushing = s.background and s.unsent > 0
        if pushing and s.singly <= 0 and s.order_next >= order.size and not s.down:
            pushed = push_in_bulk(
                state, vcpus, pages, times, todo, missing, nonzero, sent, left, right,
                flight_page, flight_at, streams, curve, sent_by_kind,
            )  # fmt: skip
            if pushed == NO_ROOM:
                return NEED_FLIGHT_ROOM
            # What ended a run is seldom over at once, and what kept one from starting even less so.
            s.patience = 1 if pushed > 0 else min(_MOST_PATIENCE, 2 * s.patience + FEWEST)
            s.singly = s.patience
            continue
        waiting = _oldest_request(s, vcpus, todo)
        link_at = link_takes(s, curve)
        sender_at = max(link_at, s.sender_free)
        demand_at = sender_at if s.demand_limited and not s.preempt else link_at
        decision = sender_at
        if not pushing and waiting >= 0:
            decision = max(demand_at, vcpus[waiting].request)
        elif pushing and demand_at < sender_at and waiting >= 0:
            decision = min(decision, max(demand_at, vcpus[waiting].request))
        # Without a request, one is looked for as long as the link idles, or as long as the sender
        # is busy or asleep, but not for a demanded page.
        looks = waiting < 0 and (not pushing or demand_at < sender_at) and not s.down
        while True:
            ends = not looks and (s.down or decision >= s.until)
            horizon = s.until
            if looks and pushing:
                horizon = min(sender_at - s.request_delay, horizon)
            elif looks and s.unsent == 0:  # with nothing left to request, this is the end
                horizon = min(horizon, max(s.hold, _last_landing(s, flight_at)))
            elif not looks and not ends:
                horizon = decision - s.request_delay
            status = _events(
                s, vcpus, horizon, looks, pages, times, changes,
                memory, nonzero, todo, missing, flight_page, flight_at, latency,
            )  # fmt: skip
            if ends or status != DONE:
                return status
            waiting = _oldest_request(s, vcpus, todo)
            if not looks:
                break
            looks = False
            if waiting >= 0:
                asked = max(demand_at, vcpus[waiting].request)
                decision = min(decision, asked) if pushing else asked
            elif not pushing:
                return status
        if s.restarts and decision > s.ready:
            s.idle_until = decision
            return NEED_BUSY_PERIOD
        if s.stream + s.page_bytes + s.header_bytes > s.curve_end:
            return NEED_CURVE
        kind = FIRST
        if waiting >= 0 and vcpus[waiting].request <= decision:
            kind = FAULTED
            page = vcpus[waiting].waits_for
            vcpus[waiting].request = np.inf
            if right.size > 0:
                left[s.pivot] = page - 1
                right[s.pivot] = page + 1
                s.pivot = (s.pivot + 1) % right.size
        else:
            page = next_background(s, todo, order, left, right)
        if decision > s.ready:  # the link was idle: its schedule slips by the gap
            s.shift += decision - s.ready
            s.ready = decision
            s.busy_since = decision
        s.now = max(s.now, decision)
        s.singly -= 1
        transmit(
            s, page, kind, decision, nonzero, sent, todo, flight_page, flight_at,
            curve, sent_by_kind,
        )  # fmt: skip
