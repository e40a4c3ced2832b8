from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import InputError
from migsim.trace.content import COLUMNS
from migsim.trace.format import Trace, read_trace, write_trace

MAGIC = b"migsim page-dirty trace 1\n"


def made(intervals: list[list[int]], total: int, **more: object) -> Trace:
    """Return a trace of intervals of 0.1 s in which exactly these pages are written."""
    return Trace(
        ends=np.arange(1, len(intervals) + 1) / 10,
        counts=np.array([len(pages) for pages in intervals], np.uint32),
        pages=np.array([page for pages in intervals for page in pages], np.uint32),
        resident=np.arange(total, dtype=np.uint32),
        pages_total=total,
        meta={"method": "uffd-wp", "argv": ["prog", "--größe"], "interval": 0.1},
        **more,  # type: ignore[arg-type]
    )


def same(one: Trace, other: Trace) -> bool:
    arrays = ("ends", "counts", "pages", "resident")
    return (
        all(np.array_equal(getattr(one, a), getattr(other, a)) for a in arrays)
        and (one.pages_total, one.page_size, dict(one.meta))
        == (other.pages_total, other.page_size, dict(other.meta))
        and one.columns.keys() == other.columns.keys()
        and all(np.array_equal(v, other.columns[k]) for k, v in one.columns.items())
    )


TRACE = made([[0, 5, 6], [], [6, 7, 99_999], [1]], 100_000)


def stored(path: Path, trace: Trace = TRACE) -> bytes:
    write_trace(path, trace)
    return path.read_bytes()


intervals = st.lists(st.sets(st.integers(0, 2**32 - 1), max_size=20).map(sorted), max_size=8)


@given(intervals)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, pages: list[list[int]]
) -> None:
    trace = replace(made(pages, 10), pages_total=2**32)
    path = tmp_path_factory.mktemp("trace") / "a.mtrace"
    write_trace(path, trace)
    assert same(read_trace(path), trace)


def test_offsets_and_intervals() -> None:
    assert TRACE.offsets.tolist() == [0, 3, 3, 6, 7]
    assert TRACE.pages_of(2).tolist() == [6, 7, 99_999]
    assert TRACE.pages_of(1).size == 0
    assert (TRACE.duration, TRACE.page_count, TRACE.method) == (0.4, 100_000, "uffd-wp")


def test_an_empty_trace_is_a_trace(tmp_path: Path) -> None:
    write_trace(tmp_path / "e.mtrace", made([], 0))
    assert read_trace(tmp_path / "e.mtrace").duration == 0
    assert read_trace(tmp_path / "e.mtrace").offsets.tolist() == [0]


def test_unknown_columns_and_header_fields_are_kept(tmp_path: Path) -> None:
    changed = np.array([1, 4096, 3, 4, 5, 6, 7], np.uint16)
    trace = replace(TRACE, columns={"bytes_changed": changed}, meta={"later": {"a": [1]}})
    write_trace(tmp_path / "c.mtrace", trace)
    again = read_trace(tmp_path / "c.mtrace")
    assert same(again, trace)
    write_trace(tmp_path / "d.mtrace", again)
    assert (tmp_path / "d.mtrace").read_bytes() == (tmp_path / "c.mtrace").read_bytes()


def test_arrays_that_were_read_cannot_be_changed(tmp_path: Path) -> None:
    write_trace(tmp_path / "a.mtrace", TRACE)
    with pytest.raises(ValueError, match="read-only"):
        read_trace(tmp_path / "a.mtrace").pages[0] = 1


def test_a_dense_sweep_takes_little_room(tmp_path: Path) -> None:
    sweep = [list(range(start, start + 1000)) for start in range(0, 50_000, 1000)]
    assert len(stored(tmp_path / "s.mtrace", made(sweep, 50_000))) < 2000


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_damage_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    blob = bytearray(stored(folder / "whole.mtrace"))
    place = data.draw(st.integers(0, len(blob) - 1))
    if data.draw(st.booleans()):
        del blob[place:]
    else:
        blob[place] ^= data.draw(st.integers(1, 255))
    damaged = folder / "damaged.mtrace"
    damaged.write_bytes(blob)
    try:
        trace = read_trace(damaged)
    except InputError as error:
        assert str(damaged) in str(error)
    else:
        assert same(trace, TRACE)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.mtrace"
    blob = stored(path)
    for size in range(len(blob)):
        path.write_bytes(blob[:size])
        with pytest.raises(InputError, match=r"a\.mtrace"):
            read_trace(path)
    path.write_bytes(blob + b"x")
    with pytest.raises(InputError, match="1 bytes more"):
        read_trace(path)


def with_header(blob: bytes, change: dict[str, object], entry: dict[str, object]) -> bytes:
    """Return the file with header fields, and fields of its array `pages`, replaced."""
    start = len(MAGIC) + 8
    size = int.from_bytes(blob[start - 8 : start - 4], "little")
    header = json.loads(blob[start : start + size]) | change
    if entry:
        header["arrays"][2] |= entry
    text = json.dumps(header).encode()
    lengths = len(text).to_bytes(4, "little") + zlib.crc32(text).to_bytes(4, "little")
    return MAGIC + lengths + text + blob[start + size :]


