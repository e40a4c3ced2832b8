"""Content columns of a trace: their codes, their checks, their summary."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import InputError
from migsim.trace import content
from migsim.trace import format as file_format
from migsim.trace.cli import trace as command
from migsim.trace.content import (
    CHECKPOINT_INTERVALS,
    COLUMNS,
    DUPLICATE,
    NEW,
    NOT_MEASURED,
    ZERO,
    code,
    decode,
)
from migsim.trace.content_summary import summarize_content, times_since_checkpoint
from migsim.trace.format import Trace, read_trace, write_trace


def test_every_code_stands_for_itself() -> None:
    every = np.arange(NOT_MEASURED, dtype=np.uint8)
    values = decode(every)
    assert (values[0], values[1], values[254]) == (0, 1, 4096)
    assert (np.diff(values) > 0).all()
    assert (code(values) == every).all()
    assert values[2:] == pytest.approx(2 ** (12 * np.arange(1, 254) / 253), abs=5e-4)


@given(st.integers(0, 4096))
def test_codes_are_within_two_percent(value: int) -> None:
    assert decode(code([value]))[0] == pytest.approx(value, rel=0.0168)


@given(st.integers(4096, 10**6), st.integers(-5, -1))
def test_what_is_too_large_and_what_is_absent(large: int, negative: int) -> None:
    assert code([[large], [negative]]).tolist() == [[254], [255]]
    assert np.isnan(decode(code([negative]))).all()


def test_examples_of_the_docstrings() -> None:
    assert code([0, 1, 2, 100, 4096, 5000, -1]).tolist() == [0, 1, 22, 141, 254, 254, 255]
    assert code([]).shape == (0,)


def made(intervals: list[list[int]], columns: dict[str, np.ndarray], every: object = 10) -> Trace:
    return Trace(
        ends=np.arange(1, len(intervals) + 1) / 10,
        counts=np.array([len(pages) for pages in intervals], np.uint32),
        pages=np.array([page for pages in intervals for page in pages], np.uint32),
        resident=np.zeros(0, np.uint32),
        pages_total=100,
        meta={"content": {"checkpoint_intervals": every}},
        columns=columns,
    )


def whole(count: int) -> dict[str, np.ndarray]:
    return {name: np.zeros(count, np.uint8) for name in COLUMNS}


def test_columns_are_kept_in_files(tmp_path: Path) -> None:
    columns = {name: np.array([1, 2, 255], np.uint8) + i for i, name in enumerate(COLUMNS)}
    write_trace(tmp_path / "a.mtrace", made([[1, 2], [1]], columns))
    found = read_trace(tmp_path / "a.mtrace").columns
    assert found.keys() == COLUMNS.keys()
    assert all((found[name] == columns[name]).all() for name in COLUMNS)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=50))
def test_runs_are_stored_by_changes(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "g.mtrace"
    pairs = np.array(entries, np.uint8).reshape(-1, 2)
    columns = {"runs": pairs[:, 1], "changed": pairs[:, 0]}  # in any order
    write_trace(path, made([list(range(len(pairs)))], columns))
    found = read_trace(path).columns
    assert list(found) == ["runs", "changed"]
    assert (found["runs"] == columns["runs"]).all()
    assert (found["changed"] == columns["changed"]).all()


def test_a_grouped_array_needs_what_it_is_grouped_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "g.mtrace"
    order = np.arange(3)
    monkeypatch.setattr(file_format, "_order", lambda *_: order)
    write_trace(path, made([[1, 2], [1]], {"runs": np.zeros(3, np.uint8)}))
    monkeypatch.undo()
    with pytest.raises(InputError, match="has array 'runs' grouped by an array 'changed' that"):
        read_trace(path)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3, np.uint16), "has column '{}' of type uint16, not of one byte"),
        (np.zeros(3, np.int8), "has column '{}' of type int8, not of one byte"),
        (np.zeros(2, np.uint8), "has 2 values in column '{}' for 3 page entries"),
    ],
)
def test_wrong_columns_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, values: np.ndarray, message: str
) -> None:
    path, wrong = tmp_path / "w.mtrace", made([[1, 2], [1]], {name: values})
    with pytest.raises(InputError, match=f"cannot be written: it {message.format(name)}"):
        write_trace(path, wrong)
    monkeypatch.setattr(file_format, "problem_of", lambda *_: None)
    write_trace(path, wrong)
    monkeypatch.setattr(file_format, "problem_of", content.problem_of)
    with pytest.raises(InputError, match=f"w.mtrace' {message.format(name)}"):
        read_trace(path)


def test_a_trace_without_content_has_no_summary() -> None:
    assert summarize_content(made([[1, 2], [1]], {})) is None
    assert summarize_content(made([[1, 2], [1]], {"changed": np.zeros(3, np.uint8)})) is None


def test_a_trace_with_nothing_measured_has_a_summary() -> None:
    for trace in (made([], whole(0)), made([[1]], {n: np.array([255], np.uint8) for n in COLUMNS})):
        summary = summarize_content(trace)
        assert summary is not None
        assert (summary.measured, summary.silent, summary.growth) == (0, 0, 0)
        assert set(summary.sizes.values()) == {0}


def test_shares_and_means_are_over_what_was_measured() -> None:
    columns = whole(5) | {
        "changed": code([0, 8, 0, 4096, -1]),
        "runs": code([0, 2, 0, 1, -1]),
        "flags": np.array([ZERO | DUPLICATE, 0, DUPLICATE, NEW, 0], np.uint8),
    }
    summary = summarize_content(made([[1, 2, 3], [4, 5]], columns))
    assert summary is not None
    assert summary.measured == 4
    assert (summary.silent, summary.zero, summary.duplicate, summary.new) == (0.5, 0.25, 0.25, 0.25)
    assert summary.changed_mean == pytest.approx((8 + 4096) / 2, rel=0.001)
    assert summary.runs_mean == pytest.approx(1.5, rel=0.01)


def test_sampled_entries_stand_for_their_interval() -> None:
    columns = whole(4) | {"size_lz4": code([4096, -1, -1, 1024])}
    summary = summarize_content(made([[1, 2, 3], [1]], columns))
    assert summary is not None
    assert summary.sampled == 4  # of another codec
    assert summary.sizes["lz4"] == pytest.approx((3 * 1 + 1 * 0.25) / 4, rel=0.02)


def test_growth_is_told_from_pages_written_again() -> None:
    intervals = [[7, 9], [7], [7, 8], [7]]
    interval = np.repeat(np.arange(4), [2, 1, 2, 1])
    counted = times_since_checkpoint(made(intervals, {}), interval)
    assert counted.tolist() == [1, 1, 2, 3, 1, 4]
    assert times_since_checkpoint(made(intervals, {}, 2), interval).tolist() == [1, 1, 2, 1, 1, 2]
    columns = whole(6) | {
        "changed": code([8, 8, 8, 8, 8, 8]),
        "changed_since": code([8, 8, 16, 24, 8, 32]),
    }
    summary = summarize_content(made(intervals, columns))
    assert summary is not None
    # the third entry stands for one page of its interval, the fourth for two of which one counts
    assert summary.growth == pytest.approx(3, rel=0.02)
    assert summary.growth_times == 3


@pytest.mark.parametrize("about", [None, 7, {}, {"checkpoint_intervals": "x"}, []])
def test_a_header_may_say_nothing_of_checkpoints(about: object) -> None:
    assert content.checkpoint_intervals({"content": about}) == CHECKPOINT_INTERVALS
    assert content.checkpoint_intervals({"content": {"checkpoint_intervals": 0}}) == 10
    assert content.checkpoint_intervals({"content": {"checkpoint_intervals": 4}}) == 4


def test_info_shows_content(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mtrace")
    columns = whole(3) | {"changed": code([0, 8, 8]), "runs": code([0, 1, 1])}
    write_trace(path, made([[1, 2], [1]], columns))
    shown = CliRunner().invoke(command, ["info", path]).output
    for text in ("Content", "written unchanged", "33.3%", "mean 8, median 8", "size by delta_zstd"):
        assert text in shown
    found = json.loads(CliRunner().invoke(command, ["info", "--json", path]).output)["content"]
    assert found["silent"] == pytest.approx(1 / 3)
    assert found["sizes"]["xbzrle"] == 0
    write_trace(path, replace(made([[1, 2], [1]], {}), meta={}))
    assert "Content" not in CliRunner().invoke(command, ["info", path]).output
    without = json.loads(CliRunner().invoke(command, ["info", "--json", path]).output)
    assert without["content"] is None
