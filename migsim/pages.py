"""A set of pages: a bitmap, as hypervisors hold it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from migsim._types import Integers, Words

__all__ = ["Pages", "checked_order"]

_WORD = 64


class Pages:
    """A set of the pages 0 to ``size - 1`` of a guest, one bit each, with the set operators.

    >>> a, b = Pages.of([1, 2, 3], size=100), Pages.of([3, 4], size=100)
    >>> len(a | b), len(a & b), (a - b).indices().tolist()
    (4, 1, [1, 2])
    """

    __slots__ = ("_count", "size", "words")

    def __init__(self, words: Words, size: int) -> None:
        """Take over ``words``: uint64 (ceil(size / 64),), the bits beyond ``size`` clear."""
        self.words = words
        self.size = size
        self._count = -1

    @classmethod
    def none(cls, size: int) -> Pages:
        """Return the empty set."""
        return cls(np.zeros(-(-size // _WORD), np.uint64), size)

    @classmethod
    def range(cls, start: int, stop: int, *, size: int) -> Pages:
        """Return the pages ``start`` to ``stop - 1``. Raises ValueError where they do not exist."""
        if not 0 <= start <= size or not stop <= size:
            raise ValueError(f"pages {start} to {stop} of {size}")
        result = cls.none(size)
        words = result.words
        full = slice(-(-start // _WORD), max(stop // _WORD, -(-start // _WORD)))
        words[full] = ~np.uint64(0)
        edges = [*range(start, min(full.start * _WORD, stop))]
        edges += range(max(full.stop * _WORD, start), stop)
        for page in edges:
            words[page // _WORD] |= np.uint64(1) << np.uint64(page % _WORD)
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
        np.bitwise_or.at(result.words, chosen // _WORD, bits)
        return result

    def indices(self) -> Integers:
        """Return the page numbers in ascending order, int64 of shape (len,)."""
        bits = np.unpackbits(self.words.view(np.uint8), bitorder="little")
        return np.flatnonzero(bits).astype(np.int64)

    def first(self, count: int) -> list[int]:
        """Return the lowest page numbers, at most ``count``."""
        words = np.flatnonzero(self.words)[:count]
        bits = [(int(w) * _WORD + b, int(self.words[w]) >> b & 1) for w in words for b in range(64)]
        return [page for page, present in bits if present][:count]

    def copy(self) -> Pages:
        """Return an independent copy."""
        return Pages(self.words.copy(), self.size)

    def touched(self) -> None:
        """Forget the count, after a kernel has changed the words."""
        self._count = -1

    def __len__(self) -> int:
        if self._count < 0:
            self._count = int(np.bitwise_count(self.words).sum(dtype=np.int64))
        return self._count

    def __bool__(self) -> bool:
        return len(self) > 0

    def __contains__(self, page: int) -> bool:
        if not 0 <= page < self.size:
            return False
        word = int(self.words[page // _WORD])
        return bool(word >> (page % _WORD) & 1)

    def __or__(self, other: Pages) -> Pages:
        return Pages(self.words | self._peer(other), self.size)

    def __and__(self, other: Pages) -> Pages:
        return Pages(self.words & self._peer(other), self.size)

    def __sub__(self, other: Pages) -> Pages:
        return Pages(self.words & ~self._peer(other), self.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pages):
            return NotImplemented
        return self.size == other.size and bool(np.array_equal(self.words, other.words))

    __hash__ = None  # type: ignore[assignment]

    def _peer(self, other: Pages) -> Words:
        if not isinstance(other, Pages):
            raise TypeError(f"expected Pages, got {type(other).__name__}")
        if other.size != self.size:
            raise ValueError(f"sets of pages of two guests: {self.size} and {other.size} pages")
        return other.words

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
