"""The memory of a guest at both hosts, as sizes or as bytes."""

from __future__ import annotations

import numpy as np

from migsim._kernels.encoding import Memory
from migsim._kernels.image import differing_pages, fill_memory
from migsim._types import Bytes, Ints32
from migsim.content import PAGE_BYTES, Content
from migsim.errors import InputError
from migsim.machine import VirtualMachine
from migsim.pages import Pages
from migsim.units import GIB, format_size

__all__ = ["GuestMemory"]

_MOST_BYTES = 8 * GIB
"""Of a guest with bytes: three copies of it are held."""


def _no_bytes() -> Bytes:
    return np.empty((0, PAGE_BYTES), np.uint8)


class GuestMemory:
    """What is known of the content of a guest's pages: nothing, sizes, or all their bytes.

    Nothing is kept track of before an algorithm uses a codec whose sizes depend on content; guests
    with bytes have them from the start.

    Attributes:
        content: the classes of pages, and what writes change.
        arrays: what kernels need.
        image_pages: the page of the guest's image that each page begins with, or -1; int32, empty
            where it has none or nothing is kept track of.
    """

    def __init__(self, vm: VirtualMachine, content: Content, nonzero: Pages) -> None:
        """Make the memory of a guest of which all but the pages of ``nonzero`` hold zeros.

        Raises `InputError` where the machine cannot have bytes.
        """
        self._vm = vm
        self.content = content
        self.has_bytes = vm.memory_model == "bytes"
        self.image_pages: Ints32 = np.empty(0, np.int32)
        self._begins_nonzero = Pages.none(0) if content.image is None else nonzero.copy()
        if self.has_bytes and content.image is not None:
            raise InputError(
                "content: an image is given, expected none with memory_model=bytes: what guests "
                "have in common is known by sizes only"
            )
        empty, shorts = np.empty(0, np.uint8), np.empty(0, np.uint16)
        self.arrays = Memory(
            content.state(vm.page_size),
            empty,
            shorts,
            shorts,
            _no_bytes(),
            _no_bytes(),
            _no_bytes(),
        )
        if self.has_bytes:
            if vm.memory > _MOST_BYTES:
                raise InputError(
                    f"virtual machine: memory is {format_size(vm.memory)}, expected at most "
                    f"{format_size(_MOST_BYTES)} with memory_model=bytes"
                )
            self.track(Pages.none(vm.pages))
            here, there = np.zeros((2, vm.pages, PAGE_BYTES), np.uint8)
            self.arrays = self.arrays._replace(here=here, there=there)
            fill_memory(self.arrays, nonzero.words)

    @property
    def tracked(self) -> bool:
        """Whether content is kept track of."""
        return self.arrays.classes.size > 0

    def track(self, changed: Pages) -> None:
        """Keep track of content from now on; ``changed`` are pages that the destination has older.

        Raises `InputError` for pages of a size whose content is not modelled.
        """
        if self.tracked:
            return
        if self._vm.page_size != PAGE_BYTES:
            raise InputError(
                f"virtual machine: page_size is {format_size(self._vm.page_size)}, expected 4 KiB: "
                "the content of other pages is not modelled"
            )
        pages = self._vm.pages
        written, runs = np.zeros((2, pages), np.uint16)
        written[changed.indices()] = PAGE_BYTES
        runs[changed.indices()] = 1
        classes = self.content.classes()
        if self.content.image is not None:
            self.image_pages = self.content.place_image(self._begins_nonzero)
            own = self.image_pages >= 0
            classes[own] = self.content.image_classes()[self.image_pages[own]]
        self.arrays = self.arrays._replace(classes=classes, written=written, runs=runs)

    def switch_over(self) -> None:
        """The guest goes on at the destination: from now on its writes change bytes there."""
        if self.has_bytes:
            self.arrays = self.arrays._replace(truth=self.arrays.here.copy())

    def differing(self) -> Pages:
        """Return the pages whose bytes at the destination are not what the guest has written."""
        pages = Pages.none(self._vm.pages)
        if self.has_bytes:
            truth = self.arrays.truth if self.arrays.truth.size else self.arrays.here
            differing_pages(truth, self.arrays.there, pages.words)
            pages.touched()
        return pages
