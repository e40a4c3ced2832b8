"""The guest at the source: its accesses and the departing pages, merged in order of time.

One loop serves `wait` (no page departs) and `send`. The guest runs until the link is free for
the next page, then that page's content is read and leaves; so the record of what is stale at the
destination is exact to the single access, and it does not matter how the algorithm cuts time.
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.content import is_zero
from migsim._kernels.curve import departure, segment_of, sockets_take
from migsim._kernels.encoding import (
    DELTA,
    RAW,
    SAME,
    Coder,
    Memory,
    cache_page,
    change_bytes,
    copy_page,
    encoded_size,
    find_cached,
    note_change,
)
from migsim._kernels.guest import GuestSets, clear_chunk, leave, logged, zero_page
from migsim._kernels.sets import Bitmap, add, has, next_in, remove
from migsim._types import Floats, Integers, Record

__all__ = [
    "DONE",
    "FIRST",
    "GO_ON_IN_BULK",
    "NEED_ACCESSES",
    "NEED_BUSY_PERIOD",
    "NEED_CURVE",
    "NEED_ENCODER",
    "NOT_ENCODED",
    "RESENT",
    "SOURCE_STATE",
    "run_source",
]

DONE = 0
NEED_ACCESSES = 1
NEED_CURVE = 2
NEED_BUSY_PERIOD = 3
NEED_ENCODER = 6
GO_ON_IN_BULK = 7

NOT_ENCODED = -2
"""Of `encoded`: the bytes of the next page have not been encoded."""

# Rows of the two columns (pages, content bytes) of `sent_by_kind`.
FIRST = 0
RESENT = 1

SOURCE_STATE = np.dtype(
    [
        # the guest's clock: real = anchor_real + (guest - anchor_guest) * stretch + lag
        ("running", "i8"),
        ("anchor_real", "f8"),
        ("anchor_guest", "f8"),
        ("stretch", "f8"),
        ("lag", "f8"),
        ("first_write_lag", "f8"),  # what the first write to a tracked page costs the guest
        ("first_access", "i8"),  # number of the first access in the buffer
        ("access", "i8"),  # index of the next one in the buffer
        # the link: stream bytes of this busy period, and when it is free again
        ("stream", "i8"),
        ("segment", "i8"),
        ("shift", "f8"),  # how far the sender has fallen behind the curve
        ("most_shift", "f8"),  # from which on the curve has to be drawn anew
        ("ready", "f8"),
        ("curve_end", "i8"),  # the byte up to which the curve is known
        # the sender: a blocking write takes a page once the sockets have room for it
        ("buffered", "i8"),  # whether it goes on then, or only once the page has left
        ("begins", "i8"),  # it has not asked for room yet
        ("turn", "f8"),  # when it comes to the next page
        ("behind", "i8"),  # the segment of the byte whose acknowledgement makes room
        ("round_trip", "f8"),
        ("page_seconds", "f8"),  # its CPU time for a page that is sent as it is,
        ("zero_page_seconds", "f8"),  # and for a zero page
        # what is to be done
        ("hold", "f8"),  # the guest runs at least until then
        ("stop_at", "f8"),  # no page starts then or later
        ("stop_bytes", "i8"),  # no page starts once the stream is that long
        ("cursor", "i8"),  # the next page is the first one of `todo` from here, cyclically
        ("singly", "i8"),  # pages to send before it is tried to go on in bulk
        ("order_next", "i8"),  # before that go those of `order`, from this place on
        ("byte_seconds", "f8"),  # a page takes at least so long for each stream byte
        ("skip_redirtied", "i8"),
        ("peek_pages", "i8"),  # pages for which the log is looked at together,
        ("peeked", "i8"),  # and those of them that have not been sent yet
        ("chunk_shift", "i8"),  # log2 of the pages whose log is cleared together before sending
        ("page_bytes", "i8"),
        ("header_bytes", "i8"),
        ("largest", "i8"),  # stream bytes that a page takes at most
        # the encoder
        ("encoder_free", "f8"),  # when it is done with the page before
        ("encoder_lead", "f8"),  # how far it may be ahead of the link: what the sockets hold
        ("page", "i8"),  # for `NEED_ENCODER`: the page to be encoded,
        ("encoded", "i8"),  # and what it came to, as `encoded_size` returns it
        # what was done
        ("zero_pages", "i8"),
    ]
)


@jit
def _following(todo: Bitmap, s: Record, order: Integers) -> int:
    """Return the page whose turn it is, -1 if none is left."""
    while s.order_next < order.size:
        page = order[s.order_next]
        if has(todo, page):
            return page
        s.order_next += 1
    page = next_in(todo, s.cursor)
    return page if page >= 0 else next_in(todo, 0)


@jit
def _pass_over(
    todo: Bitmap, skipped: Bitmap, sets: GuestSets, uncleared: Integers, s: Record, order: Integers
) -> int:
    """Move pages that are dirty again to ``skipped``, up to the pages that are looked at together.

    Returns how many pages that are not dirty again lie before that: at most ``s.peek_pages``.
    """
    found = 0
    place, cursor, wrapped = s.order_next, s.cursor, False
    while found < s.peek_pages:
        if place < order.size:
            page = order[place]
            place += 1
            if not has(todo, page):
                continue
        else:
            page = next_in(todo, cursor)
            if page < 0 or (wrapped and page >= s.cursor):
                if wrapped:
                    break
                cursor, wrapped = 0, True
                continue
            cursor = page + 1
        if uncleared[page >> s.chunk_shift] == 0 and logged(sets, page):
            add(skipped, page)
            remove(todo, page)
        else:
            found += 1
    return found


@jit
def run_source(
    state: Record,
    pages: Integers,
    times: Floats,
    changes: Integers,
    memory: Memory,
    coder: Coder,
    sets: GuestSets,
    uncleared: Integers,
    todo: Bitmap,
    skipped: Bitmap,
    order: Integers,
    curve: Record,
    sent_by_kind: Integers,
) -> int:
    """Run the guest while the pages of ``todo`` leave; return `DONE` or what is needed.

    ``pages`` and ``times`` hold accesses from ``state.access`` on: a page p is a write, ~p a read;
    times are guest seconds. ``changes`` tells what each write changes, or is empty where ``memory``
    knows nothing of content: then every write changes its page. ``coder`` is what encodes. What was
    sent leaves ``todo``, what was left out moves to ``skipped``. ``order`` lists page numbers that
    go first, as far as they are in ``todo``. ``uncleared`` flags the chunks whose log is cleared
    when their first page is sent: of the pages that the last reading of the log has ``taken``, for
    a page written since then is not known to anyone else. ``curve`` holds segments of
    `migsim._kernels.curve.CURVE`.
    """
    s = state[0]
    c = coder.state[0]
    has_content = changes.size > 0
    has_bytes = memory.here.shape[0] > 0
    i = s.access
    n = pages.size
    lag = s.lag
    first_write_lag = s.first_write_lag
    anchor_real, anchor_guest, stretch = s.anchor_real, s.anchor_guest, s.stretch
    buffered = s.buffered != 0
    ready = s.ready
    turn = s.turn if buffered else ready
    stream = s.stream
    segment = s.segment
    shift = s.shift
    page = _following(todo, s, order)
    if s.begins and page >= 0:
        room, s.behind = sockets_take(stream, segment, s.behind, shift, s.round_trip, curve)
        turn = max(turn, min(ready, room))
    s.begins = 0
    status = DONE
    while True:
        may_send = page >= 0 and turn < s.stop_at and stream < s.stop_bytes
        boundary = turn if may_send else max(turn, s.hold)
        if s.running:
            while i < n:
                if anchor_real + (times[i] - anchor_guest) * stretch + lag >= boundary:
                    break
                written = pages[i]
                i += 1
                if written >= 0:
                    if first_write_lag > 0.0 and not logged(sets, written):
                        lag += first_write_lag
                    if not has_content:
                        add(sets.recent, written)
                        continue
                    add(sets.log, written)
                    change = changes[i - 1]
                    if change == 0:
                        continue
                    blank = zero_page(sets, written)
                    if has_bytes:
                        data = memory.here[written]
                        number = s.first_access + i - 1
                        change_bytes(memory, data, written, number, change, blank)
                    note_change(memory, written, change, blank)
                    add(sets.stale, written)
                    add(sets.nonzero, written)
            if i == n:
                status = NEED_ACCESSES
                break
        if not may_send:
            break
        if s.singly == 0:
            status = GO_ON_IN_BULK
            break

        if s.skip_redirtied and s.peeked == 0:
            s.peeked = _pass_over(todo, skipped, sets, uncleared, s, order)
            page = _following(todo, s, order)
            continue
        chunk = page >> s.chunk_shift
        tracked = uncleared[chunk] == 0
        if shift > s.most_shift:
            status = NEED_BUSY_PERIOD
            break
        if stream + s.largest > s.curve_end:
            status = NEED_CURVE
            break
        zero = zero_page(sets, page)
        if has_bytes:
            zero = is_zero(memory.here[page].view(np.uint64))
        # What keeps older versions or knows of equal pages must hear of zero pages, too.
        asks = has_bytes and c.reads_content and (c.method >= DELTA or not zero)
        if asks and s.encoded == NOT_ENCODED:
            s.page = page
            status = NEED_ENCODER
            break
        if not tracked:
            uncleared[chunk] = 0
            clear_chunk(sets, chunk << s.chunk_shift, (chunk + 1) << s.chunk_shift)
        kind = RESENT if has(sets.sent, page) else FIRST
        seconds = 0.0
        if zero:
            content = 1
            s.zero_pages += 1
            seconds = c.zero_seconds / c.threads + s.zero_page_seconds
            c.cpu_seconds += c.zero_seconds
            if not asks and coder.cached.size > 0 and not find_cached(coder, page):
                cache_page(coder, page)
        elif asks:
            content = s.encoded
            seconds = c.page_seconds + s.page_seconds
        elif c.method != RAW:
            content = encoded_size(memory, coder, page)
            seconds = c.page_seconds + s.page_seconds
        else:
            content = s.page_bytes
            seconds = s.page_seconds
        s.encoded = NOT_ENCODED
        if has_bytes and (zero or not asks):
            copy_page(memory, page)
        if has_content:
            memory.written[page] = 0
            memory.runs[page] = 0
        leave(sets, page)
        if buffered:
            s.encoder_free = turn + seconds
        elif seconds > 0.0:
            s.encoder_free = max(s.encoder_free, ready - s.encoder_lead) + seconds
        if content == SAME:
            turn = max(turn, s.encoder_free)
        else:
            sent_by_kind[kind, 0] += 1
            sent_by_kind[kind, 1] += content
            add(sets.sent, page)
            stream += content + s.header_bytes
            segment = segment_of(stream, segment, curve)
            left = departure(stream, segment, curve) + shift
            earliest = s.encoder_free
            if s.byte_seconds > 0.0:
                earliest = max(earliest, turn + (content + s.header_bytes) * s.byte_seconds)
            if left < earliest:  # the encoder or the limit is slower than the link
                shift += earliest - left
                left = earliest
            ready = left
            turn = left
            if buffered:
                room, s.behind = sockets_take(stream, segment, s.behind, shift, s.round_trip, curve)
                turn = max(s.encoder_free, min(left, room))
        if not buffered:
            ready = turn
        remove(todo, page)
        s.singly -= 1
        s.peeked -= s.skip_redirtied
        s.cursor = page + 1
        page = _following(todo, s, order)
    s.access = i
    s.lag = lag
    s.ready = ready
    s.turn = turn
    s.stream = stream
    s.segment = segment
    s.shift = shift
    return status
