"""The virtual machine that migrates: its shape, and what its hypervisor's bookkeeping costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from migsim.codec_costs import costs_path
from migsim.errors import InputError
from migsim.parameters import NamesFiles
from migsim.units import GIB, KIB, Bytes, Fraction, Seconds, format_size

__all__ = ["VirtualMachine"]

THROTTLE_SLICE = 0.01
"""Seconds for which a throttled vCPU runs before it sleeps again, as under QEMU."""


@dataclass(frozen=True, kw_only=True)
class VirtualMachine:
    """Memory, processors and hypervisor costs of one guest.

    Attributes:
        memory: guest memory in bytes, a multiple of the page size.
        vcpus: virtual CPUs; access j is made by vCPU ``j % vcpus``, and in post-copy each blocks
            alone.
        page_size: bytes of a page, 4 KiB, 2 MiB or 1 GiB (any power of two between).
        device_state: bytes of CPU and device state, sent while the guest is paused. The default is
            256 KiB and 9.5 kB for each vCPU beyond the first; QEMU sends 110 to 210 kB and 9.5 kB
            for each vCPU.
        zero_fraction: share of the pages that hold only zeros when the migration starts; a write
            makes a page non-zero.
        zero_offset: where in memory they lie; at its end by default.
        load: the share of its vCPUs' time that the workload needs to keep its rate. Throttling
            takes idle time first, as far as ``catch_up`` lets it; 1 is a workload that is as fast
            as its processor.
        catch_up: seconds of work that a guest whose vCPU could not run makes up for afterwards, as
            one that is paced by a clock does; of what is longer nothing is made up.
        resume_seconds: from the arrival of the device state to the first instruction.
        dirty_log: when the log is cleared: for all pages at each ``sync`` (Xen, TCG, KVM without
            manual protection), or chunk by chunk before the chunk is ``send`` (KVM with
            KVM_CLEAR_DIRTY_LOG).
        clear_chunk: memory whose log is cleared together under ``send`` (QEMU's
            clear_bitmap_shift, 1 GiB).
        sync_seconds_per_gib: time to read the log, for each GiB of memory; the guest runs on. The
            default is an assumption: three passes over 32 KiB of bitmap.
        log_needs_vcpus: reading the log takes until all vCPUs have run, and a throttled one sleeps
            most of the time (QEMU's TCG).
        first_write_seconds: what the first write to a page after its log bit was cleared costs
            the vCPU. 0 describes a guest whose rate is set by its load, not by its processor.
            Write faults cost 1 to 2.5 us on current machines.
        fault_seconds: CPU time of a post-copy fault beside the network: trap, place, wake.
        page_seconds: CPU time of the sending thread for a page: find it, test it for zeros, hand it
            to the socket. 0 describes a thread that is always faster than the link.
        zero_page_seconds: the same for a page that turns out to be zero.
        memory_model: what codecs work on: ``sizes`` of encoded pages, drawn from what real codecs
            were measured to make of real bytes; or the ``bytes`` of the guest's memory themselves,
            which are encoded, decoded and compared in the end.
        codec_costs: CPU time of the codecs: as measured on a ``reference`` machine, as ``measured``
            on this one (`migsim calibrate`), or in a file.
    """

    memory: Bytes = 4 * GIB
    vcpus: int = 1
    page_size: Bytes = 4 * KIB
    device_state: Bytes | None = None
    zero_fraction: Fraction = 0.0
    zero_offset: Bytes | None = None
    load: Fraction = 1.0
    catch_up: Seconds = 0.0
    resume_seconds: Seconds = 0.01
    dirty_log: Literal["sync", "send"] = "sync"
    clear_chunk: Bytes = GIB
    sync_seconds_per_gib: Seconds = 20e-6
    log_needs_vcpus: bool = False
    first_write_seconds: Seconds = 0.0
    fault_seconds: Seconds = 20e-6
    page_seconds: Seconds = 0.0
    zero_page_seconds: Seconds = 0.0
    memory_model: Literal["sizes", "bytes"] = "sizes"
    codec_costs: Annotated[str, NamesFiles(lambda name: [costs_path(name)])] = "reference"

    def __post_init__(self) -> None:
        size = self.page_size
        if not 4 * KIB <= size <= GIB or size & (size - 1):
            raise InputError(
                f"virtual machine: page_size is {format_size(size)}, "
                "expected a power of two from 4 KiB to 1 GiB"
            )
        if self.memory < size or self.memory % size:
            raise InputError(
                f"virtual machine: memory is {format_size(self.memory)}, "
                f"expected a positive multiple of the page size, {format_size(size)}"
            )
        if not 1 <= self.vcpus <= 4096:
            raise InputError(f"virtual machine: vcpus is {self.vcpus}, expected 1 to 4096")
        if self.zero_offset is not None and self.zero_offset > self.memory - self.zero_bytes:
            raise InputError(
                f"virtual machine: zero_offset is {format_size(self.zero_offset)}, expected at "
                f"most {format_size(self.memory - self.zero_bytes)}, so that the zero pages fit"
            )
        chunk = self.clear_chunk
        if chunk < size or chunk & (chunk - 1):
            raise InputError(
                f"virtual machine: clear_chunk is {format_size(chunk)}, "
                "expected a power of two of at least one page"
            )

    @property
    def pages(self) -> int:
        """Pages of the guest's memory."""
        return self.memory // self.page_size

    @property
    def zero_bytes(self) -> int:
        """Memory that holds only zeros when the migration starts."""
        return round(self.zero_fraction * self.pages) * self.page_size

    @property
    def device_bytes(self) -> int:
        """Bytes of the CPU and device state."""
        if self.device_state is None:
            return 256 * KIB + 9500 * (self.vcpus - 1)
        return self.device_state

    @property
    def sync_seconds(self) -> float:
        """Time of one reading of the dirty log."""
        return self.sync_seconds_per_gib * self.memory / GIB

    def sync_wait(self, throttle: float) -> float:
        """Return how long a reading of the log waits for throttled vCPUs, on average."""
        if not self.log_needs_vcpus:
            return 0.0
        cycle = THROTTLE_SLICE / (1.0 - throttle)
        return (throttle * cycle) ** 2 / (2.0 * cycle)

    def speed(self, throttle: float) -> float:
        """Return how fast the workload goes while ``throttle`` of the vCPUs' time is taken.

        The vCPUs run for a slice and then sleep. What the workload misses it makes up for by using
        idle time, unless it sleeps for longer than ``catch_up`` at a time.
        """
        asleep = THROTTLE_SLICE * throttle / (1.0 - throttle)
        if asleep > self.catch_up:
            return 1.0 - throttle
        return min(1.0, (1.0 - throttle) / self.load) if self.load else 1.0

    def region(self, working_set: int | None, offset: int = 0) -> tuple[int, int]:
        """Return the first page and the number of pages of a region of memory.

        ``working_set`` is in bytes and defaults to a quarter of the memory, at least one page.
        Raises `InputError` where the region does not fit.
        """
        size = self.memory // 4 if working_set is None else working_set
        if working_set is not None and working_set < self.page_size:
            raise InputError(
                f"workload: a working_set of {format_size(size)} is less than a page "
                f"of {format_size(self.page_size)}"
            )
        count = max(1, size // self.page_size)
        first = offset // self.page_size
        if first + count > self.pages:
            place = f" at offset {format_size(offset)}" if offset else ""
            raise InputError(
                f"workload: a working_set of {format_size(size)}{place} does not fit "
                f"into a memory of {format_size(self.memory)}"
            )
        return first, count
