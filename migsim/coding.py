"""A codec at work in one migration: its cache, its tables, its counts."""

from __future__ import annotations

import numpy as np

from migsim._kernels.encoding import (
    CODER_STATE,
    DEDUP,
    DELTA,
    FRAME_BYTES,
    PACKET_HEADER,
    RATIO,
    RAW,
    WHOLE,
    Coder,
    flushed_size,
    forget_pages,
)
from migsim._types import Floats, Ints32, Record, Words
from migsim.codec_costs import CodecCost, read_costs
from migsim.codec_sizes import CLASS_COUNT, DELTA_STEPS, class_names, delta_table, page_sizes
from migsim.codecs import Codec, Method
from migsim.content import PAGE_BYTES
from migsim.gang import GangMember
from migsim.machine import VirtualMachine
from migsim.memory import GuestMemory
from migsim.pages import Pages

__all__ = ["Coding"]

_METHODS: dict[Method, int] = {
    "raw": RAW, "ratio": RATIO, "whole": WHOLE, "delta": DELTA, "dedup": DEDUP,
}  # fmt: skip


class Coding:
    """What encodes the pages of one guest by one codec.

    Attributes:
        codec: the description.
        coder: what kernels need of it.
        state: its scalars.
        largest: bytes that one page, with all that waits for it, can come to.
    """

    def __init__(
        self,
        codec: Codec,
        memory: GuestMemory,
        vm: VirtualMachine,
        gang: GangMember | None = None,
    ) -> None:
        """Make the codec ready for a guest, perhaps one of a ``gang``.

        Raises `InputError` where it has no sizes or no costs.
        """
        self.codec = codec
        self.memory = memory
        self._gang = gang
        self.coder = self._make_coder(vm)
        self.largest = codec.packet * (vm.page_size + FRAME_BYTES) + PACKET_HEADER

    @property
    def in_packets(self) -> bool:
        """Whether pages wait at the source for others of their packet."""
        return self.codec.packet > 1

    def forget(self, pages: Pages) -> None:
        """Take note that something else has sent ``pages``."""
        if self.coder.cached.size:
            forget_pages(self.coder, pages.words)
        if self.codec.method == "dedup":
            first = int(self.state["group_words"])
            self.coder.groups[first : first + pages.words.size] &= ~pages.words

    def flush(self) -> int:
        """Return what the packet so far comes to, and begin another; 0 where no page waits."""
        if not self.in_packets:
            return 0
        return flushed_size(self.memory.arrays, self.coder)

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
        state["seconds_per_byte"] = cost.seconds_per_byte
        state["seconds_per_run"] = cost.seconds_per_run
        state["zero_seconds"] = known.get("zero", CodecCost()).of_class("any") or 0.0

    def _make_coder(self, vm: VirtualMachine) -> Coder:
        codec, content = self.codec, self.memory.content
        state: Record = np.zeros(1, CODER_STATE)
        s = self.state = state[0]
        s["method"], s["threads"], s["ratio"] = _METHODS[codec.method], codec.threads, codec.ratio
        s["reads_content"] = codec.reads_content
        s["skips_uniform"], s["keeps_recent"] = codec.skips_uniform, codec.keeps_recent
        s["frame_bytes"] = FRAME_BYTES if codec.packet == 1 else 0
        s["updates"], s["delta_steps"] = 1, DELTA_STEPS
        s["packet"], s["packet_header"] = codec.packet, PACKET_HEADER
        sizes, deltas, filled = np.zeros((0, 0), np.uint16), np.zeros((0, 0, 0)), np.zeros((0, 0))
        slots, groups = 0, np.zeros(0, np.uint64)
        if not self.memory.has_bytes and codec.method == "whole":
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
            s["group_words"] = (int(content.state()[0]["duplicate_groups"]) >> 6) + 1
            groups = np.zeros(int(s["group_words"]) + (vm.pages >> 6) + 1, np.uint64)
        image, held = self._make_image()
        s["cache_mask"] = slots - 1
        return Coder(
            state, sizes, deltas, filled, seconds,
            np.full(slots, -1, np.int32), np.zeros(slots, np.int32), groups, image, held,
        )  # fmt: skip

    def _make_image(self) -> tuple[Ints32, Words]:
        """Return the image page that each page holds, and the bitmap of those that were sent."""
        image = self.memory.content.image
        if self.codec.method != "dedup" or image is None:
            return np.zeros(0, np.int32), np.zeros(0, np.uint64)
        if self._gang is None:
            return self.memory.image_pages, np.zeros((image.pages >> 6) + 1, np.uint64)
        return self.memory.image_pages, self._gang.view(image, image.pages)
