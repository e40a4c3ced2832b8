"""What codecs make of the classes of pages, against what they make of real pages."""

from __future__ import annotations

import functools
import io
import os
import random
import sys
import sysconfig
import zlib as zlib_module
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from migsim._types import Bytes
from migsim.calibration import sample_pages, size_quantiles
from migsim.codec_sizes import page_sizes
from migsim.codecs import Codec, lz4, zlib, zstd
from migsim.content import CLASSES, PAGE_BYTES
from migsim.registry import trace_names, trace_path
from migsim.trace.content_summary import summarize_content
from migsim.trace.format import Trace, read_trace
from migsim.trace.replay import classes_of, has_content

__all__ = ["Comparison", "compare_classes", "compare_recordings"]

_PAGES = 256
_CODECS = {"lz4": lz4(), "zlib": zlib(), "zstd": zstd()}


@dataclass(frozen=True)
class Comparison:
    """One codec on pages of one kind; sizes are shares of a page.

    Attributes:
        pages: what they are.
        source: where the real ones come from.
        codec: of `migsim.codecs`.
        real: mean size of the real pages.
        model: mean size of ours.
    """

    pages: str
    source: str
    codec: str
    real: float
    model: float

    @property
    def difference(self) -> float:
        """Model less real, in shares of a page."""
        return self.model - self.real


def compare_classes() -> list[Comparison]:
    """Compare the classes with pages of this machine: programs' texts, code, a heap, random data.

    What is found depends on the machine, more than on anything else of migsim.
    """
    found = []
    for name, (source, read) in _SOURCES.items():
        real, ours = _pages(read()), sample_pages(CLASSES[name], _PAGES)
        for label, codec in _CODECS.items():
            found.append(Comparison(name, source, label, _mean(codec, real), _mean(codec, ours)))
    return found


def compare_recordings() -> list[Comparison]:
    """Compare replayed recordings with what was recorded: mean sizes over all dirtied pages."""
    return [item for name in trace_names() for item in _of_recording(name)]


def _of_recording(name: str) -> Iterator[Comparison]:
    trace: Trace = read_trace(trace_path(name))
    summary = summarize_content(trace)
    if summary is None or not has_content(trace):
        return
    classes = classes_of(trace)[trace.pages]
    for label, codec in _CODECS.items():
        model = float(page_sizes(codec.name, 1, {})[classes].mean()) / PAGE_BYTES
        yield Comparison(name, "recorded", label, summary.sizes[label], model)


def _mean(codec: Codec, pages: Bytes) -> float:
    return float(np.mean(size_quantiles(codec, pages))) / PAGE_BYTES


def _pages(data: bytes) -> Bytes:
    """Return up to `_PAGES` pages spread evenly over ``data``, without those of zeros."""
    whole = np.frombuffer(data[: len(data) // PAGE_BYTES * PAGE_BYTES], np.uint8)
    pages = whole.reshape(-1, PAGE_BYTES)
    pages = pages[pages.any(axis=1)]
    return pages[:: max(1, len(pages) // _PAGES)][:_PAGES]


@functools.cache
def _text() -> bytes:
    """Return the standard library's sources."""
    folder = Path(sysconfig.get_path("stdlib"))
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))


def _code() -> bytes:
    """Return the middle of the largest shared object that this process has loaded, or of Python."""
    files = {Path(sys.executable).resolve()}
    maps = Path("/proc/self/maps")
    if maps.exists():
        lines = maps.read_text().splitlines()
        files |= {Path(line.split()[-1]) for line in lines if ".so" in line and " r-xp " in line}
    largest = max((path for path in files if path.is_file()), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    return data[len(data) // 4 : len(data) // 2]


def _heap() -> bytes:
    """Return what an interpreter with many small objects has in memory."""
    draw = random.Random(0)
    held = [
        {"name": f"item {k}", "sizes": [draw.random(), k], "next": {"id": draw.getrandbits(30)}}
        for k in range(40_000)
    ]
    heap = io.BytesIO()
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:  # noqa: PTH123
        for line in maps:
            place, rights, *_, name = [*line.split(maxsplit=5), ""]
            if rights == "rw-p" and name.strip() in {"", "[heap]"}:
                start, end = (int(part, 16) for part in place.split("-"))
                memory.seek(start)
                heap.write(memory.read(min(end - start, 64 << 20)))
    assert held
    return heap.getvalue()


_SOURCES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "text": ("Python's standard library", _text),
    "code": ("the largest library loaded here", _code),
    "heap": ("an interpreter with small objects", _heap),
    "compressed": ("the library's sources, zlib", lambda: zlib_module.compress(_text(), 6)),
    "encrypted": ("random bytes", lambda: os.urandom(_PAGES * PAGE_BYTES)),
}
