"""Figures: what they show of made results, and that all of them are fit to be printed."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figures import check_figure, drawn_texts, png
from helpers import ROOT, preset, small_trace
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.figure import Figure

from migsim import InputError, Task
from migsim.experiment import completed_only, load
from migsim.network.transfer import bulk_transfer
from migsim.plotting import COLUMN, PAGE, Panel, dot_panels, line_panels, look_of, transfer_figure
from migsim.plotting.bars import bar_panels
from migsim.plotting.border import border_edges, border_maps
from migsim.plotting.latency import latency_panels
from migsim.plotting.pareto import front, pareto_panels
from migsim.plotting.quantities import panel_of, quantity_of, with_scenarios, written
from migsim.plotting.ranks import profile_figure, rank_figure
from migsim.plotting.scatter import Points, predicted_figure
from migsim.plotting.timeline import sent_by_kind, timeline_figure
from migsim.registry import names
from migsim.results import load_results
from migsim.simulate import watched
from migsim.stats import bootstrap_interval, rank
from migsim.trace.drawing import draw
from migsim.trace.format import read_trace
from migsim.watch import Sample

ALL = names("algorithm")
COMMITTED = {"gigabit": "gigabit.csv", "distance": "distance.csv.gz",
             "compression": "compression.csv"}  # fmt: skip


def made(algorithms: list[str], guests: int = 3, seeds: int = 3) -> pd.DataFrame:
    """Return results of the shape of an experiment's, with times that differ by three decades."""
    draw = np.random.default_rng(5)
    rows = [
        {"algorithm": algorithm, "label": f"guest number {guest}", "workload": "uniform",
         "seed": seed, "status": "completed", "link.rate": 125e6 * (1 + guest),
         "total_seconds": 10 + 5 * k + float(draw.uniform(0, 3)),
         "downtime_seconds": 10.0 ** (k % 4 - 2) * float(draw.uniform(1, 2))}
        for k, algorithm in enumerate(algorithms)
        for guest in range(guests)
        for seed in range(seeds)
    ]  # fmt: skip
    return with_scenarios(pd.DataFrame(rows))


TIMES = [panel_of("total_seconds"), panel_of("downtime_seconds", log=True)]


def grid_results() -> pd.DataFrame:
    """Return a guest that dirties 10 to 40 MB/s over 1 to 3 Gbit/s: converges below the link."""
    rows = [
        {"algorithm": algorithm, "workload": "uniform", "label": "", "seed": 0,
         "workload.rate": rate, "link.rate": link, "link.rtt": trip,
         "status": "gave_up" if rate == 4 and link == 1 else "completed",
         "total_seconds": 1.0 * rate,
         "downtime_seconds": 0.1 if rate <= link or algorithm == "postcopy" else 5.0}
        for algorithm in ("precopy", "postcopy")
        for rate, link, trip in itertools.product((1, 2, 3, 4), (1, 2, 3), (0.001, 0.1))
    ]  # fmt: skip
    return completed_only(with_scenarios(pd.DataFrame(rows)))


def maps(results: pd.DataFrame, **options: Any) -> Figure:
    chosen: dict[str, Any] = {
        "x": "link.rate",
        "y": "workload.rate",
        "by": "link.rtt",
        "limit": 1.0,
    }
    return border_maps(results, TIMES[1], title="maps", **(chosen | options))


def timeline_of(algorithm: str, width: float = PAGE, **arguments: Any) -> Figure:
    task = Task(
        algorithm=algorithm, workload="uniform", memory="64MiB", algorithm_args=arguments,
        workload_args={"rate": "60MB/s", "working_set": "48MiB"}, vm_args={"zero_fraction": 0.2},
    ).resolve()  # fmt: skip
    outcome, samples = watched(task, 120)
    total = outcome.result.total_seconds
    return timeline_figure(
        samples, outcome.timeline, total=total, resumed=total, page_size=4096, pages=task.vm.pages,
        goodput=task.link.goodput, title=f"{algorithm}: {task.workload.name}", bins=60, width=width,
    )  # fmt: skip


def scatter(width: float) -> Figure:
    points = Points([1.0, 20.0, 300.0], [2.0, 20.0, 200.0], [(0.5, 2), (10, 30), (200, 400)])
    panels = {"total time": {"one": points}, "bytes": {"one": points, "two": Points([5.0], [6.0])}}
    titles = ["measured (s)", "measured (MB)"]
    return predicted_figure(panels, x_titles=titles, title="made", width=width)


