"""Measuring codecs on this machine: what they make of pages, and how long they take."""

from __future__ import annotations

import contextlib
import csv
import errno
import functools
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from migsim._kernels.content import FORCED, fill_page, write_page
from migsim._kernels.image import count_zero
from migsim._kernels.xbzrle import encode_pages
from migsim._types import Bytes
from migsim.codec_costs import COLUMNS
from migsim.codec_sizes import PACKETS, QUANTILES, class_names, grid
from migsim.codecs import Codec, Encoder, adaptive, dedup, delta, lz4, zlib, zstd
from migsim.content import CLASSES, PAGE_BYTES
from migsim.encoders import compressor_of, digest_of, make_encoder
from migsim.errors import InputError

__all__ = [
    "delta_rows",
    "delta_size",
    "dictionary",
    "measure_costs",
    "measured_codecs",
    "packet_size",
    "sample_pages",
    "size_quantiles",
    "size_rows",
    "write_table",
]

_SEED = np.uint64(20_26)
_PAGES = 128
_DELTAS = 24  # pages for each number of bytes and runs
_MOST_RUNS = 2048
_DICTIONARY_BYTES = 32 * 1024
_LEAST_SECONDS = 0.02  # of a measurement of time
_REPEATS = 3
_DELTA_POINTS = ((8, 1), (64, 1), (64, 8), (512, 8), (512, 64), (2048, 512), (4096, 1))
"""Bytes and runs that are written to pages whose deltas are timed."""
_BEYOND_CACHE = 1 << 14  # pages of zeros, so that they come from memory


def measured_codecs() -> list[Codec]:
    """Return the codecs of whole pages that the committed tables hold."""
    levels = [zlib(level=level) for level in (1, 6, 9)]
    levels += [zstd(level=level) for level in (1, 3, 9, 19)]
    return [lz4(), *levels, zstd(dictionary=True), zstd(level=3, dictionary=True), adaptive()]


def _in_packets() -> list[Codec]:
    return [zlib(level=1), zlib(level=6), zstd(level=1), zstd(level=3)]


def sample_pages(kind: int, count: int = _PAGES) -> Bytes:
    """Return pages of a class as they begin: uint8 (count, page size)."""
    pages = np.empty((count, PAGE_BYTES), np.uint8)
    for page in range(count):
        fill_page(_SEED, kind, page, -1, pages[page].view(np.uint64))
    return pages


def _page_size(encoder: Encoder, page: Bytes) -> int:
    message = encoder.encode(0, None, page)
    return PAGE_BYTES if message is None else len(message)


def size_quantiles(codec: Codec, pages: Bytes) -> list[int]:
    """Return the encoded sizes at the middles of `QUANTILES` equal parts of the distribution."""
    encoder = make_encoder(codec)
    sizes = [_page_size(encoder, page) for page in pages]
    middles = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return [round(float(size)) for size in np.quantile(sizes, middles)]


def packet_size(codec: Codec, pages: Bytes, packet: int) -> float:
    """Return the mean size of a page where ``packet`` pages are compressed together."""
    compressor = compressor_of(codec)
    packets = [pages[k : k + packet].tobytes() for k in range(0, len(pages), packet)]
    return sum(len(compressor.compress(data)) for data in packets) / len(pages)


def size_rows() -> Iterator[dict[str, object]]:
    """Yield the rows of the table of whole pages' sizes."""
    for name, kind in class_names().items():
        pages = sample_pages(kind)
        for codec in measured_codecs():
            sizes = " ".join(map(str, size_quantiles(codec, pages)))
            yield {"codec": codec.name, "class": name, "packet": 1, "sizes": sizes}
        for codec in _in_packets() if name in CLASSES else ():
            for packet in PACKETS[1:]:
                size = f"{packet_size(codec, pages, packet):.1f}"
                yield {"codec": codec.name, "class": name, "packet": packet, "sizes": size}
    for pair in combinations(sorted(CLASSES), 2):
        pages = np.concatenate([sample_pages(CLASSES[name]) for name in pair])
        mixed = pages[np.random.default_rng(0).permutation(len(pages))]
        for codec in _in_packets():
            for packet in PACKETS[1:]:
                size = f"{packet_size(codec, mixed, packet):.1f}"
                yield {"codec": codec.name, "class": "+".join(pair), "packet": packet,
                       "sizes": size}  # fmt: skip


def delta_size(codec: Codec, kind: int, written: int, runs: int, *, forced: bool) -> float:
    """Return the mean size of a delta after ``written`` bytes in ``runs`` runs were written."""
    encoder = make_encoder(codec)
    old = sample_pages(kind, _DELTAS)
    total = 0
    for page, before in enumerate(old):
        after = before.copy()
        change = written | runs << 16 | (FORCED if forced else 0)
        write_page(_SEED, kind, page, page, change, 0, after)
        message = encoder.encode(page, before, after)
        # Beyond the page's size it is sent as it is: what counts is that it is no less.
        total += PAGE_BYTES if message is None else len(message)
    return total / len(old)


def _filled_size(codec: Codec, kind: int, blank: int) -> float:
    """Return the mean size of a delta where a page of one repeated byte was filled."""
    encoder, old = make_encoder(codec), np.full(PAGE_BYTES, blank, np.uint8)
    messages = [encoder.encode(0, old, page) for page in sample_pages(kind)]
    sizes = [PAGE_BYTES if message is None else len(message) for message in messages]
    return float(np.mean(sizes))


