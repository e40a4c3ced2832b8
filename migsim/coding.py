"""A codec at work in one migration: its cache, its tables, its counts, and its bytes if any."""

from __future__ import annotations

import numpy as np

from migsim._kernels.content import CLASS_MASK
from migsim._kernels.encoding import (
    CODER_STATE,
    DEDUP,
    DELTA,
    FRAME_BYTES,
    RATIO,
    RAW,
    SAME,
    WHOLE,
    Coder,
    cache_page,
    find_cached,
    flushed_size,
    forget_pages,
)
from migsim._types import Bytes, Floats, Record
from migsim.codec_costs import CodecCost, read_costs
from migsim.codec_sizes import CLASS_COUNT, DELTA_STEPS, class_names, delta_table, page_sizes
from migsim.codecs import Codec, Method
from migsim.content import PAGE_BYTES
from migsim.encoders import compressor_of, make_encoder
from migsim.guest import Guest
from migsim.machine import VirtualMachine
from migsim.memory import GuestMemory
from migsim.pages import Pages

__all__ = ["Coding", "Codings"]

_METHODS: dict[Method, int] = {
    "raw": RAW, "ratio": RATIO, "whole": WHOLE, "delta": DELTA, "dedup": DEDUP,
}  # fmt: skip
_PACKET_HEADER = 320  # bytes of QEMU's multifd packet beside 8 for each page


