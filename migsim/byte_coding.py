"""A codec at work on the bytes of a guest: pages are encoded, decoded at once, and counted."""

from __future__ import annotations

import numpy as np

from migsim._kernels.content import CLASS_MASK
from migsim._kernels.encoding import (
    FILLED,
    FILLED_UNIFORM,
    FRAME_BYTES,
    PACKET_HEADER,
    SAME,
    cache_page,
    find_cached,
)
from migsim._types import Bytes
from migsim.codecs import Codec, Encoder
from migsim.coding import Coding
from migsim.content import PAGE_BYTES
from migsim.encoders import compressor_of, make_encoder
from migsim.gang import GangMember
from migsim.guest import Guest
from migsim.machine import VirtualMachine
from migsim.memory import GuestMemory
from migsim.pages import Pages

__all__ = ["ByteCoding", "Codings"]


class ByteCoding(Coding):
    """What encodes the bytes of pages at the source, and decodes them at the destination."""

    def __init__(
        self,
        codec: Codec,
        memory: GuestMemory,
        vm: VirtualMachine,
        gang: GangMember | None = None,
    ) -> None:
        """Make the codec ready. Raises `InputError` where it has no costs."""
        super().__init__(codec, memory, vm, gang)
        self._old = np.zeros((self.coder.cached.size, PAGE_BYTES), np.uint8)
        self._packet: list[tuple[int, bytes]] = []
        self._encoder: Encoder | None = None if self.in_packets else make_encoder(codec)
        self._compressor = compressor_of(codec) if self.in_packets else None

    def forget(self, pages: Pages) -> None:
        """Take note that something else has sent ``pages``."""
        super().forget(pages)
        if self._encoder is not None:
            for page in pages.indices():
                self._encoder.forget(int(page))

    def encode(self, page: int) -> int:
        """Encode the bytes of a page and decode them at the destination.

        Returns the content bytes on the wire as `migsim._kernels.encoding.encoded_size` does;
        a packet's leave with its last page.
        """
        s, memory = self.state, self.memory.arrays
        kind = int(memory.classes[page]) & CLASS_MASK
        seconds = float(self.coder.seconds[kind])
        new, there = memory.here[page], memory.there
        if self._encoder is None:
            self._charge(seconds)
            self._packet.append((page, new.tobytes()))
            return self.flush() if len(self._packet) == self.codec.packet else 0
        if not new.any():  # goes as a zero page, but an older version is one of zeros from now on
            self._encoder.encode(page, None, new)
            self._keep_version(page, new)
            return 0
        old = self._old_version(page)
        if self.codec.method == "delta":
            seconds = self._delta_seconds(page, seconds) if old is not None else s["zero_seconds"]
        message = self._encoder.encode(page, old, new)
        if old is not None and message == b"":
            s["unchanged"] += 1
            self._charge(seconds)
            return SAME
        if message is None or FRAME_BYTES + len(message) >= PAGE_BYTES:
            s["overflows"] += old is not None
            seconds += PAGE_BYTES * float(s["seconds_per_byte"]) if old is not None else 0.0
            there[page] = new
            content = PAGE_BYTES
        else:
            self._encoder.decode(page, message, there)
            content = FRAME_BYTES + len(message)
            s["encoded"] += 1
            seconds += len(message) * float(s["seconds_per_byte"])
        self._charge(seconds)
        self._keep_version(page, new)
        return content

    def flush(self) -> int:
        """Encode the packet as far as it is filled; return its bytes, 0 for an empty one."""
        if not self._packet or self._compressor is None:
            return 0
        pages = [page for page, _ in self._packet]
        data = b"".join(content for _, content in self._packet)
        self._packet.clear()
        message = self._compressor.compress(data)
        there = self.memory.arrays.there
        if len(message) < len(data):
            data = self._compressor.decompress(message, len(data))
            self.state["encoded"] += len(pages)
        for place, page in enumerate(pages):
            content = data[place * PAGE_BYTES : (place + 1) * PAGE_BYTES]
            there[page] = np.frombuffer(content, np.uint8)
        return min(len(message), len(data)) + PACKET_HEADER

    def _charge(self, seconds: float) -> None:
        self.state["page_seconds"] = seconds / float(self.state["threads"])
        self.state["cpu_seconds"] += seconds

    def _delta_seconds(self, page: int, seconds: float) -> float:
        """Return the CPU time of a delta but for its bytes, as `encoded_size` counts it."""
        arrays = self.memory.arrays
        if arrays.written[page] == 0:
            return seconds
        runs = int(arrays.runs[page])
        return seconds + float(self.state["seconds_per_run"]) * (
            1 if runs in {FILLED, FILLED_UNIFORM} else runs
        )

    def _old_version(self, page: int) -> Bytes | None:
        if self.codec.method != "delta":
            return None
        if find_cached(self.coder, page):
            old: Bytes = self._old[page & int(self.state["cache_mask"])]
            return old
        self.state["misses"] += 1
        return None

    def _keep_version(self, page: int, new: Bytes) -> None:
        if self.codec.method != "delta" or not self.state["updates"]:
            return
        if find_cached(self.coder, page) or cache_page(self.coder, page):
            self._old[page & int(self.state["cache_mask"])] = new


class Codings:
    """The codecs at work in one migration."""

    def __init__(self, guest: Guest, gang: GangMember | None = None) -> None:
        self._guest = guest
        self._gang = gang
        self._made: dict[Codec, Coding] = {}

    @property
    def all(self) -> list[Coding]:
        """All that were used so far."""
        return list(self._made.values())

    def prepared(self, codec: Codec, *, paused: bool = False) -> Coding:
        """Return a codec ready for a transfer, made when it is first used. Raises `InputError`."""
        guest = self._guest
        coding = self._made.get(codec)
        if coding is None:
            if codec.reads_content:
                guest.track_content()
            on_bytes = guest.memory.has_bytes and codec.reads_content
            make = ByteCoding if on_bytes else Coding
            coding = self._made[codec] = make(codec, guest.memory, guest.vm, self._gang)
        coding.state["sync"] = guest.syncs
        coding.state["updates"] = not (paused and codec.keeps_recent)
        return coding

    def note_sent(self, codec: Codec, pages: Pages, left: Pages) -> None:
        """Let other codecs know that their versions of ``pages`` without ``left`` are old."""
        if len(self._made) > 1:
            sent = pages - left
            for other, coding in self._made.items():
                if other != codec:
                    coding.forget(sent)