@pytest.mark.parametrize(
    ("change", "entry", "message"),
    [
        ({"pages_total": 99_999}, {}, "names page 99999 of 99999"),
        ({"pages_total": 1.5}, {}, "no whole pages_total"),
        ({"page_size": 0}, {}, "page_size 0"),
        ({"arrays": []}, {}, "bytes more than its header says"),
        ({"arrays": 7}, {}, "without a list of arrays"),
        ({"arrays": [7]}, {}, "no object"),
        ({}, {"name": "ends"}, "twice"),
        ({}, {"name": "other"}, "no array 'pages'"),
        ({}, {"length": 8}, "another length"),
        ({}, {"length": 10**15}, "impossible length"),
        ({}, {"length": -1}, "impossible length"),
        ({}, {"bytes": 10**9}, "cut off"),
        ({}, {"dtype": "|O"}, "unknown form"),
        ({}, {"dtype": "<i4"}, "no array 'pages'"),
        ({}, {"coding": "planes"}, "not ascending|names page"),
        ({}, {"coding": "pickle"}, "unknown form"),
    ],
)
def test_a_header_that_lies_is_refused(
    tmp_path: Path, change: dict[str, object], entry: dict[str, object], message: str
) -> None:
    path = tmp_path / "lie.mtrace"
    path.write_bytes(with_header(stored(path), change, entry))
    with pytest.raises(InputError, match=message):
        read_trace(path)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
fields = ["name", "dtype", "length", "coding", "bytes"]


@given(st.sampled_from(["pages_total", "page_size", "arrays", "argv"]), st.sampled_from(fields),
       anything, st.booleans())  # fmt: skip
@settings(deadline=None)
def test_no_header_makes_reading_crash(
    tmp_path_factory: pytest.TempPathFactory, key: str, name: str, value: object, inner: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.mtrace"
    blob = stored(path)
    path.write_bytes(with_header(blob, {}, {name: value}) if inner else
                     with_header(blob, {key: value}, {}))  # fmt: skip
    try:
        trace = read_trace(path)
    except InputError as error:
        assert "odd.mtrace" in str(error)
    else:
        assert np.array_equal(trace.pages, TRACE.pages)


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.mtrace"
    blob = stored(path)
    path.write_bytes(blob.replace(b"trace 1\n", b"trace 9\n"))
    with pytest.raises(InputError, match="this migsim reads 1"):
        read_trace(path)
    path.write_bytes(b"time,page\n0.1,3\n")
    with pytest.raises(InputError, match="is no migsim trace"):
        read_trace(path)
    with pytest.raises(InputError, match=r"cannot read trace .*No such file"):
        read_trace(tmp_path / "absent.mtrace")
    with pytest.raises(InputError, match="cannot read trace"):
        read_trace(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ends": np.array([0.1, 0.1, 0.3, 0.4])}, "do not increase"),
        ({"ends": np.array([0.1, 0.2, 0.3, np.nan])}, "do not increase"),
        ({"ends": np.array([0.0, 0.2, 0.3, 0.4])}, "do not increase"),
        ({"ends": np.array([0.1])}, "1 interval ends but 4 counts"),
        ({"counts": np.array([3, 0, 3, 2], np.uint32)}, "add up"),
        ({"counts": np.array([4, 0, 2, 1], np.uint32)}, "not ascending"),  # 0 5 6 6 | 7 99999 | 1
        ({"counts": np.array([3, 0, 4, 0], np.uint32)}, "not ascending"),
        ({"pages": np.array([0, 5, 5, 6, 7, 9, 1], np.uint32)}, "not ascending"),
        ({"resident": np.array([2, 1], np.uint32)}, "not ascending"),
        ({"resident": np.array([100_000], np.uint32)}, "names page 100000 of 100000"),
    ],
)
def test_a_wrong_trace_is_not_written(
    tmp_path: Path, wrong: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_trace(tmp_path / "w.mtrace", replace(TRACE, **wrong))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_columns_of_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot hold array 'notes'"):
        write_trace(tmp_path / "o.mtrace", replace(TRACE, columns={"notes": np.array([None])}))


def test_failing_to_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mtrace"
    before = stored(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"cannot write trace .*a\.mtrace.*No space left"):
        write_trace(path, made([[1]], 2))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write trace .*No such file"):
        write_trace(tmp_path / "no" / "a.mtrace", TRACE)


COMMITTED = sorted((Path(__file__).parent.parent / "workloads" / "traces").glob("*.mtrace"))


def test_there_are_committed_traces() -> None:
    assert len(COMMITTED) >= 5
    assert sum(path.stat().st_size for path in COMMITTED) < 5_000_000


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_traces_are_whole_and_described(path: Path) -> None:
    trace = read_trace(path)
    of_disk = path.stem.endswith("_disk")
    assert trace.method == ("strace" if of_disk else "uffd-wp")
    assert trace.duration >= 12
    assert trace.pages_total * trace.page_size <= 420 * 2**20
    assert path.stat().st_size < 2_500_000
    assert trace.columns.keys() == (set() if of_disk else COLUMNS.keys())
    assert path.with_suffix(".md").read_text(encoding="utf-8").startswith(f"# {path.stem}")
    # the commands are to be run in the traces' folder, whatever machine it is on
    assert not [word for word in trace.meta["argv"] if word[0] == "/" and word != "/dev/null"]