class Coding:
    """What encodes the pages of one guest by one codec.

    Attributes:
        codec: the description.
        coder: what kernels need of it.
        largest: bytes that one page, with all that waits for it, can come to.
    """

    def __init__(self, codec: Codec, memory: GuestMemory, vm: VirtualMachine) -> None:
        """Make the codec ready. Raises `InputError` where it has no sizes or no costs."""
        self.codec = codec
        self._memory = memory
        self.coder = self._make_coder(vm)
        self.largest = codec.packet * (vm.page_size + FRAME_BYTES) + _PACKET_HEADER
        self._packet: list[tuple[int, bytes]] = []
        if memory.has_bytes and codec.reads_content:
            slots = self.coder.cached.size
            self._old = np.zeros((slots, PAGE_BYTES), np.uint8)
            if codec.packet > 1:
                self._compressor = compressor_of(codec)
            else:
                self._encoder = make_encoder(codec)

    @property
    def in_packets(self) -> bool:
        """Whether pages wait at the source for others of their packet."""
        return self.codec.packet > 1

    @property
    def state(self) -> Record:
        """The coder's scalars."""
        return self.coder.state[0]

    def forget(self, pages: Pages) -> None:
        """Take note that something else has sent ``pages``."""
        if self.coder.cached.size:
            forget_pages(self.coder, pages.words)
        if self.codec.method == "dedup":
            first = int(self.state.group_words)
            self.coder.groups[first : first + pages.words.size] &= ~pages.words
        forget = getattr(getattr(self, "_encoder", None), "forget", None)
        if forget is not None:
            for page in pages.indices():
                forget(int(page))

    def encode(self, page: int) -> int:
        """Encode the bytes of a page and decode them at the destination.

        Returns the content bytes on the wire as `migsim._kernels.encoding.encoded_size` does;
        a packet's leave with its last page.
        """
        s, memory = self.state, self._memory.arrays
        kind = int(memory.classes[page]) & CLASS_MASK
        seconds = float(self.coder.seconds[kind])
        new, there = memory.here[page], memory.there
        if not new.any():  # goes as a zero page, but an older version is one of zeros from now on
            self._encoder.encode(page, None, new)
            self._keep_version(page, new)
            return 0
        if self.codec.packet > 1:
            self._charge(seconds)
            self._packet.append((page, new.tobytes()))
            return self.flush() if len(self._packet) == self.codec.packet else 0
        old = self._old_version(page)
        message = self._encoder.encode(page, old, new)
        if old is not None and message == b"":
            s.unchanged += 1
            self._charge(seconds)
            return SAME
        if message is None or FRAME_BYTES + len(message) >= PAGE_BYTES:
            s.overflows += old is not None
            seconds += PAGE_BYTES * float(s.seconds_per_byte) if old is not None else 0.0
            there[page] = new
            content = PAGE_BYTES
        else:
            self._encoder.decode(page, message, there)
            content = FRAME_BYTES + len(message)
            s.encoded += 1
            seconds += len(message) * float(s.seconds_per_byte)
        self._charge(seconds)
        self._keep_version(page, new)
        return content

    def flush(self) -> int:
        """Encode the packet as far as it is filled; return its bytes, 0 for an empty one."""
        if not self._memory.has_bytes:
            return flushed_size(self.coder)
        if not self._packet:
            return 0
        pages = [page for page, _ in self._packet]
        data = b"".join(content for _, content in self._packet)
        self._packet.clear()
        message = self._compressor.compress(data)
        there = self._memory.arrays.there
        if len(message) < len(data):
            data = self._compressor.decompress(message, len(data))
            self.state.encoded += len(pages)
        for place, page in enumerate(pages):
            content = data[place * PAGE_BYTES : (place + 1) * PAGE_BYTES]
            there[page] = np.frombuffer(content, np.uint8)
        return min(len(message), len(data)) + _PACKET_HEADER

    def _set_costs(self, state: Record, seconds: Floats, file: str) -> None:
        """Fill in the CPU time of pages of each class. Raises `InputError` where it is unknown."""
        known = read_costs(file)
        cost = known.get(self.codec.name, CodecCost())
        free = self.codec.encoder is not None and not cost.page_seconds  # of a codec of one's own
        for name, number in class_names().items():
            value = cost.of_class(name)
            if value is None and not free:
                raise self.codec.wrong(
                    "CPU time", f"unknown for class '{name}'", f"a row in codec costs '{file}'"
                )
            seconds[number] = value or 0.0
        state.seconds_per_byte = cost.seconds_per_byte
        state.zero_seconds = known.get("zero", CodecCost()).of_class("any") or 0.0

    def _charge(self, seconds: float) -> None:
        self.state.page_seconds = seconds / self.codec.threads
        self.state.cpu_seconds += seconds

    def _old_version(self, page: int) -> Bytes | None:
        if self.codec.method != "delta":
            return None
        if find_cached(self.coder, page):
            old: Bytes = self._old[page & int(self.state.cache_mask)]
            return old
        self.state.misses += 1
        return None

    def _keep_version(self, page: int, new: Bytes) -> None:
        if self.codec.method != "delta" or not self.state.updates:
            return
        if find_cached(self.coder, page) or cache_page(self.coder, page):
            self._old[page & int(self.state.cache_mask)] = new

    def _make_coder(self, vm: VirtualMachine) -> Coder:
        codec, content = self.codec, self._memory.content
        state: Record = np.recarray(1, dtype=CODER_STATE)
        state.view(np.uint8)[:] = 0
        s = state[0]
        s.method, s.threads, s.ratio = _METHODS[codec.method], codec.threads, codec.ratio
        s.reads_content = codec.reads_content
        s.skips_uniform, s.keeps_recent = codec.skips_uniform, codec.keeps_recent
        s.frame_bytes = FRAME_BYTES if codec.packet == 1 else 0
        s.updates, s.delta_steps = 1, DELTA_STEPS
        s.packet, s.packet_header = codec.packet, _PACKET_HEADER
        sizes, deltas, filled = np.zeros((0, 0), np.uint16), np.zeros((0, 0, 0)), np.zeros((0, 0))
        slots, groups = 0, np.zeros(0, np.uint64)
        if not self._memory.has_bytes and codec.method == "whole":
            sizes = page_sizes(codec.name, codec.packet, content.shares)
        seconds = np.zeros(CLASS_COUNT)
        if codec.method == "ratio":
            seconds.fill(vm.page_size / codec.bytes_per_second)
        if codec.reads_content:
            self._set_costs(s, seconds, vm.codec_costs)
        if codec.method == "delta":
            deltas, filled = delta_table(codec.name)
            slots = 1 << (vm.pages - 1).bit_length()
            if codec.cache is not None:
                slots = min(slots, codec.cache // PAGE_BYTES)
        if codec.method == "dedup":
            s.group_words = (int(content.state()[0].duplicate_groups) >> 6) + 1
            groups = np.zeros(int(s.group_words) + (vm.pages >> 6) + 1, np.uint64)
        s.cache_mask = slots - 1
        return Coder(
            state, sizes, deltas, filled, seconds,
            np.full(slots, -1, np.int32), np.zeros(slots, np.int32), groups,
        )  # fmt: skip


class Codings:
    """The codecs at work in one migration."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._made: dict[Codec, Coding] = {}

    @property
    def all(self) -> list[Coding]:
        """All that were used so far."""
        return list(self._made.values())

    def prepared(self, codec: Codec, *, paused: bool = False) -> Coding:
        """Return a codec ready for a transfer, made when it is first used. Raises `InputError`."""
        guest = self._guest
        if codec not in self._made:
            if codec.reads_content:
                guest.track_content()
            self._made[codec] = Coding(codec, guest.memory, guest.vm)
        coding = self._made[codec]
        coding.state.sync = guest.syncs
        coding.state.updates = not (paused and codec.keeps_recent)
        return coding

    def note_sent(self, codec: Codec, pages: Pages) -> None:
        """Let the other codecs know that their versions of ``pages`` are not the last ones."""
        for other, coding in self._made.items():
            if other != codec:
                coding.forget(pages)
