from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from migsim.errors import InputError
from migsim.trace.analysis import summarize, working_sets
from migsim.trace.drawing import draw, save
from migsim.trace.format import Trace
from migsim.trace.sketch import sketch


def made(intervals: list[list[int]], total: int, interval: float = 0.1) -> Trace:
    return Trace(
        ends=np.arange(1, len(intervals) + 1) * interval,
        counts=np.array([len(pages) for pages in intervals], np.uint32),
        pages=np.array([page for pages in intervals for page in pages], np.uint32),
        resident=np.arange(total // 2, dtype=np.uint32),
        pages_total=total,
    )


def uniform(writes: int, pages: int, intervals: int) -> Trace:
    """Return a trace of a program that writes random pages, all equally likely."""
    rng = np.random.default_rng(1)
    return made(
        [np.unique(rng.integers(0, pages, writes)).tolist() for _ in range(intervals)], pages
    )


def test_rates_count_a_page_once_an_interval() -> None:
    s = summarize(made([[0, 1], [1], [1, 2, 3], []], 100))
    assert (s.duration, s.intervals, s.writes) == (0.4, 4, 6)
    assert s.dirty_rate == pytest.approx(15)
    assert s.dirty_bytes_per_second == pytest.approx(15 * 4096)
    assert (s.dirty_per_interval_median, s.dirty_per_interval_max) == (1.5, 3)
    assert (s.pages, s.pages_resident, s.pages_written) == (100, 50, 4)
    assert s.written_once == 0.75


def test_the_rate_of_uneven_intervals_is_over_real_time() -> None:
    trace = Trace(
        ends=np.array([0.1, 1.0]), counts=np.array([1, 1], np.uint32),
        pages=np.array([0, 1], np.uint32), resident=np.array([], np.uint32), pages_total=2,
    )  # fmt: skip
    s = summarize(trace)
    assert s.dirty_rate == 2
    assert s.interval_max == pytest.approx(0.9)


def test_one_hot_page_and_no_hot_page() -> None:
    one = summarize(made([[7]] * 10, 1000))
    assert (one.hottest_1_percent, one.hottest_10_percent) == (1, 1)
    assert one.gini == pytest.approx(1 - 1 / 1000)
    everything = summarize(made([list(range(1000))] * 10, 1000))
    assert everything.gini == pytest.approx(0)
    assert everything.hottest_1_percent == pytest.approx(0.01)
    assert everything.hottest_10_percent == pytest.approx(0.1)


def test_gini_is_the_mean_difference() -> None:
    trace = made([[0, 1, 2], [0, 1], [0], [0]], 5)
    x = np.array([4, 2, 1, 0, 0])
    difference = np.abs(x[:, None] - x[None, :]).mean()
    assert summarize(trace).gini == pytest.approx(difference / (2 * x.mean()))


def test_working_set_of_random_writes_follows_theory() -> None:
    writes, pages = 200, 5000
    trace = uniform(writes, pages, 300)
    for w in working_sets(trace, (0.1, 1.0, 5.0)):
        expected = pages * (1 - np.exp(-writes * w.window / 0.1 / pages))
        assert w.mean == pytest.approx(expected, rel=0.02), w


def test_windows_that_a_trace_cannot_tell_are_left_out() -> None:
    trace = made([[0], [1], [0]] * 4, 10, interval=0.25)
    assert [w.window for w in working_sets(trace)] == [0.5, 1.0, 2.0]
    assert working_sets(made([], 10)) == ()


traces = st.lists(st.sets(st.integers(0, 30), max_size=10).map(sorted), min_size=1, max_size=40)


@given(traces, st.integers(1, 12))
def test_working_sets_are_those_of_plain_sets(intervals: list[list[int]], width: int) -> None:
    found = working_sets(made(intervals, 31), (width * 0.1,))
    sizes = [
        len(set().union(*intervals[first : first + width]))
        for first in range(0, len(intervals) - width + 1, width)
    ]
    if not sizes:
        assert found == ()
        return
    (w,) = found
    assert w.mean == pytest.approx(np.mean(sizes))
    assert (w.median, w.maximum) == (np.median(sizes), max(sizes))


def test_an_empty_and_an_idle_trace_have_a_summary() -> None:
    for trace in (made([], 0), made([], 10), made([[], []], 10)):
        s = summarize(trace)
        assert (s.writes, s.dirty_rate, s.gini, s.written_once) == (0, 0, 0, 0)
        assert json.loads(json.dumps(s.as_dict()))["pages"] == trace.pages_total


def test_the_figure_has_its_panels_and_units(tmp_path: Path) -> None:
    figure = draw(uniform(50, 2000, 100), "uniform")
    labels = [(a.get_xlabel(), a.get_ylabel()) for a in figure.axes]
    assert ("time (s)", "memory by address (MiB)") in labels
    assert ("time (s)", "dirty rate (MiB/s)") in labels
    assert ("window (s)", "working set (MiB)") in labels
    assert shown_in(figure).mean() == pytest.approx(100 * 50 / 2000, rel=0.02)
    for trace in (made([[]], 3), made([[0]], 1)):
        draw(trace)
    save(uniform(50, 2000, 100), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def shown_in(figure: Figure) -> np.ndarray:
    """Return the map's shares in per cent; where nothing was written it shows nothing."""
    shown = figure.axes[0].images[0].get_array()
    assert shown is not None
    return np.ma.filled(shown, 0)


def test_the_map_shows_where_and_when() -> None:
    image = shown_in(draw(made([[0, 1, 2, 3]] * 10 + [[96, 97, 98, 99]] * 10, 100)))
    assert image.shape == (100, 20)
    assert (image[:4, :10] == 100).all()
    assert (image[96:, 10:] == 100).all()
    assert image.sum() == 100 * 80


def test_a_figure_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write figure"):
        save(made([[0]], 1), tmp_path / "absent" / "a.png")
    with pytest.raises(InputError, match="cannot write figure"):
        save(made([[0]], 1), tmp_path / "a.unknown")


def test_the_sketch_puts_low_pages_at_the_bottom_and_early_ones_on_the_left() -> None:
    drawn = sketch(made([[0]] * 5 + [[99]] * 5, 100), rows=2, columns=10).splitlines()
    assert drawn[1:4] == [
        "  |     @@@@@|",
        "  |@@@@@     |",
        "  |" + 10 * "█" + "| 10 pages/s at most",
    ]
    assert drawn[0].strip() == "100 pages"
    assert drawn[4].split() == ["0", "1", "s"]


def test_an_empty_recording_can_be_sketched() -> None:
    assert "0 pages/s" in sketch(made([[], []], 10))
