"""What is in a guest's pages, and what its writes change: the rule, and its arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np

from migsim._kernels.content import (
    CODE,
    COMPRESSED,
    ENCRYPTED,
    HEAP,
    TEXT,
    UNIFORM,
    draw_classes,
    draw_places,
    silence,
)
from migsim._kernels.draws import random_bits
from migsim._kernels.encoding import MEMORY_STATE
from migsim._types import Bytes, Integers, Ints32, Record
from migsim.errors import InputError, did_you_mean
from migsim.pages import Pages
from migsim.units import Bytes as Size
from migsim.units import Count, Fraction, format_size
from migsim.workload import Workload

__all__ = [
    "CLASSES",
    "PAGE_BYTES",
    "Content",
    "ContentRule",
    "Image",
    "RecordedContent",
    "is_recorded",
    "parse_content",
]

CLASSES = {
    "encrypted": ENCRYPTED,
    "compressed": COMPRESSED,
    "text": TEXT,
    "code": CODE,
    "heap": HEAP,
    "uniform": UNIFORM,
}
"""The classes of pages by name; ``zero`` pages beside them are no class."""

PAGE_BYTES = 4096
"""The page size for which pages have content: what hypervisors encode at a time."""

_ZERO = 127  # stands for a zero page while classes are drawn; its first write makes it a heap page
_GUEST = "heap:50+text:15+code:15+compressed:15+encrypted:5"
_DEFAULT_WRITE = 64
_WORD = 8
_GROUP_PAGES = 8  # pages that are equal to one another, on average
_SEED_PART, _IMAGE_PART = 0xC0, 0xC1


@dataclass(frozen=True, kw_only=True)
class ContentRule:
    """Parameters that every workload has: what its pages hold, and what a write changes.

    Attributes:
        content: the mix of page classes, written ``class:weight+class:weight`` or as one name, of
            zero, uniform, text, code, heap, compressed, encrypted; ``guest`` is a server's mix.
        write_bytes: bytes that a write writes; by default what was recorded, else 64.
        write_pattern: whether they lie together at a random place (``record``), in words scattered
            over the page (``scattered``), or in words that are always the same ones (``fixed``).
        silent_fraction: share of the writes that leave their page as it was; by default what was
            recorded, else none. Such writes dirty the log and change nothing.
        duplicate_fraction: share of the pages that begin as copies of others (Barker et al., ATC
            2012: less than 15 %).
        image: memory that holds the same in all guests of one image, as programs and files of one
            operating system do; each page of it once, at a place of the guest's own. Only a gang
            that migrates together gains by it (`migsim.gang`).
        image_seed: which image that is; those of other sizes, or of another mix, are others, too.
    """

    content: str = "guest"
    write_bytes: Size | None = None
    write_pattern: Literal["record", "scattered", "fixed"] = "record"
    silent_fraction: Fraction | None = None
    duplicate_fraction: Fraction = 0.1
    image: Size = 0
    image_seed: Count = 0


@dataclass(frozen=True)
class Image:
    """A content that several guests have in common.

    Attributes:
        pages: of it.
        seed: chooses its content.
        content: the mix of its classes.
    """

    pages: int
    seed: int
    content: str


@runtime_checkable
class RecordedContent(Protocol):
    """A workload that knows what its writes change, as a recording does.

    Attributes:
        pages: as of every workload.
        spots: places of a page at which the runs of a write may begin; 0 for anywhere.
    """

    pages: int
    spots: int

    def changes(self, first: int, out: Integers) -> None:
        """Fill in what the accesses from ``first`` on change (`migsim._kernels.content`)."""
        ...

    def classes(self, out: Bytes) -> None:
        """Set the class of each page that it knows."""
        ...


def is_recorded(workload: Workload) -> TypeGuard[RecordedContent]:
    """Return whether a workload is one of `RecordedContent`.

    Each migration asks, and `isinstance` of a protocol takes as long as several of its acts.
    """
    return all(hasattr(workload, name) for name in ("spots", "changes", "classes"))


def parse_content(text: str) -> dict[str, float]:
    """Return the shares of the classes in a mix, which add up to 1. Raises `InputError`.

    >>> parse_content("heap:3+zero")
    {'heap': 0.75, 'zero': 0.25}
    """
    weights: dict[str, float] = {}
    for part in (_GUEST if text == "guest" else text).split("+"):
        name, colon, weight = (piece.strip() for piece in part.partition(":"))
        known = [*CLASSES, "zero"]
        if name not in known:
            if name == "guest":
                raise InputError(f"content: got '{text}', expected 'guest' to stand alone")
            known += ["guest"]
            raise InputError(f"content: unknown class '{name}', {did_you_mean(name, known)}")
        try:
            value = float(weight) if colon else 1.0
        except ValueError:
            value = -1.0
        if not 0 < value < 1e9 or name in weights:
            raise InputError(f"content: got '{text}', expected a mix such as 'heap:3+text:1'")
        weights[name] = value
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


class Content:
    """The content of one guest: which class each page has, and what each access changes."""

    def __init__(self, rule: ContentRule, workload: Workload, pages: int, seed: int) -> None:
        self._rule = rule
        self.shares = parse_content(rule.content)
        self._recorded = workload if is_recorded(workload) else None
        self._pages = pages
        self.seed = np.uint64(random_bits(np.uint64(seed % 2**64), _SEED_PART))
        self._classes: Bytes | None = None
        size = _DEFAULT_WRITE if rule.write_bytes is None else rule.write_bytes
        if not 0 <= size <= PAGE_BYTES:
            raise InputError(
                f"content: write_bytes is {size}, expected at most a page of {PAGE_BYTES} bytes"
            )
        if rule.image % PAGE_BYTES:
            raise InputError(
                f"content: image is {format_size(rule.image)}, expected a multiple of 4 KiB"
            )
        self.image = (
            Image(rule.image // PAGE_BYTES, rule.image_seed, rule.content) if rule.image else None
        )
        together = rule.write_pattern == "record" or size < 2 * _WORD
        runs = min(1, size) if together else size // _WORD
        self._change = size | runs << 16

    @property
    def follows_recording(self) -> bool:
        """Whether the workload itself says what its writes change."""
        return self._recorded is not None and self._rule.write_bytes is None

    @property
    def has_history(self) -> bool:
        """Whether it matters what writes have changed before the first codec is used.

        Silent writes leave pages as they are, zero pages too; others make heap pages of uniform
        ones, and pages of an image cease to be. A recording's writes are left out, so that only
        codecs make its replay slower.
        """
        history = bool(self._rule.silent_fraction) or "uniform" in self.shares
        return history or self.image is not None

    def zero_pages(self) -> Pages:
        """Return the pages that begin as zeros by the mix of classes."""
        if "zero" not in self.shares:
            return Pages.none(self._pages)
        return Pages.of(np.flatnonzero(self._drawn() == _ZERO), size=self._pages)

    def classes(self) -> Bytes:
        """Return the class of each page: uint8 of shape (pages,)."""
        classes = self._drawn().copy()
        classes[classes == _ZERO] = HEAP
        if self._recorded_classes is not None:
            self._recorded_classes.classes(classes)
        return classes

    def place_image(self, nonzero: Pages) -> Ints32:
        """Return the page of the image that each page holds, or -1: int32 of shape (pages,).

        Its pages lie scattered over those of ``nonzero``. Raises `InputError` where they do not
        fit.
        """
        held = np.full(self._pages, -1, np.int32)
        if self.image is not None:
            places = nonzero.indices()
            places = places[places >= self._first_duplicate]
            if self.image.pages > places.size:
                raise InputError(
                    f"content: image is {format_size(self.image.pages * PAGE_BYTES)}, expected at "
                    f"most {format_size(places.size * PAGE_BYTES)}: what is not zeros at first"
                )
            draws = np.empty(places.size, np.uint64)
            draw_places(self.seed ^ np.uint64(_IMAGE_PART), places, draws)
            order = np.argsort(draws, kind="stable")[: self.image.pages]
            held[places[order]] = np.arange(self.image.pages, dtype=np.int32)
        return held

    def image_classes(self) -> Bytes:
        """Return the class of each page of the image: uint8."""
        assert self.image is not None
        seed = np.uint64(random_bits(np.uint64(self.image.seed), _IMAGE_PART))
        classes = self._draw(seed, self.image.pages, share=0.0)
        classes[classes == _ZERO] = HEAP
        return classes

    def state(self, page_bytes: int = PAGE_BYTES) -> Record:
        """Return the constants that kernels need of the content."""
        records: Record = np.zeros(1, MEMORY_STATE)
        record = records[0]
        record["seed"] = self.seed
        if self._recorded is not None and self.follows_recording:
            record["spots"] = self._recorded.spots
        else:
            record["spots"] = 1 if self._rule.write_pattern == "fixed" else 0
        record["page_bytes"] = page_bytes
        record["first_duplicate"] = self._first_duplicate
        record["duplicate_share"] = self._rule.duplicate_fraction
        record["duplicate_groups"] = self._groups
        return records

    def changes(self, first: int, out: Integers) -> None:
        """Fill in what the accesses from ``first`` on change."""
        if self._recorded is not None and self.follows_recording:
            self._recorded.changes(first, out)
            if self._rule.silent_fraction is None:
                return
        else:
            out.fill(self._change)
        silent = self._rule.silent_fraction or 0.0
        if silent:
            silence(self.seed, first, silent, out)

    @property
    def _recorded_classes(self) -> RecordedContent | None:
        """The workload, where it decides on classes."""
        return self._recorded if self._rule.content == "guest" else None

    @property
    def _first_duplicate(self) -> int:
        """Pages of a recording have classes of their own, so they are made no copies of others."""
        return 0 if self._recorded_classes is None else self._recorded_classes.pages

    @property
    def _groups(self) -> int:
        duplicates = self._rule.duplicate_fraction * self._pages
        return int(np.ceil(duplicates / _GROUP_PAGES))

    def _drawn(self) -> Bytes:
        if self._classes is None:
            self._classes = self._draw(self.seed, self._pages, share=self._rule.duplicate_fraction)
        return self._classes

    def _draw(self, seed: np.uint64, pages: int, *, share: float) -> Bytes:
        classes = np.empty(pages, np.uint8)
        kinds = np.array([CLASSES.get(name, _ZERO) for name in self.shares], np.uint8)
        upper = np.cumsum(list(self.shares.values()))
        upper[-1] = 2.0  # above every draw, whatever rounding has done
        draw_classes(seed, self._first_duplicate, share, self._groups, upper, kinds, classes)
        return classes
