"""A set of pages: a bitmap, as hypervisors hold it, of which whole blocks cost nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from migsim._kernels.sets import (
    BLOCK,
    COPY,
    DIFFERENCE,
    FULL,
    INTERSECTION,
    MIXED,
    UNION,
    Bitmap,
    add_range,
    combine,
    count,
    has,
    make_dense,
    next_in,
    open_block,
)
from migsim._types import Integers, Words

__all__ = ["Pages", "checked_order"]

_WORD = 64


class Pages:
    """A set of the pages 0 to ``size - 1`` of a guest, with the set operators.

    Whole blocks of pages that are all in the set, or all not, take no memory and no time.

    >>> a, b = Pages.of([1, 2, 3], size=100), Pages.of([3, 4], size=100)
    >>> len(a | b), len(a & b), (a - b).indices().tolist()
    (4, 1, [1, 2])
    """

    __slots__ = ("_count", "bits")

    def __init__(self, words: Words, size: int) -> None:
        """Take over ``words``: uint64 (ceil(size / 64),), the bits beyond ``size`` clear."""
        self.bits = Bitmap(words, np.full(-(-size // BLOCK), MIXED, np.uint8), size)
        self._count = -1

    @classmethod
    def none(cls, size: int) -> Pages:
        """Return the empty set."""
        result = cls.__new__(cls)
        words = np.empty(-(-size // _WORD), np.uint64)
        result.bits = Bitmap(words, np.zeros(-(-size // BLOCK), np.uint8), size)  # all are `EMPTY`
        result._count = 0
        return result

    @classmethod
    def range(cls, start: int, stop: int, *, size: int) -> Pages:
        """Return the pages ``start`` to ``stop - 1``. Raises ValueError where they do not exist."""
        if not 0 <= start <= size or not stop <= size:
            raise ValueError(f"pages {start} to {stop} of {size}")
        result = cls.none(size)
        if start == 0 and stop == size:  # no kernel to be compiled, in a first migration
            result.bits.blocks.fill(FULL)
        elif start < stop:
            add_range(result.bits, start, stop)
        result._count = max(0, stop - start)
        return result

    @classmethod
    def of(cls, indices: Iterable[int] | Integers, *, size: int) -> Pages:
        """Return the set of the given page numbers, in any order, repeats allowed.

        Raises ValueError for a page that does not exist.
        """
        chosen = np.fromiter(indices, np.int64) if not isinstance(indices, np.ndarray) else indices
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < size:
            raise ValueError(f"pages {chosen.min()} to {chosen.max()} of {size}")
        result = cls.none(size)
        bits = np.uint64(1) << (chosen % _WORD).astype(np.uint64)
        for block in np.unique(chosen // BLOCK).tolist():
            open_block(result.bits, block)
        np.bitwise_or.at(result.bits.words, chosen // _WORD, bits)
        result.touched()
        return result

    @property
    def size(self) -> int:
        """Pages that the guest has."""
        return self.bits.size

    @property
    def words(self) -> Words:
        """All bits as words, for who knows words only; valid until another kernel runs.

        The set is dense from then on. Who writes to them calls `touched`.
        """
        make_dense(self.bits)
        self.touched()
        return self.bits.words

    def indices(self) -> Integers:
        """Return the page numbers in ascending order, int64 of shape (len,)."""
        listed = [np.empty(0, np.int64)]
        for block in np.flatnonzero(self.bits.blocks).tolist():
            first, stop = block * BLOCK, min((block + 1) * BLOCK, self.size)
            if self.bits.blocks[block] == FULL:
                listed.append(np.arange(first, stop))
                continue
            words = self.bits.words[first // _WORD : -(-stop // _WORD)]
            bits = np.unpackbits(words.view(np.uint8), bitorder="little")
            listed.append(first + np.flatnonzero(bits))
        return np.concatenate(listed)

    def first(self, count: int) -> list[int]:
        """Return the lowest page numbers, at most ``count``."""
        found: list[int] = []
        page = next_in(self.bits, 0)
        while page >= 0 and len(found) < count:
            found.append(page)
            page = next_in(self.bits, page + 1)
        return found

    def copy(self) -> Pages:
        """Return an independent copy."""
        return self._combined(COPY, self)

    def touched(self) -> None:
        """Forget the count, after a kernel has changed the words."""
        self._count = -1

    def __len__(self) -> int:
        if self._count < 0:
            self._count = count(self.bits)
        return self._count

    def __bool__(self) -> bool:
        return len(self) > 0

    def __contains__(self, page: int) -> bool:
        return 0 <= page < self.size and bool(has(self.bits, page))

    def __or__(self, other: Pages) -> Pages:
        return self._combined(UNION, other)

    def __and__(self, other: Pages) -> Pages:
        return self._combined(INTERSECTION, other)

    def __sub__(self, other: Pages) -> Pages:
        return self._combined(DIFFERENCE, other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pages):
            return NotImplemented
        return self.size == other.size and not self - other and not other - self

    __hash__ = None  # type: ignore[assignment]

    def _combined(self, operation: int, other: Pages) -> Pages:
        if not isinstance(other, Pages):
            raise TypeError(f"expected Pages, got {type(other).__name__}")
        if other.size != self.size:
            raise ValueError(f"sets of pages of two guests: {self.size} and {other.size} pages")
        left, right = self, other
        if operation == UNION and left._count == 0:
            left, right = right, left
        result = Pages.none(self.size)
        if left._count == 0 or (right._count == 0 and operation == INTERSECTION):
            return result
        if right._count == 0:
            operation = COPY
        combine(operation, left.bits, right.bits, result.bits)
        result._count = left._count if operation == COPY else -1
        return result

    def __repr__(self) -> str:
        return f"<{len(self)} of {self.size} pages>"


def checked_order(order: Integers | None, size: int) -> Integers:
    """Return page numbers as kernels take them. Raises ValueError outside a guest of ``size``."""
    if order is None:
        return np.empty(0, np.int64)
    checked = np.ascontiguousarray(order, np.int64)
    if checked.size and not 0 <= checked.min() <= checked.max() < size:
        raise ValueError(
            f"an order with pages {checked.min()} to {checked.max()}: the guest has {size} pages"
        )
    return checked
