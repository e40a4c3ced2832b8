r"""The `.mtrace` file: which pages a program wrote in each interval of a recording.

Layout, all numbers little-endian::

    migsim page-dirty trace 1\n       magic line; the number is the format's version
    u32 length, u32 CRC-32           of the header that follows
    header                           UTF-8 JSON object
    frame, frame, ...                one zstd frame with checksum per entry of header["arrays"]

Each entry of ``arrays`` has ``name``, ``dtype``, ``length`` (elements), ``coding`` and ``bytes``
(of its frame). Coding ``planes`` stores byte 0 of every element, then byte 1 and so on; ``delta``
first replaces each element by its difference to the one before (modulo 2^bits) and is then stored
as planes. Page indices are sorted inside an interval, so nearly all differences are small, the
upper planes are almost all zero, and a file is about half as large as with plain numbers. Coding
``grouped``, of bytes only, stores the elements in the order in which a stable sort puts those of
the array ``changed``: how many bytes changed tells much about the number of runs, so that alike
values gather and the column takes about half.

Page indices are compact: 0 to ``pages_total`` - 1 number every page that was *present* when the
recording began or was written during it, in order of virtual address. Gaps in the address space
vanish, neighbours stay neighbours, and pages that are never written keep their place, because a
migration has to send them too. The array ``resident`` holds the pages present at the beginning;
``counts`` and ``pages`` hold only what was written after that, so the first interval is an interval
like any other.

Further arrays are kept in ``Trace.columns`` and written back, so a file may carry more per
(interval, page). Those of `migsim.trace.content`, such as how many bytes changed, are checked; the
others this version does not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from migsim.errors import InputError
from migsim.trace.content import problem_of

__all__ = ["EXTENSION", "Trace", "read_trace", "write_trace"]

EXTENSION: Final = ".mtrace"
_MAGIC: Final = b"migsim page-dirty trace "
_VERSION: Final = 1
_LEVEL: Final = 19  # a trace is written once, and read and kept in a repository for years
_MAX_HEADER: Final = 1 << 24
_MAX_ARRAY: Final = 1 << 33  # bytes; a small hostile file must not fill the memory
_DTYPES: Final = frozenset(
    ["<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1"]
)  # fmt: skip
_CODINGS: Final = frozenset(["planes", "delta", "grouped"])
_CORE: Final = {"ends": "<f8", "counts": "<u4", "pages": "<u4", "resident": "<u4"}
_RESERVED: Final = frozenset(["arrays", "page_size", "pages_total"])

Array = NDArray[Any]


class _DamagedError(Exception):
    """What is wrong with the file, as the rest of a sentence that begins with its name."""


@dataclass(frozen=True, eq=False)
class Trace:
    """The pages written in each interval of a recording, and how it was made.

    Arrays rather than a list of sets, because replaying and counting are compiled loops.
    """

    ends: NDArray[np.float64]
    """Time from the start of the recording to the end of each interval; they may be uneven."""
    counts: NDArray[np.uint32]
    """How many distinct pages were written in each interval."""
    pages: NDArray[np.uint32]
    """Their compact indices, interval after interval, ascending inside each."""
    resident: NDArray[np.uint32]
    """The pages that were present when the recording began, ascending."""
    pages_total: int
    """How many pages the indices number: all that were ever present or written."""
    page_size: int = 4096
    meta: Mapping[str, Any] = field(default_factory=dict)
    """How it was recorded: method, argv, kernel, machine, date, interval, failed_reads, notes."""
    columns: Mapping[str, Array] = field(default_factory=dict)
    """Further arrays, by name; those named in `migsim.trace.content.COLUMNS` align with `pages`."""

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each interval begins in `pages`; one longer than `counts`, so the end is there."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)]).astype(np.int64)

    @property
    def duration(self) -> float:
        """The end of the last interval in seconds."""
        return float(self.ends[-1]) if self.ends.size else 0.0

    @property
    def page_count(self) -> int:
        """The number of pages the indices run over; a guest that replays it needs as many."""
        return self.pages_total

    @property
    def method(self) -> str:
        """``uffd-wp`` (every write) or ``compare`` (only writes that changed something)."""
        return str(self.meta.get("method", "unknown"))

    def pages_of(self, interval: int) -> NDArray[np.uint32]:
        """Return the pages written in one interval."""
        return self.pages[self.offsets[interval] : self.offsets[interval + 1]]


def _to_bytes(values: Array, coding: str) -> bytes:
    if coding == "delta":
        values = np.diff(values, prepend=values.dtype.type(0))
    planes = np.frombuffer(values.tobytes(), np.uint8).reshape(-1, values.itemsize)
    return np.ascontiguousarray(planes.T).tobytes()


def _from_bytes(data: bytes, dtype: np.dtype[Any], coding: str) -> Array:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    values = np.frombuffer(np.ascontiguousarray(planes.T).tobytes(), dtype)
    if coding == "delta":
        values = np.cumsum(values, dtype=dtype)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _order(arrays: Mapping[str, Array], name: str) -> NDArray[np.intp] | None:
    """Return the order in which the array ``name`` may be stored grouped, or nothing."""
    by, values = arrays.get("changed"), arrays[name]
    if by is None or by.dtype != np.uint8 or values.dtype != np.uint8 or by.size != values.size:
        return None
    return np.argsort(by, kind="stable")


def _ungroup(arrays: Mapping[str, Array], name: str) -> Array:
    order = _order(arrays, name)
    if order is None or name == "changed":
        raise _DamagedError(f"has array {name!r} grouped by an array 'changed' that does not fit")
    result = np.empty_like(arrays[name])
    result[order] = arrays[name]
    return result


def _problem(trace: Trace) -> str | None:
    """Return what breaks the promises of `Trace`, or nothing; asked on reading and on writing."""
    n = trace.pages_total
    pages, ends = trace.pages, trace.ends
    if trace.page_size <= 0 or not 0 <= n <= 1 << 32:
        return f"has page_size {trace.page_size} and pages_total {n}"
    if ends.size != trace.counts.size:
        return f"has {ends.size} interval ends but {trace.counts.size} counts"
    if not np.isfinite(ends).all() or (ends.size and (ends[0] <= 0 or (np.diff(ends) <= 0).any())):
        return "has interval ends that do not increase"
    if int(trace.counts.sum(dtype=np.uint64)) != pages.size:
        return f"has {pages.size} page entries but counts that add up to another number"
    for values in (pages, trace.resident):
        if values.size and int(values.max()) >= n:
            return f"names page {int(values.max())} of {n}"
    rising = pages[1:] > pages[:-1]
    first = trace.offsets[1:-1]
    rising[first[(first > 0) & (first < pages.size)] - 1] = True
    if not rising.all() or (trace.resident[1:] <= trace.resident[:-1]).any():
        return "has page indices that are not ascending"
    return problem_of(trace.columns, pages.size)


def _header_of(blob: bytes) -> tuple[dict[str, Any], int]:
    """Return the header and where the frames begin."""
    line, newline, _ = blob[:64].partition(b"\n")
    if not line.startswith(_MAGIC) or not newline:
        raise _DamagedError("is no migsim trace: its first line is another")
    if line[len(_MAGIC) :] != str(_VERSION).encode():
        raise _DamagedError(f"has format {line[len(_MAGIC) :]!r}; this migsim reads {_VERSION}")
    start = len(line) + 9
    size = int.from_bytes(blob[start - 8 : start - 4], "little")
    check = int.from_bytes(blob[start - 4 : start], "little")
    text = blob[start : start + size]
    if size > _MAX_HEADER or len(text) != size or zlib.crc32(text) != check:
        raise _DamagedError("is damaged or cut off in its header")
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _DamagedError(f"has a header that is no JSON ({error})") from None
    if not isinstance(header, dict) or not isinstance(header.get("arrays"), list):
        raise _DamagedError("has a header without a list of arrays")
    return header, start + size


def _entry(raw: object) -> tuple[str, np.dtype[Any], int, str, int]:
    if not isinstance(raw, dict):
        raise _DamagedError("has an array entry that is no object")
    name, dtype, coding = raw.get("name"), raw.get("dtype"), raw.get("coding")
    length, size = raw.get("length"), raw.get("bytes")
    if not isinstance(name, str) or not isinstance(length, int) or not isinstance(size, int):
        raise _DamagedError("has an array without name, length or size")
    dtype, coding = str(dtype), str(coding)
    if dtype not in _DTYPES or coding not in _CODINGS or (coding == "delta" and dtype[1] == "f"):
        raise _DamagedError(f"has array {name!r} in unknown form ({dtype!r}, {coding!r})")
    kind: np.dtype[Any] = np.dtype(dtype)
    if not 0 <= length * kind.itemsize <= _MAX_ARRAY or size < 0:
        raise _DamagedError(f"has array {name!r} of impossible length {length}")
    return name, kind, length, coding, size


def _unpack(frame: bytes, size: int, name: str) -> bytes:
    import zstandard

    try:
        form = zstandard.get_frame_parameters(frame)
        if form.content_size != size or not form.has_checksum:
            raise _DamagedError(f"has array {name!r} of another length than its header says")
        return zstandard.ZstdDecompressor().decompress(
            frame, max_output_size=size, allow_extra_data=False
        )
    except (zstandard.ZstdError, MemoryError) as error:
        raise _DamagedError(f"is damaged in array {name!r} ({error})") from None


def _decode(blob: bytes) -> Trace:
    header, position = _header_of(blob)
    arrays: dict[str, Array] = {}
    grouped = []
    for raw in header["arrays"]:
        name, dtype, length, coding, size = _entry(raw)
        frame = blob[position : position + size]
        if len(frame) != size or name in arrays:
            raise _DamagedError(f"is cut off in array {name!r}, or has it twice")
        arrays[name] = _from_bytes(_unpack(frame, length * dtype.itemsize, name), dtype, coding)
        position += size
        if coding == "grouped":
            grouped.append(name)
    for name in grouped:
        arrays[name] = _ungroup(arrays, name)
    if position != len(blob):
        raise _DamagedError(f"has {len(blob) - position} bytes more than its header says")
    for name, wanted in _CORE.items():
        if name not in arrays or arrays[name].dtype != np.dtype(wanted):
            raise _DamagedError(f"has no array {name!r} of type {wanted}")
    total, page_size = header.get("pages_total"), header.get("page_size")
    if type(total) is not int or type(page_size) is not int:
        raise _DamagedError("has no whole pages_total and page_size in its header")
    for array in arrays.values():
        array.setflags(write=False)
    trace = Trace(
        **{name: arrays.pop(name) for name in _CORE},
        pages_total=total,
        page_size=page_size,
        meta=MappingProxyType({k: v for k, v in header.items() if k not in _RESERVED}),
        columns=MappingProxyType(arrays),
    )
    problem = _problem(trace)
    if problem:
        raise _DamagedError(problem)
    return trace


def read_trace(path: str | os.PathLike[str]) -> Trace:
    """Return the trace in a file, checked throughout.

    A trace drives experiments for years, so a damaged one is told here, as an `InputError`, and
    not found later in strange results. The file is data only: reading it runs nothing.
    """
    try:
        blob = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read trace '{path}': {error.strerror}") from None
    try:
        return _decode(blob)
    except _DamagedError as error:
        raise InputError(f"trace '{path}' {error}") from None


def _encode(trace: Trace) -> bytes:
    import zstandard

    arrays: dict[str, Array] = {
        name: np.asarray(getattr(trace, name)).astype(kind) for name, kind in _CORE.items()
    }
    arrays.update({name: values.ravel() for name, values in trace.columns.items()})
    compressor = zstandard.ZstdCompressor(_LEVEL, write_checksum=True, write_content_size=True)
    entries, frames = [], []
    for name, raw in arrays.items():
        values = raw.astype(raw.dtype.newbyteorder("<"), copy=False)
        if values.dtype.str not in _DTYPES:
            raise InputError(f"a trace cannot hold array {name!r} of type {values.dtype}")
        coding = "delta" if name in {"pages", "resident"} else "planes"
        order = _order(arrays, name) if name == "runs" else None
        if order is not None:
            values, coding = values[order], "grouped"
        frames.append(compressor.compress(_to_bytes(values, coding)))
        entries.append({"name": name, "dtype": values.dtype.str, "length": int(values.size),
                        "coding": coding, "bytes": len(frames[-1])})  # fmt: skip
    sizes = {"page_size": trace.page_size, "pages_total": trace.pages_total}
    header = json.dumps({**trace.meta, **sizes, "arrays": entries}, ensure_ascii=False).encode()
    lengths = len(header).to_bytes(4, "little") + zlib.crc32(header).to_bytes(4, "little")
    return b"".join([_MAGIC, str(_VERSION).encode(), b"\n", lengths, header, *frames])


def write_trace(path: str | os.PathLike[str], trace: Trace) -> None:
    """Write a trace to a file, whole or not at all.

    A recording may be the only one there is, so an older file of the name stays until the new
    one is complete on disk.
    """
    problem = _problem(trace)
    if problem:
        raise InputError(f"this trace cannot be written: it {problem}")
    blob, target = _encode(trace), Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(f"cannot write trace '{path}': {error.strerror}") from None