def latencies(width: float) -> Figure:
    draw = np.random.default_rng(1)
    times = {"postcopy": [draw.lognormal(-6, 1, 300)], "hybrid": [draw.lognormal(-7, 2, 50)]}
    return latency_panels({"a": times, "b": times, "c c": times}, title="made", width=width)


def ranked(width: float) -> Figure:
    costs = np.random.default_rng(2).uniform(1, 2, (12, len(ALL))) + np.arange(len(ALL)) / 5
    return rank_figure(rank(ALL, costs), scenarios=12, title="ranks", width=width)


def profiled(width: float) -> Figure:
    costs = np.random.default_rng(2).uniform(1, 9, (12, len(ALL)))
    costs[3, 2] = np.nan
    return profile_figure(ALL, costs, measure="total time", title="profiles", width=width)


FIGURES = {
    "bars": lambda width: bar_panels(made(ALL[:7]), TIMES, rows="scenario", title="b", width=width),
    "bars of all": lambda width: bar_panels(
        made(ALL), TIMES[:1], rows="scenario", title="all", width=width
    ),
    "dots of all": lambda width: dot_panels(
        made(ALL), TIMES, rows="scenario", title="all", width=width
    ),
    "lines of all": lambda width: line_panels(
        made(ALL), TIMES, x="link.rate", x_title="link", rows="workload", title="l", width=width
    ),
    "fronts": lambda width: pareto_panels(
        made(ALL, 5), *TIMES, by="scenario", title="fronts", width=width
    ),
    "maps": lambda width: maps(grid_results(), width=width),
    "map": lambda width: maps(grid_results(), by=None, width=width),
    "latencies": latencies,
    "scatter": scatter,
    "ranks": ranked,
    "profiles": profiled,
    "pre-copy": lambda width: timeline_of("precopy", width),
    "post-copy": lambda width: timeline_of("postcopy", width),
    "hybrid": lambda width: timeline_of("hybrid", width),
    "QEMU": lambda width: timeline_of("qemu", width, auto_converge=True),
}


@pytest.mark.parametrize("width", [PAGE, COLUMN])
@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_figure_is_fit_to_be_printed_and_always_the_same(name: str, width: float) -> None:
    figure = FIGURES[name](width)
    assert figure.get_size_inches()[0] == width
    check_figure(figure)
    assert png(FIGURES[name](width)) == png(FIGURES[name](width))


@pytest.mark.parametrize("name", sorted(COMMITTED))
def test_figures_of_committed_results_are_fit_to_be_printed(name: str) -> None:
    results = completed_only(load_results(ROOT / "paper/results" / COMMITTED[name]))
    experiment = load(name)
    for figure in (experiment.figure(results), *experiment.figures(results).values()):
        check_figure(figure)


def test_figures_of_links_and_recordings_are_fit_to_be_printed(tmp_path: Path) -> None:
    link = preset("long_distance", loss=1e-4)
    check_figure(transfer_figure(bulk_transfer(link, duration=5.0), link, "long distance"))
    check_figure(draw(read_trace(small_trace(tmp_path / "small.mtrace")), "a recording"))


def test_the_check_finds_what_it_is_to_find() -> None:
    figure = Figure(figsize=(7, 3))
    figure.text(0.5, 0.5, "one text", fontsize=8)
    check_figure(figure)
    other = figure.text(0.52, 0.51, "another", fontsize=8)
    with pytest.raises(AssertionError, match="overlap"):
        check_figure(figure)
    other.set_position((0.99, 0.9))
    with pytest.raises(AssertionError, match="outside"):
        check_figure(figure)
    other.set_position((0.1, 0.9))
    other.set_fontsize(5)
    with pytest.raises(AssertionError):
        check_figure(figure)
    with pytest.raises(AssertionError):
        check_figure(Figure(figsize=(9, 3)))


# ---- what they show ------------------------------------------------------------------------------