def delta_rows() -> Iterator[dict[str, object]]:
    """Yield the rows of the table of deltas' sizes, each with those for 1, 2, 4 ... runs.

    In the row of no written bytes they are those of a filled page of zeros, and of another byte.
    """
    for codec in (delta(), delta(compressor="zstd")):
        for name, kind in class_names().items():
            forced = name not in CLASSES
            sizes = [_filled_size(codec, kind, blank) for blank in (0, 0x5A)]
            yield _delta_row(codec, name, 0, sizes)
            for written in grid():
                sizes = [
                    delta_size(codec, kind, written, min(runs, _MOST_RUNS), forced=forced)
                    for runs in grid()
                    if runs <= written
                ]
                yield _delta_row(codec, name, written, sizes)


def _delta_row(codec: Codec, name: str, written: int, sizes: list[float]) -> dict[str, object]:
    shown = " ".join(f"{size:.0f}" for size in sizes)
    return {"codec": codec.name, "class": name, "written": written, "sizes": shown}


def dictionary() -> bytes:
    """Return a dictionary for zstd, trained on pages that no table is measured on."""
    import zstandard

    samples = [
        page.tobytes()
        for name in ("text", "code", "heap")
        for page in sample_pages(CLASSES[name], 3 * _PAGES)[_PAGES:]
    ]
    return zstandard.train_dictionary(_DICTIONARY_BYTES, samples).as_bytes()


@dataclass(frozen=True)
class _Timed:
    codec: str
    name: str
    seconds: float
    per_byte: float = 0.0
    per_run: float = 0.0

    def row(self) -> dict[str, object]:
        numbers = (self.seconds, self.per_byte, self.per_run)
        values = (self.codec, self.name, *(f"{number:.3g}" for number in numbers))
        return dict(zip(COLUMNS, values, strict=True))


def _seconds(work: Callable[[], object], units: int) -> float:
    """Return the least time of one of ``units`` that ``work`` does, of several measurements."""
    work()
    best = float("inf")
    for _ in range(_REPEATS):
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < _LEAST_SECONDS:
            work()
            count += 1
        best = min(best, (time.perf_counter() - started) / count / units)
    return best


def measure_costs() -> Iterator[dict[str, object]]:
    """Yield the rows of a file of costs, measured on the machine at hand, one thread at a time."""
    zeros = np.zeros((_BEYOND_CACHE, PAGE_BYTES), np.uint8)
    scan = _seconds(lambda: count_zero(zeros), len(zeros))
    yield _Timed("zero", "any", scan).row()
    yield _Timed("uniform", "any", 0.0).row()  # the second word tells
    yield _Timed("uniform", "uniform", scan).row()
    pages = {name: sample_pages(kind) for name, kind in class_names().items()}
    for codec in [*measured_codecs(), dedup()]:
        for name, samples in pages.items():
            work = _encoding(codec, samples)
            yield _Timed(codec.name, name, _seconds(work, _PAGES)).row()
    yield from _delta_costs()


def _encoding(codec: Codec, pages: Bytes) -> Callable[[], object]:
    """Return a function that encodes pages, freshly each time it is called."""
    if codec.method == "dedup":
        return lambda: [digest_of(page) for page in pages]
    compressor, contents = compressor_of(codec), [page.tobytes() for page in pages]
    return lambda: [compressor.compress(content) for content in contents]


def _delta_costs() -> Iterator[dict[str, object]]:
    """Yield the costs of deltas: of a page, of each encoded byte and of each written run."""
    from scipy.optimize import nnls

    old = sample_pages(CLASSES["encrypted"])
    room, sizes = np.empty(PAGE_BYTES, np.uint8), np.empty(len(old), np.int64)
    xor = make_encoder(delta(compressor="zstd"))
    works: dict[str, Callable[[Bytes], object]] = {
        "xbzrle": lambda new: encode_pages(old, new, room, sizes),
        "delta-zstd-1": lambda new: [
            xor.encode(0, before, after) for before, after in zip(old, new, strict=True)
        ],
    }
    for name, work in works.items():
        encoder = make_encoder(delta() if name == "xbzrle" else delta(compressor="zstd"))
        rows, times = [], []
        for written, runs in _DELTA_POINTS:
            new = old.copy()
            for page, data in enumerate(new):
                write_page(_SEED, 0, page, page, written | runs << 16, 0, data)
            times.append(_seconds(functools.partial(work, new), len(old)))
            messages = [encoder.encode(0, a, b) for a, b in zip(old, new, strict=True)]
            lengths = [PAGE_BYTES if message is None else len(message) for message in messages]
            rows.append([1.0, float(np.mean(lengths)), float(runs)])
        # Relative errors count, and no part of the time is less than nothing.
        weights = 1.0 / np.array(times)
        found, _ = nnls(np.array(rows) * weights[:, None], np.ones(len(times)))
        yield _Timed(name, "any", *(float(part) for part in found)).row()


def write_table(path: Path, rows: Iterator[dict[str, object]]) -> int:
    """Write rows as CSV, whole or not at all; return how many there were.

    Raises `InputError` where the file cannot be written, before the first row is asked for.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror}") from None
    text, count = io.StringIO(), 0
    writer = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
        count += 1
    try:
        temporary.write_text(text.getvalue(), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(f"cannot write '{path}': {error.strerror}") from None
    return count
