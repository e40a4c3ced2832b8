"""The engine once more, slowly: plain Python, one page and one access at a time.

Written from what the documentation of `Migration`, `VirtualMachine`, `Link` and `Flow` promises,
not from the kernels: sets instead of bitmaps, a clock that moves in steps instead of an anchored
one, a TCP sender that counts its window down instead of a curve. That sender knows no losses;
where packets are lost, migsim's own flow carries the oracle's bytes (`SharedSender`).
"""

from __future__ import annotations

import heapq
import itertools
import math

from migsim import RAW, Codec, Link, VirtualMachine
from migsim.network import Flow

REQUEST = 16


class Sender:
    """One stream in slow start over a path that loses nothing, by windows of segments.

    A round trip begins with the window's first byte and ends when its acknowledgement comes, or
    when all of the window has left, whichever is later. The window doubles after a round that has
    used more than half of it, unless the socket buffers hold no more. The sender's interface
    queue holds back what goes beyond the path and half a millisecond of its rate.
    """

    def __init__(self, link: Link) -> None:
        assert link.plain or (link.queue_is_local and link.loss == 0 and link.streams == 1)
        self.link = link
        self.pace = 1.0 / link.goodput
        self.trip = max(link.rtt, 20e-6)
        self.limit = link.buffer / link.segment
        self.refill = link.refill / link.segment
        self.pipe = link.goodput / link.segment * self.trip
        self.standing_most = link.queue_bytes / link.packet
        self.window = float(link.initial_window)
        self.finished = self.stream = 0
        self.used = 0.0  # of this window, in the busy period before
        self.due = 0.0
        self.ready = link.rtt  # the handshake
        self._begin_period(self.ready)

    @property
    def carried(self) -> int:
        return self.finished + self.stream

    def _begin_period(self, now: float) -> None:
        self.finished += self.stream
        self.stream = 0
        self.ready = now
        self.parts: list[tuple[float, float, int]] = []  # bytes before, start, bytes that queue
        self._begin_round(now, 0.0)

    def _begin_round(self, now: float, before: float) -> None:
        """Let the window's packets leave from ``now`` on; ``before`` packets have left before."""
        self.start, self.before = now, before
        if self.link.plain:
            self.allowed, self.length = math.inf, math.inf
            self.parts.append((0.0, now, 0))
            return
        trip = max(self.due - now, 0.0) if self.due > now else self.trip
        usable = min(self.window, self.limit) - self.used
        self.allowed = max(0.0, min(usable, self.pipe + self.standing_most - self.used))
        refill = self.refill if self.window >= self.limit else 0.0
        packet = self.pace * self.link.segment
        self.length = max(trip + refill * packet, self.allowed * packet)
        in_flight = self.allowed + self.used
        standing = min(max(0.0, in_flight - refill - self.pipe), self.standing_most)
        self.evenly = self.window >= self.limit  # else as fast as the link takes it
        queue = int(standing * self.link.segment)
        self.parts.append((before * self.link.segment, now, queue))

    def _end_round(self) -> None:
        used = self.allowed + self.used
        full = used >= self.window - 1 or self.window < 2 * used
        if self.window <= self.limit and full:
            self.window *= 2
        after = self.before + self.allowed
        self.used = self.due = 0.0
        self._begin_round(self.start + self.length, after)

    def begin(self, now: float) -> None:
        """Let the sender have something to send from ``now`` on."""
        if now <= self.ready:
            return
        if not self.link.plain:
            used = max(0.0, self.stream / self.link.segment - self.before) + self.used
            if not self.used:
                self.due = self.start + max(self.length, self.trip)
            if not used or now >= self.due:
                if self.window < self.limit:
                    self.window += used
                idle, initial = now - self.ready, float(self.link.initial_window)
                while idle > self.trip + 0.2 and self.window > initial:
                    self.window = max(initial, self.window / 2)
                    idle -= self.trip + 0.2
                self.used = self.due = 0.0
            else:
                self.used = used
        self._begin_period(now)

    def slip(self, gap: float) -> None:
        """Fall behind the schedule for want of data."""
        self.ready += gap
        self.start += gap
        self.due += gap
        self.parts = [(size, start + gap, queue) for size, start, queue in self.parts]

    def put(self, size: int) -> float:
        """Send ``size`` bytes behind what was sent before; return when the last has left."""
        self.stream += size
        if size:
            self.ready = max(self.ready, self._left(self.stream))
        return self.ready

    def _left(self, byte: int) -> float:
        if not self.link.plain:
            while math.floor((self.before + self.allowed) * self.link.segment) < byte:
                self._end_round()
        first, start, _ = next(part for part in reversed(self.parts) if part[0] < byte or not byte)
        pace = self.pace
        if not self.link.plain and self.evenly and self.allowed:
            pace = self.length / (self.allowed * self.link.segment)
        return start + (byte - first) * pace

    @property
    def choice(self) -> float:
        """Return when the source decides what leaves next: before the interface's queue."""
        at = next((part for part in reversed(self.parts) if part[0] < self.stream), self.parts[0])
        if not at[2]:
            return self.ready
        ahead = max(0, self.stream - at[2])
        first, start, _ = next(
            (part for part in reversed(self.parts) if part[0] < ahead), self.parts[0]
        )
        return min(self.ready, max(start + (ahead - first) * self.pace, self.parts[0][1]))