def test_a_legend_shows_each_algorithm_as_it_is_drawn() -> None:
    figure = bar_panels(made(ALL), TIMES[:1], rows="scenario", title="all")
    (legend,) = figure.legends
    shown = {text.get_text(): patch for text, patch in
             zip(legend.get_texts(), legend.get_patches(), strict=True)}  # fmt: skip
    assert len(shown) == len(ALL)
    for name in ALL:
        look, patch = look_of(name), shown[look_of(name).label]
        assert patch.get_hatch() == (look.hatch or None) or patch.get_hatch() == look.hatch
    lines = pareto_panels(made(ALL), *TIMES, by="scenario", title="all").legends[0]
    for text, line in zip(lines.get_texts(), lines.get_lines(), strict=True):
        (look,) = [look_of(name) for name in ALL if look_of(name).label == text.get_text()]
        assert line.get_marker() == look.marker
        assert line.get_color() == look.colour


def test_bars_are_means_with_bootstrap_intervals() -> None:
    results = made(["precopy", "postcopy"], guests=1, seeds=5)
    (axes,) = bar_panels(results, [TIMES[0]], rows="scenario", title="t").axes
    bars = [patch.get_width() for patch in axes.patches]
    expected = [
        bootstrap_interval(results[results["algorithm"] == name]["total_seconds"])
        for name in ("precopy", "postcopy")
    ]
    assert bars == pytest.approx([interval.mean for interval in expected])
    whiskers = [segment for item in axes.collections if isinstance(item, LineCollection)
                for segment in item.get_segments()]  # fmt: skip
    ends = [(float(segment[0][0]), float(segment[1][0])) for segment in whiskers]
    assert np.array(ends) == pytest.approx(
        np.array([(interval.low, interval.high) for interval in expected])
    )


def test_nothing_is_drawn_of_what_did_not_complete() -> None:
    results = made(["precopy", "postcopy"], guests=2)
    lost = (results["algorithm"] == "postcopy") & (results["seed"] == 1)
    results = completed_only(results.assign(status=np.where(lost, "gave_up", "completed")))
    bars = bar_panels(results, [TIMES[0]], rows="scenario", title="t").axes[0]
    assert len(bars.patches) == 2
    fronts = pareto_panels(results, *TIMES, by="scenario", title="t")
    assert sum(len(axes.containers) for axes in fronts.axes if axes.get_visible()) == 4


def test_the_front_holds_what_no_other_beats() -> None:
    draw = np.random.default_rng(3)
    points = [(int(x), int(y)) for x, y in draw.integers(0, 20, (40, 2))]
    best = front(points)

    def beaten(point: tuple[float, float]) -> bool:
        return any(x <= point[0] and y <= point[1] and (x, y) != point for x, y in points)

    assert best == sorted({point for point in points if not beaten(point)})
    assert front([]) == []


def test_the_border_lies_where_convergence_ends() -> None:
    figure = maps(grid_results(), by=None)
    shown = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    lines = {
        title: {tuple(map(tuple, segment)) for item in axes.collections
                if isinstance(item, LineCollection) for segment in item.get_segments()}
        for title, axes in shown.items()
    }  # fmt: skip
    # Rates 1 to 4 are the rows, links 1 to 3 the columns: converges where the rate is not above.
    table = [[rate <= link for link in (1, 2, 3)] for rate in (1, 2, 3, 4)]
    expected = {tuple(edge) for edge in border_edges(table)}
    assert lines["pre-copy"] == expected
    assert ((1, 1), (1, 2)) in expected  # between links of 1 and 2 at a rate of 2
    # Post-copy's downtime is short everywhere; but one migration did not complete.
    assert lines["post-copy"] == {((0, 3), (1, 3)), ((1, 3), (1, 4))}
    mesh = next(item for item in shown["pre-copy"].collections if isinstance(item, QuadMesh))
    drawn = np.ma.filled(mesh.get_array().astype(float), np.nan).reshape(4, 3)
    assert drawn[0].tolist() == [0.1] * 3
    assert math.isnan(drawn[3][0])


def test_maps_need_results_with_all_columns() -> None:
    results = grid_results().assign(**{"workload.rate": np.nan})
    with pytest.raises(InputError, match="no result has all of"):
        maps(results)


