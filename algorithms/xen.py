"""Xen's pre-copy, as its paper has it and as its tools did it."""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from migsim import InputError, Migration, Pages
from migsim.units import KIB, ByteRate, Bytes, Count, Fraction

MEGABIT = 2**20 / 8
"""Bytes per second of what Xen calls 1 Mbit/s: its limiter lets out 100 KiB each 0.78125 s."""
LEAST_PAGES = 50


def xen(
    migration: Migration,
    *,
    rules: Literal["paper", "source", "shipped"] = "paper",
    start_rate: ByteRate = 100 * MEGABIT,
    rate_step: ByteRate = 50 * MEGABIT,
    max_rate: ByteRate = 500 * MEGABIT,
    least: Bytes = 256 * KIB,
    max_rounds: Count = 29,
    max_factor: float = 3.0,
    batch: Count = 1024,
    balloon: Fraction = 0.0,
) -> None:
    """Pre-copies at a rate that follows the guest's, and leaves out what is dirty again already.

    Clark et al., NSDI 2005, sec. 5.3 and 5.4: rounds go through the pages in pseudo-random order
    and pass over those that the dirty log has when a ``batch`` of pages is put together. The first
    round goes at ``start_rate``, each next one at the rate at which the one before was dirtied and
    ``rate_step``. By the ``paper``, what is left is sent at ``max_rate`` once that rate exceeds
    ``max_rate`` or less than ``least`` is left. By the ``source`` of the tools, the rate only
    rises, and rounds end once one at ``max_rate`` has sent more than the one before, or one had
    fewer than 50 pages. The ``shipped`` build has no rate limit and only the latter rule. All end
    their rounds after ``max_rounds`` and after ``max_factor`` times the memory. ``balloon`` is the
    share of the free pages that a balloon has taken (Hines and Gopalan, VEE 2009, sec. 3.3): they
    are not sent.

    It loses on links faster than ``max_rate``, which the rounds leave idle. Unlike Xen, pages of
    zeros cost a byte here, as everywhere.
    """
    for name, value in (("start_rate", start_rate), ("max_rate", max_rate), ("batch", batch)):
        if not value > 0:
            raise InputError(f"algorithm 'xen': {name} is {value:g}, expected more than 0")
    order = _scattered(migration.vm.pages)
    rate = math.inf if rules == "shipped" else start_rate
    last_rate = math.inf if rules == "shipped" else max_rate
    free = migration.free.indices()
    ballooned = Pages.of(free[free.size - int(balloon * free.size) :], size=migration.vm.pages)
    todo = left = migration.everything - ballooned
    total, before = 0, migration.vm.pages
    for _ in range(max_rounds):
        began, at_most = migration.now, rate >= max_rate
        sent = migration.send(todo, order=order, rate=rate, skip_redirtied=True, peek_pages=batch)
        dirty = migration.take_dirty()
        left = sent.left | dirty
        total += sent.pages
        if total > max_factor * migration.vm.pages:
            break
        dirtied = len(dirty) * migration.vm.page_size / max(migration.now - began, 1e-9)
        if rules == "paper":
            rate = max(start_rate, dirtied + rate_step)
            if rate > max_rate or len(dirty) * migration.vm.page_size < least:
                break
        else:
            grew = sent.pages > before
            if len(todo) < LEAST_PAGES or (rules == "source" and at_most and grew):
                break
            if dirtied > rate:
                rate = min(dirtied + rate_step, max_rate)
        todo, before = dirty, sent.pages
    migration.pause()
    migration.send(left | migration.take_dirty(), order=order, rate=last_rate)
    migration.resume()


def _scattered(pages: int) -> npt.NDArray[np.int64]:
    """Return all page numbers in a pseudo-random order: sorted by a hash (SplitMix64)."""
    bits = np.arange(1, pages + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(bits ^ (bits >> np.uint64(31)), kind="stable").astype(np.int64)