class SharedSender:
    """The transport of migsim itself, asked one page at a time."""

    def __init__(self, link: Link) -> None:
        self.link, self.flow = link, Flow(link, 0.0)

    @property
    def ready(self) -> float:
        return self.flow.ready

    @property
    def carried(self) -> int:
        return self.flow.carried

    @property
    def stream(self) -> int:
        return self.flow.stream

    @property
    def choice(self) -> float:
        flow, curve = self.flow, self.flow.curve
        ahead = int(curve.segments[flow.segment]["queue"])
        if not ahead or not flow.stream:
            return flow.ready
        at = curve.departure(max(0, flow.stream - ahead)) + flow.shift
        return min(flow.ready, max(at, float(curve.segments["at"][0]) + flow.shift))

    def begin(self, now: float) -> None:
        self.flow.begin(now)

    def slip(self, gap: float) -> None:
        self.flow.ready += gap
        self.flow.shift += gap

    def put(self, size: int) -> float:
        return self.flow.transmit(self.flow.ready, size)


class Oracle:
    """A guest that migrates; the verbs are those of `Migration`."""

    def __init__(
        self, vm: VirtualMachine, accesses: list[tuple[float, int, bool]], link: Link
    ) -> None:
        self.vm, self.link, self.listed = vm, link, accesses
        lossless = link.plain or (link.queue_is_local and link.loss == 0)
        self.sender = Sender(link) if lossless else SharedSender(link)
        self.header = link.page_header if link.overhead else 0
        zeros = round(vm.zero_fraction * vm.pages)
        self.everything = set(range(vm.pages))
        self.nonzero = set(range(vm.pages - zeros))
        self.stale = set(self.nonzero)
        late = vm.dirty_log == "send"
        self.log = set(self.everything) if late else set()
        self.taken = set(self.log)
        self.chunk = vm.clear_chunk // vm.page_size
        self.unclear = {page // self.chunk for page in self.log}
        self.sent: set[int] = set()
        self.encoded = 0.0  # when the encoder was done with the page before
        self.lead = link.socket * link.streams / link.rate
        self.kinds = {"first": [0, 0], "resent": [0, 0], "faulted": [0, 0]}
        self.zero_pages = 0
        # The guest's clock: it has come to guest time `guest` at `now`, and owes `debt` seconds.
        self.now = self.guest = self.debt = 0.0
        self.speed, self.running = 1.0, True
        self.done = 0
        self.throttled = self.tracking = 0.0
        self.paused_at = self.resumes_at = math.nan
        self.away = False

    # ---- the guest at the source

    def _run_guest(self, until: float) -> None:
        """Let all accesses before ``until`` happen."""
        while self.running and self.done < len(self.listed):
            time, page, write = self.listed[self.done]
            at = self.now + self.debt + max(0.0, time - self.guest) / self.speed
            if at >= until:
                break
            self._pass(at - self.now)
            self.guest = time
            self.done += 1
            if write:
                if page not in self.log:
                    self.debt += self.vm.first_write_seconds / self.vm.vcpus
                for pages in (self.log, self.stale, self.nonzero):
                    pages.add(page)
        if until > self.now:
            self._pass(until - self.now)
            self.now = until  # to the bit

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        if self.running:
            paid = min(self.debt, seconds)
            self.debt -= paid
            self.tracking += paid
            self.guest += (seconds - paid) * self.speed
            self.throttled += (seconds - paid) * (1 - self.speed)

    def send(
        self,
        pages: set[int],
        codec: Codec = RAW,
        start: int = 0,
        until: float = math.inf,
        max_bytes: float = math.inf,
        skip_redirtied: bool = False,
    ) -> tuple[int, int, set[int]]:
        """Return pages sent, bytes sent and pages left."""
        assert not self.away
        sender, left, count, size = self.sender, set(pages), 0, 0
        if pages:
            sender.begin(self.now)
            if not sender.stream:
                self.encoded = max(self.encoded, sender.ready)
        for page in sorted(pages, key=lambda page: (page < start, page)):
            turn = sender.ready
            if turn >= until or size >= max_bytes:
                break
            self._run_guest(turn)
            tracked = page // self.chunk not in self.unclear
            if skip_redirtied and tracked and page in self.log:
                continue
            if not tracked:
                self.unclear.discard(page // self.chunk)
                self.log -= {p for p in self.taken if p // self.chunk == page // self.chunk}
            kind = "resent" if page in self.sent else "first"
            content, encoding = self.vm.page_size, 0.0
            if page not in self.nonzero:
                content = 1
                self.zero_pages += 1
            elif codec is not RAW:
                content = round(self.vm.page_size * codec.ratio)
                encoding = self.vm.page_size / codec.bytes_per_second
            self.kinds[kind][0] += 1
            self.kinds[kind][1] += content
            gone = sender.put(content + self.header)
            if encoding:
                self.encoded = max(self.encoded, turn - self.lead) + encoding
            if gone < self.encoded:
                sender.slip(self.encoded - gone)
            self.sent.add(page)
            self.stale.discard(page)
            left.discard(page)
            count += 1
            size += content + self.header
        if pages:
            self._run_guest(sender.ready)
        return count, size, left

    def take_dirty(self) -> set[int]:
        if not self.away:
            self._run_guest(self.now + self.vm.sync_seconds)
        dirty = set(self.log)
        if self.vm.dirty_log == "sync":
            self.log = set()
        else:
            self.taken = dirty
            self.unclear = {page // self.chunk for page in self.everything}
        return set(dirty)

    def wait(self, seconds: float) -> None:
        if self.away:
            self._remote(self.now + seconds, self.now + seconds, background=False, demand=True)
        else:
            self._run_guest(self.now + seconds)

    def throttle(self, share: float) -> None:
        self.speed = 1.0 - share

    def pause(self) -> None:
        self.running, self.paused_at = False, self.now

    def resume(self, missing: set[int] | None = None) -> None:
        lacking = set(missing or ())
        self.exposed = self.stale - lacking
        size = self.vm.device_bytes
        if 0 < len(lacking) < self.vm.pages:
            size += math.ceil(self.vm.pages / 8)
        self.sender.begin(self.now)
        left = self.sender.put(size)
        self.resumes_at = left + self.link.rtt / 2 + self.vm.resume_seconds
        self.now = left if lacking else self.resumes_at
        self.away = True
        self.missing, self.todo = set(lacking), set(lacking)
        self.flight: list[tuple[float, int]] = []
        self.faults = self.requests = 0
        self.latencies: list[float] = []
        self.mode: str | None = None
        self.pivot: int | None = None
        self.switch_guest = self.guest - self.debt
        count = self.vm.vcpus
        self.cpus = [
            {"next": self.done + (v - self.done) % count, "lag": 0.0, "waits": None, "since": 0.0,
             "request": math.inf}
            for v in range(count)
        ]  # fmt: skip
        self.first_remote = [cpu["next"] for cpu in self.cpus]

    # ---- the guest at the destination

    def push(
        self,
        prepaging: str = "forward",
        background: bool = True,
        demand: bool = True,
        order: tuple[int, ...] = (),
        until: float = math.inf,
    ) -> None:
        if prepaging != self.mode:
            self.mode, self.pivot = prepaging, None
        if background:
            self.sender.begin(self.now)
        self._remote(self.now, max(until, self.now), background, demand, order)

    def _access_time(self, cpu: dict) -> float:
        if cpu["waits"] is not None or cpu["next"] >= len(self.listed):
            return math.inf
        return self.resumes_at + (self.listed[cpu["next"]][0] - self.switch_guest) + cpu["lag"]

    def _remote(
        self,
        hold: float,
        until: float,
        background: bool,
        demand: bool,
        order: tuple[int, ...] = (),
    ) -> None:
        """Let events happen in order of time, strictly before ``until``."""
        sender, step = self.sender, self.vm.vcpus
        delay = self.link.rtt / 2 + (REQUEST + self.link.packet_overhead) / self.link.rate
        ended, after_last = self.now, -math.inf
        while True:
            done = not self.todo and not self.flight
            # What comes next: a page lands, a vCPU touches memory, the source picks a page.
            landing = self.flight[0][0] if self.flight else math.inf
            access, cpu = min(
                ((self._access_time(cpu), k) for k, cpu in enumerate(self.cpus)), default=math.inf
            )
            cpu = self.cpus[cpu]
            asked = [c for c in self.cpus if c["request"] < math.inf and c["waits"] in self.todo]
            oldest = min(asked, key=lambda c: c["request"], default=None)
            choice = math.inf
            if background and self.todo:
                choice = sender.choice
            elif oldest is not None:
                choice = max(sender.choice, oldest["request"])
            # A pick at `choice` heeds all requests that have come by then, so that a fault
            # before `choice - delay` has to happen first; it changes nothing else.
            soonest = min(landing, access, choice)
            end = min(until, max(hold, after_last)) if done else until
            if soonest >= end:
                break
            if landing == soonest:
                at, page = heapq.heappop(self.flight)
                self.missing.discard(page)
                ended, after_last = max(ended, at), math.nextafter(at, math.inf)
                for waiting in self.cpus:
                    if waiting["waits"] == page:
                        waited = at + self.vm.fault_seconds - waiting["since"]
                        self.latencies.append(waited)
                        waiting["lag"] += waited
                        waiting.update(waits=None, request=math.inf)
            elif access == soonest and access < choice:
                page = self.listed[cpu["next"]][1]
                if page not in self.missing:
                    cpu["next"] += step
                    continue
                self.faults += 1
                shared = any(other["waits"] == page for other in self.cpus)
                cpu.update(waits=page, since=access)
                if not shared and demand:
                    self.requests += 1
                    if page in self.todo:
                        cpu["request"] = access + delay
            else:
                kind = "first"
                if oldest is not None and oldest["request"] <= choice:
                    page, kind = oldest["waits"], "faulted"
                    oldest["request"] = math.inf
                    if self.mode == "forward":
                        self.pivot = page
                else:
                    page = self._background(order)
                if kind == "first" and page in self.sent:
                    kind = "resent"
                sender.begin(choice)
                content = self.vm.page_size if page in self.nonzero else 1
                self.zero_pages += content == 1
                self.kinds[kind][0] += 1
                self.kinds[kind][1] += content
                self.sent.add(page)
                self.todo.discard(page)
                gone = sender.put(content + self.header)
                heapq.heappush(self.flight, (gone + self.link.rtt / 2, page))
                ended = max(ended, choice)
        finished = not self.todo and not self.flight
        self.now = max(hold, ended) if finished else until

    def _background(self, order: tuple[int, ...]) -> int:
        for page in order:
            if page in self.todo:
                return page
        ahead = [page for page in self.todo if self.pivot is not None and page > self.pivot]
        return min(ahead or self.todo)

    # ---- what came of it

    def close(self) -> dict[str, float]:
        if self.away and self.now < self.resumes_at:
            self._remote(self.resumes_at, self.resumes_at, background=False, demand=True)
        stalled = guest = 0.0
        if self.away:
            for cpu in self.cpus:
                waiting = self.now - cpu["since"] if cpu["waits"] is not None else 0.0
                stalled += (cpu["lag"] + waiting) / self.vm.vcpus
            guest = self.switch_guest + max(0.0, self.now - self.resumes_at) - stalled
        remote = sum(
            (cpu["next"] - first) // self.vm.vcpus
            for cpu, first in zip(self.cpus, self.first_remote, strict=True)
        ) if self.away else 0  # fmt: skip
        return {
            "seconds": self.now,
            "downtime": (self.resumes_at if self.away else self.now) - self.paused_at
            if not math.isnan(self.paused_at)
            else 0.0,
            "throttled": self.throttled,
            "tracking": self.tracking + self.debt,
            "stalled": stalled,
            "guest": guest if self.away else self.guest - self.debt,
            "accesses": self.done + remote,
            "faults": self.faults if self.away else 0,
            "requests": self.requests if self.away else 0,
            "zero_pages": self.zero_pages,
            "carried": self.sender.carried,
            "sent": list(itertools.chain.from_iterable(self.kinds.values())),
        }