def test_pages_by_kind_add_up() -> None:
    task = Task(algorithm="postcopy", workload="hotcold", memory="64MiB",
                workload_args={"rate": "30MB/s", "working_set": "16MiB"},
                vm_args={"zero_fraction": 0.2}).resolve()  # fmt: skip
    outcome, samples = watched(task, 100)
    result = outcome.result
    kinds = sent_by_kind(samples, np.array([result.total_seconds]))
    assert sum(float(count[0]) for count in kinds.values()) == result.pages_sent
    assert kinds["zero page"][0] == result.zero_pages > 3000
    assert kinds["demanded"][0] == result.sent_faulted / 4096 > 0
    assert kinds["pushed"][0] > 0


def test_what_leaves_after_the_switch_over_was_pushed_or_demanded() -> None:
    samples = [
        Sample(0.0, "source", 0, 4, 0, 0, 0, 0, 0, 0.0),
        Sample(1.0, "source", 1, 3, 2, 0, 0, 1, 0, 1.0),
        Sample(2.0, "destination", 0, 1, 4, 1, 2, 1, 0, 1.0),
    ]
    kinds = sent_by_kind(samples, np.array([1.0, 2.0]))
    got = {kind: count.tolist() for kind, count in kinds.items()}
    assert got == {"first copy": [1, 1], "zero page": [1, 1], "sent again": [0, 0],
                   "pushed": [0, 3], "demanded": [0, 2]}  # fmt: skip


def test_a_timeline_marks_rounds_and_the_pause() -> None:
    figure = timeline_of("precopy", max_downtime=0.01)
    numbers = [text.get_text() for text in figure.axes[0].texts if text.get_text().isdigit()]
    assert numbers[:2] == ["1", "2"]
    assert "guest paused" in [text.get_text() for text in figure.legends[0].get_texts()]
    titles = " ".join(text.get_text() for text in drawn_texts(figure))
    for unit in ("(1000/s)", "(MiB)", "(Mbit/s)", "(%)", "(s)"):
        assert unit in titles


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [("link.rate", 125e6, "1 Gbit/s"), ("link.rtt", 0.03, "30 ms"), ("vm.memory", 2**30, "1 GiB"),
     ("workload.rate", 25000, "102.4 MB/s"), ("link.loss", 1e-4, "0.01 %"), ("x.y_z", 3, "3"),
     ("algorithm.max_rounds", 30, "30"), ("workload.file", "redis", "redis")],
)  # fmt: skip
def test_values_are_written_with_their_units(column: str, value: object, expected: str) -> None:
    assert written(column, value) == expected


def test_a_column_that_nobody_foresaw_has_a_name_and_a_unit() -> None:
    assert quantity_of("paused_seconds").title == "paused (s)"
    assert quantity_of("my.own_column").title == "own column"


def test_scenarios_are_named_by_what_varies() -> None:
    table = pd.DataFrame(
        {"label": ["a", "a", "", "", None], "workload": ["w"] * 5,
         "algorithm": ["p", "q", "p", "p", "p"], "link": ["x", "x", "x", "y", "y"],
         "link.rate": [125e6, 125e6, 125e6, 250e6, 250e6],
         "link.rtt": [1e-3, 1e-3, 1e-3, 1e-3, 0.1],
         "workload.file": [None, None, "redis", "redis", "redis"]}
    )  # fmt: skip
    assert with_scenarios(table)["scenario"].tolist() == [
        "a", "a", "redis, x, 1 ms", "redis, y, 1 ms", "redis, y, 100 ms",
    ]  # fmt: skip
    bare = with_scenarios(pd.DataFrame({"workload": ["w"], "algorithm": ["mine.py:f"]}))
    assert bare["scenario"].tolist() == ["w"]


def test_own_algorithms_are_drawn(tmp_path: Path) -> None:
    results = made(["precopy", "a/mine.py:better", "b/mine.py:better"])
    figure = pareto_panels(results, *TIMES, by="scenario", title="own")
    check_figure(figure)
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["pre-copy", "a/mine.py:better", "b/mine.py:better"]


def test_one_row_is_enough() -> None:
    one = made(["precopy"], guests=1, seeds=1)
    for figure in (
        bar_panels(one, TIMES, rows="scenario", title="one"),
        dot_panels(one, TIMES, rows="scenario", title="one"),
        pareto_panels(one, *TIMES, by="scenario", title="one"),
        predicted_figure({"p": {"k": Points()}}, x_titles=["m"], title="none"),
    ):
        check_figure(figure)


def test_panels_are_named_with_units() -> None:
    assert panel_of("bytes_sent") == Panel("bytes_sent", "sent (GB)", 1e-9)
