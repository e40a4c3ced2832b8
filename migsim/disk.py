"""The virtual disk of a machine: its shape, what the guest does to it, and what holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from migsim.errors import InputError
from migsim.machine import VirtualMachine
from migsim.units import GIB, KIB, MIB, ByteRate, Bytes, Count, Fraction, Seconds, format_size

__all__ = ["Disk"]


def _is_power_of_two(size: int) -> bool:
    return size > 0 and not size & (size - 1)


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk as its migration sees it: blocks, of which some are allocated.

    The guest accesses it in whole I/Os; a block is what is copied and what the dirty log tells
    apart. I/Os of the guest and the copy do not compete for the device.

    Attributes:
        size: bytes, a multiple of the block.
        block: bytes of a block, a power of two from 64 KiB to 1 MiB.
        workload: the guest's I/Os, ``name(key=value, ...)``, as of a memory whose page is an I/O:
            a rate in bytes per second is what the guest writes to the disk.
        io_bytes: bytes of one I/O, a power of two from 4 KiB to the block.
        queue_depth: I/Os that the guest keeps outstanding: of the latency of one, it loses the
            part of 1 / queue_depth.
        allocated: share of the blocks, from the start of the disk on, that hold something; others
            are not sent. A write allocates its block (a thin disk).
        read_rate, write_rate: bytes per second that the copy reads at the source's storage and
            writes at the destination's, at most.
        shared: both hosts reach the disk: nothing is copied, its locks are handed over.
        lock_seconds: what that adds to the downtime. The default is an assumption.
    """

    size: Bytes = 32 * GIB
    block: Bytes = MIB
    workload: str = "idle"
    io_bytes: Bytes = 64 * KIB
    queue_depth: Count = 1
    allocated: Fraction = 1.0
    read_rate: ByteRate = math.inf
    write_rate: ByteRate = math.inf
    shared: bool = False
    lock_seconds: Seconds = 0.01

    def __post_init__(self) -> None:
        block, size, unit = self.block, self.size, self.io_bytes
        if not 64 * KIB <= block <= MIB or not _is_power_of_two(block):
            raise InputError(
                f"disk: block is {format_size(block)}, expected a power of two from 64 KiB to 1 MiB"
            )
        if size < block or size % block:
            raise InputError(
                f"disk: size is {format_size(size)}, "
                f"expected a positive multiple of the block, {format_size(block)}"
            )
        if not 4 * KIB <= unit <= block or not _is_power_of_two(unit):
            raise InputError(
                f"disk: io_bytes is {format_size(unit)}, "
                f"expected a power of two from 4 KiB to the block, {format_size(block)}"
            )
        if self.queue_depth < 1:
            raise InputError(f"disk: queue_depth is {self.queue_depth}, expected 1 or more")
        for name in ("read_rate", "write_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"disk: {name} is {getattr(self, name)}, expected more than 0")

    @property
    def blocks(self) -> int:
        """Blocks of the disk."""
        return self.size // self.block

    @property
    def allocated_blocks(self) -> int:
        """Blocks that hold something when the migration starts."""
        return round(self.allocated * self.blocks)

    @property
    def block_seconds(self) -> float:
        """What reading a block at the source or writing it at the destination takes at least."""
        return self.block / min(self.read_rate, self.write_rate)

    @property
    def merge_seconds(self) -> float:
        """What it takes to read a block of a snapshot and to write it into its parent."""
        return self.block / self.read_rate + self.block / self.write_rate

    @property
    def as_memory(self) -> VirtualMachine:
        """The machine whose memory the workload takes the disk for: one I/O is one page."""
        return VirtualMachine(memory=self.size, page_size=self.io_bytes)
