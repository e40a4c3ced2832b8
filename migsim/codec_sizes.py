"""What codecs make of pages, as measured on bytes: the tables behind sizes mode.

`migsim calibrate --tables` measures them anew (`migsim.calibration`).
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
from collections.abc import Mapping

import numpy as np

from migsim._kernels.content import BLEND, BLENDS
from migsim._kernels.draws import portable_log
from migsim._types import Floats, Shorts
from migsim.content import CLASSES, PAGE_BYTES
from migsim.errors import InputError

__all__ = [
    "CLASS_COUNT",
    "DELTA_STEPS",
    "PACKETS",
    "QUANTILES",
    "class_names",
    "delta_table",
    "grid",
    "page_sizes",
]

CLASS_COUNT = 128
"""Rows of a table that is indexed by class."""
QUANTILES = 8
"""Sizes of a page are drawn from the middles of so many equal parts of the distribution."""
PACKETS = (1, 4, 16, 64, 128)
"""Numbers of pages that were measured together."""
DELTA_STEPS = 1
"""Measured numbers of bytes and runs for each doubling."""


def class_names() -> dict[str, int]:
    """Return all classes that have sizes: those with names, and the blends of recordings."""
    blends = {f"blend-{r}-{h}": BLEND + place for place, (r, h) in enumerate(BLENDS)}
    return CLASSES | blends


def grid() -> list[int]:
    """Return the numbers of written bytes for which deltas were measured, and of runs too."""
    return [2**k for k in range((PAGE_BYTES - 1).bit_length() + 1)]


def _rows(name: str) -> list[dict[str, str]]:
    text = importlib.resources.files("migsim.data").joinpath(name).read_text()
    return list(csv.DictReader(text.splitlines()))


@functools.cache
def _sizes() -> dict[str, dict[int, dict[str, list[float]]]]:
    """Return codec -> packet -> class -> quantiles."""
    found: dict[str, dict[int, dict[str, list[float]]]] = {}
    for row in _rows("codec-sizes.csv"):
        of_codec = found.setdefault(row["codec"], {})
        quantiles = [float(size) for size in row["sizes"].split()]
        of_codec.setdefault(int(row["packet"]), {})[row["class"]] = quantiles
    return found


def page_sizes(codec: str, packet: int, shares: Mapping[str, float]) -> Shorts:
    """Return the encoded sizes of a page by class and quantile: uint16 (`CLASS_COUNT`, 8).

    ``shares`` are those of the classes in the guest, for packets. Raises `InputError` for a codec
    that was not measured.
    """
    table = _sizes()
    if codec not in table:
        raise InputError(
            f"codec '{codec}' has no measured sizes (there are {', '.join(sorted(table))}); "
            "memory_model=bytes runs it on bytes"
        )
    known = table[codec]
    if packet > 1 and max(known) == 1:
        raise InputError(f"codec '{codec}' has no measured sizes for packets of pages")
    sizes = np.full((CLASS_COUNT, QUANTILES), PAGE_BYTES, np.uint16)
    for name, number in class_names().items():
        if packet == 1:
            sizes[number] = known[1][name]
        else:
            size = _in_packet(known, name, packet, shares)
            size += _growth(known, name, packet, shares)
            sizes[number] = min(PAGE_BYTES, round(size))
    return sizes


def _in_packet(
    known: Mapping[int, Mapping[str, list[float]]],
    name: str,
    packet: int,
    shares: Mapping[str, float],
) -> float:
    """Return the size of a page in a packet, where only pages of its class help it."""
    if name not in CLASSES:  # a recording tells nothing of what its pages have in common
        return float(np.mean(known[1][name]))
    counts = sorted(known)
    means = [float(np.mean(known[count][name])) for count in counts]
    together = max(1.0, packet * shares.get(name, 1.0))
    return _between(together, counts, means)


def _between(count: float, counts: list[int], sizes: list[float]) -> float:
    """Return the size between two measured counts of pages, on a logarithmic axis."""
    # Not NumPy's logarithm, nor the C library's: their last bits depend on the processor.
    return float(np.interp(portable_log(count), [portable_log(each) for each in counts], sizes))


def _growth(
    known: Mapping[int, Mapping[str, list[float]]],
    name: str,
    packet: int,
    shares: Mapping[str, float],
) -> float:
    """Return how many bytes a page grows because pages of other classes share its packet.

    They spoil the statistics that a compressor gathers. Measured for each pair of classes, half and
    half; what two lose is divided by their `_room`, and is proportional to the other's share.
    """
    size = _in_packet(known, name, packet, shares)
    growth = 0.0
    for other, share in shares.items():
        pair = "+".join(sorted((name, other)))
        if other != name and pair in known[PACKETS[1]]:
            counts = sorted(count for count in known if count > 1)
            measured = [known[count][pair][0] for count in counts]
            together = _between(packet, counts, measured)
            halves = {name: 0.5, other: 0.5}
            alone = [_in_packet(known, each, packet, halves) for each in (name, other)]
            lost = together - (alone[0] + alone[1]) / 2
            rooms = _room(alone[0]) + _room(alone[1])
            growth += 2 * share * max(0.0, lost) / max(1.0, rooms / 2)
    return growth * _room(size)


def _room(size: float) -> float:
    """Return how much a page of an encoded size can grow: little if it is hardly compressed."""
    return max(0.0, size * (1.0 - size / PAGE_BYTES))


@functools.cache
def delta_table(codec: str) -> tuple[Floats, Floats]:
    """Return the logarithms of mean sizes of deltas, and mean sizes of filled pages, by class.

    float64 (`CLASS_COUNT`, log2 of written bytes, log2 of runs), and float64 (`CLASS_COUNT`, 2),
    where a page of zeros was filled, or of another byte.
    """
    names, steps = class_names(), grid()
    table = np.zeros((CLASS_COUNT, len(steps), len(steps)))
    filled = np.zeros((CLASS_COUNT, 2))
    for row in _rows("delta-sizes.csv"):
        if row["codec"] != codec:
            continue
        sizes = np.array(row["sizes"].split(), np.float64)
        if row["written"] == "0":
            filled[names[row["class"]]] = sizes
        else:
            logs = [portable_log(max(1.0, size)) for size in sizes]
            # There are no more runs than bytes.
            logs += [logs[-1]] * (len(steps) - len(logs))
            table[names[row["class"]], steps.index(int(row["written"]))] = logs
    return table, filled
