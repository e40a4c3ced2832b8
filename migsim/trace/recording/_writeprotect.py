"""Which pages were written since the last look: asynchronous write protection (Linux 6.7).

The kernel protects every page, lets a write through after noting it, and on PAGEMAP_SCAN returns
the noted pages and protects them again in one step, so no write falls between two intervals. This
is what a hypervisor's dirty log does: writes of the same value count, and so do writes by the
kernel on the program's behalf, such as a `read` into a buffer.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

import numpy as np

from migsim._types import Integers
from migsim.trace.recording._inject import take_userfaultfd
from migsim.trace.recording._system import PAGE_SIZE, Mapping, writable_mappings

__all__ = ["WriteProtectTracker"]


def _request(kind: int, number: int, size: int) -> int:
    return (3 << 30) | (size << 16) | (kind << 8) | number  # _IOWR


_UFFDIO_API: Final = _request(0xAA, 0x3F, 24)
_UFFDIO_REGISTER: Final = _request(0xAA, 0x00, 32)
_PAGEMAP_SCAN: Final = _request(ord("f"), 16, 96)
_API_VERSION: Final = 0xAA
_FEATURES: Final = 1 << 0 | 1 << 13 | 1 << 15  # write protection, of unpopulated pages, async
_MODE_WP: Final = 2
_WP_MATCHING, _CHECK_WPASYNC = 1, 2
_WRITTEN, _FILE, _PRESENT, _SWAPPED, _ZERO_PAGE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
# Pages of files and the shared zero page are only read: a write replaces them by a private page.
_INVERTED: Final = _FILE | _ZERO_PAGE
_ALL_OF: Final = _WRITTEN | _FILE | _ZERO_PAGE
_ANY_OF: Final = _PRESENT | _SWAPPED
_REGION: Final = np.dtype([("start", "<u8"), ("end", "<u8"), ("categories", "<u8")])
_REGIONS: Final = 1 << 15


class WriteProtectTracker:
    """The written pages of a process, interval by interval."""

    method: Final = "uffd-wp"

    def __init__(self, pid: int, within: Mapping | None = None) -> None:
        self._pid, self._within = pid, within
        self._regions = np.ones(_REGIONS, _REGION)  # ones: populated before the recording begins
        self._refused: set[int] = set()  # at the last look
        self._skipped: set[int] = set()  # at two looks in a row: not just unmapped meanwhile
        self._descriptor, self._pagemap = self._open()

    def _open(self) -> tuple[int, int]:
        descriptor = take_userfaultfd(self._pid)
        try:
            request = bytearray(struct.pack("QQQ", _API_VERSION, _FEATURES, 0))
            fcntl.ioctl(descriptor, _UFFDIO_API, request)
            return descriptor, os.open(f"/proc/{self._pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Remove the protection; the program runs on at full speed."""
        for open_file in (self._descriptor, self._pagemap):
            if open_file >= 0:
                os.close(open_file)
        self._descriptor = self._pagemap = -1

    @property
    def failures(self) -> dict[str, int]:
        """What could not be followed: mappings that the kernel cannot write-protect."""
        return {"mappings_skipped": len(self._skipped)}

    def written(self) -> Integers:
        """Return page ranges (first, one past last) written since the last call, ascending.

        The first call returns all pages present. Raises `ProcessLookupError` once the program has
        ended. After an `exec` the memory is another one, and so the descriptor has to be, too.
        """
        mappings, registered = self._register()
        if mappings and not registered:
            self.close()
            self._descriptor, self._pagemap = self._open()
            mappings, registered = self._register()
        found = [ranges for mapping in registered for ranges in self._scan(mapping)]
        return np.concatenate(found) if found else np.zeros((0, 2), np.int64)

    def _register(self) -> tuple[list[Mapping], list[Mapping]]:
        mappings = writable_mappings(self._pid, self._within)
        registered, refused = [], set()
        for mapping in mappings:
            size = mapping.end - mapping.start
            request = bytearray(struct.pack("QQQQ", mapping.start, size, _MODE_WP, 0))
            try:
                fcntl.ioctl(self._descriptor, _UFFDIO_REGISTER, request)
            except OSError:
                refused.add(mapping.start)
            else:
                registered.append(mapping)
        if registered:
            self._skipped |= refused & self._refused
            self._refused = refused
        return mappings, registered

    def _scan(self, mapping: Mapping) -> list[Integers]:
        start, found = mapping.start, []
        while start < mapping.end:
            request = bytearray(
                struct.pack(
                    "12Q", 96, _WP_MATCHING | _CHECK_WPASYNC, start, mapping.end, 0,
                    self._regions.ctypes.data, _REGIONS, 0, _INVERTED, _ALL_OF, _ANY_OF, _WRITTEN,
                )
            )  # fmt: skip
            try:
                count = fcntl.ioctl(self._pagemap, _PAGEMAP_SCAN, request)
            except OSError:  # unmapped a moment ago
                break
            part = self._regions[:count]
            if count:
                pages = np.stack([part["start"], part["end"]], axis=1) // PAGE_SIZE
                found.append(pages.astype(np.int64))
            if count < _REGIONS:
                # Done, whatever the returned position says: the kernel (6.18) sets it only when
                # its own buffer of 512 regions fills up, and not any more at the end.
                break
            (start,) = struct.unpack_from("Q", request, 32)
        return found
