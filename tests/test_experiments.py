"""One contract for every experiment that the registry finds, and for how figures look."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figures import check_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments import ci, compression, evacuation, faults
from migsim import InputError, Task
from migsim.cli.run import _write
from migsim.collect import collect
from migsim.experiment import Experiment, Plan, load, with_lost_time
from migsim.fleet.fault_task import FaultTask
from migsim.fleet.work import EvacuationTask
from migsim.plotting import (
    Panel,
    dot_panels,
    heat_panels,
    line_panels,
    look_of,
    matrix,
    ordered,
)
from migsim.registry import names
from migsim.store import Store, frame
from migsim.task import ResolvedTask
from migsim.work import Unit

EXPERIMENTS = names("experiment")
FLEETS = ("evacuation", "faults")
"""Those whose rows are of other work than single migrations."""


@dataclass(frozen=True)
class Ran:
    experiment: Experiment
    tasks: tuple[Unit, ...]
    results: pd.DataFrame


@pytest.fixture(scope="module", params=EXPERIMENTS)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Each experiment in its quick version, with one seed."""
    experiment = load(request.param)
    tasks = tuple(experiment.tasks(Plan(seeds=1, quick=True)))
    with Store(tmp_path_factory.mktemp(request.param)) as store:
        rows = collect(tasks, store, workers=2)
    return Ran(experiment, tasks, frame(rows, (task.label for task in tasks)))


def scenario(task: Task) -> tuple[object, ...]:
    return task.label, task.link, str(sorted(dict(task.link_args).items())), task.seed


def algorithm_of(unit: Unit) -> object:
    task = unit.migration if isinstance(unit, FaultTask) else unit
    assert isinstance(task, Task | EvacuationTask)
    return task.algorithm


def migrations(units: Sequence[Unit]) -> list[Task]:
    return [unit for unit in units if isinstance(unit, Task)]


def comparisons(tasks: Sequence[Task]) -> dict[tuple[object, ...], list[Task]]:
    """Return the tasks of each scenario that all algorithms meet."""
    algorithms = {task.algorithm for task in tasks}
    met: dict[tuple[object, ...], list[Task]] = {}
    for task in tasks:
        met.setdefault(scenario(task), []).append(task)
    return {key: each for key, each in met.items() if {t.algorithm for t in each} == algorithms}


def varied_beside(name: str, label: str) -> bool:
    """Return whether not all algorithms of an experiment meet what is called so."""
    if name == "vmotion_claims":
        return not label.startswith("gigabit: ")
    return name == "distance" and ", " in label


def test_the_experiments_of_the_issues_are_there() -> None:
    assert {
        "gigabit", "distance", "compression", "algorithms_overview", "vmotion_claims", "ci",
        *FLEETS,
    } <= set(EXPERIMENTS)  # fmt: skip


def test_the_standard_suite_has_every_algorithm() -> None:
    assert sorted(ci.ALGORITHMS) == names("algorithm")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_opens_with_its_question(name: str) -> None:
    experiment = load(name)
    assert experiment.name == name
    assert experiment.question.endswith("?")
    assert "\n" not in experiment.question


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_all_tasks_can_run_have_labels_and_differ(name: str, quick: bool) -> None:
    tasks = load(name).tasks(Plan(seeds=1, quick=quick))
    resolved = [task.resolve() for task in tasks]
    assert len({each.key for each in resolved}) == len(tasks)
    for task, each in zip(tasks, resolved, strict=True):
        assert task.label.strip()
        if isinstance(each, ResolvedTask):
            assert each.make_workload().pages <= each.vm.pages
    assert (name in FLEETS) == (not migrations(tasks))
    # All algorithms meet the same guests, but for what an experiment varies beside that.
    alike = migrations(tasks)
    beside = [task for task in alike if varied_beside(name, task.label)]
    assert sum(len(met) for met in comparisons(alike).values()) == len(alike) - len(beside)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_plan_is_followed(name: str) -> None:
    experiment = load(name)
    one = list(experiment.tasks(Plan(seeds=1, quick=True)))
    three = list(experiment.tasks(Plan(seeds=3, quick=True)))
    assert {task.seed for task in three} == {0, 1, 2}
    assert len(three) == 3 * len(one)
    assert set(one) < set(three)
    assert set(one) < set(experiment.tasks(Plan(seeds=1)))
    more = experiment.tasks(Plan(seeds=1, quick=True, algorithms=("mine.py:mine",)))
    added = [task for task in more if algorithm_of(task) == "mine.py:mine"]
    assert [task for task in more if task not in added] == one
    assert added
    if name in FLEETS:
        return
    scenarios = comparisons(migrations(one))
    met = [scenario(task) for task in migrations(added)]
    assert len(set(met)) == len(met) > 0
    assert set(met) <= set(scenarios)
    beside = [key for key in scenarios if name == "distance" and "dirties" in str(key[0])]
    assert len(met) == len(scenarios) - len(beside)


def test_every_claim_holds_and_shows_its_evidence(ran: Ran) -> None:
    claims = ran.experiment.claims(ran.results)
    assert len(claims) >= 3
    for claim in claims:
        assert claim.holds is True, f"{claim.sentence}: {claim.evidence}"
        assert claim.sentence.strip()
        assert claim.evidence.strip()
        assert "nan" not in claim.evidence
    assert len({claim.sentence for claim in claims}) == len(claims)


def test_every_migration_completes(ran: Ran) -> None:
    assert Counter(ran.results["status"]) == {"completed": len(ran.tasks)}


def test_claims_can_break(ran: Ran) -> None:
    """Figures that are wrong must not pass: each claim breaks under at least one of these."""
    results = ran.results
    worse = wrong_fleets(results) if ran.experiment.name in FLEETS else wrong_migrations(results)
    broken: set[str] = set()
    for table in worse:
        broken |= {c.sentence for c in ran.experiment.claims(table) if not c.holds}
    assert broken == {claim.sentence for claim in ran.experiment.claims(results)}


def wrong_migrations(results: pd.DataFrame) -> list[pd.DataFrame]:
    return [
        results.assign(status="corrupt"),
        *(
            results.assign(**{column: results[column].where(results["algorithm"] != name, value)})
            for name in results["algorithm"].unique()
            for column, value in [
                ("total_seconds", 0.0), ("total_seconds", 1e4), ("downtime_seconds", 0.2),
                ("bytes_sent", 10**12), ("pages_sent", 1), ("throttled_seconds", 0.0),
                ("stalled_seconds", 0.0), ("stalled_seconds", 1e4), ("fault_mean_seconds", 1e4),
                ("sent_resent", 10**12), ("rounds", 30),
            ]
        ),
        results.assign(downtime_seconds=results["downtime_seconds"] * 2 + results.index),
        results.assign(total_seconds=results["total_seconds"] + 100 * results["link.rtt"]),
    ]  # fmt: skip


def wrong_fleets(results: pd.DataFrame) -> list[pd.DataFrame]:
    columns = [str(name) for name in results]
    measured = [name for name in columns if "seconds" in name]
    return [
        results.assign(status="corrupt"),
        *(results.assign(**{name: 1.0}) for name in measured),
        *(
            results.assign(**{name: ending})
            for name in columns if name.startswith("ending_")
            for ending in faults.ENDINGS
        ),
    ]  # fmt: skip


def test_algorithms_of_the_users_do_not_move_the_claims(ran: Ran) -> None:
    mine = ran.results[ran.results["algorithm"] == "precopy"].assign(
        algorithm="mine.py:mine", status="corrupt", total_seconds=0.0, downtime_seconds=99.0
    )
    both = pd.concat([ran.results, mine], ignore_index=True)
    assert ran.experiment.claims(both) == ran.experiment.claims(ran.results)


def test_tables_hold_a_number_for_every_guest_and_algorithm(ran: Ran) -> None:
    tables = ran.experiment.tables(ran.results)
    assert tables
    algorithms = ordered(ran.results["algorithm"].unique())
    for title, table in tables.items():
        assert title.strip()
        assert isinstance(table, pd.DataFrame)
        if ran.experiment.name == "distance":
            assert list(table.columns[1:]) == ["0.1 ms", "10 ms", "100 ms"]
        elif ran.experiment.name == "compression":
            guests = list(dict.fromkeys(ran.results["label"]))
            assert list(table.columns[1:]) in (["1 Gbit/s", "10 Gbit/s", "25 Gbit/s"], guests)
        elif (
            ran.experiment.name == "algorithms_overview"
        ):  # what algorithms come to over all guests
            labels = {look_of(name).label for name in algorithms}
            assert set(table.iloc[:, 0]) in (labels, labels - {"clairvoyant"})
        elif ran.experiment.name == "evacuation":  # numbers at a time by orders
            assert list(table.columns[1:]) == list(evacuation.ORDERS.values())
        elif ran.experiment.name == "faults":
            assert list(table.columns[1:]) == list(faults.FAULTS)
            assert set(table.iloc[:, 0]) == {look_of(name).label for name in algorithms}
        elif ran.experiment.name == "vmotion_claims":  # its tables are borders
            assert len(table) >= 3
        else:
            assert list(table.columns[1:]) == [look_of(name).short for name in algorithms]
            rows = ran.results["label"]
            if ran.experiment.name == "ci":  # its guests are met over several links
                rows = rows + ", " + ran.results["link"]
            assert set(table.iloc[:, 0]) == set(rows)
        assert np.isfinite(table.iloc[:, 1:].to_numpy(float)).all()


def test_what_texts_quote_are_numbers_by_names(ran: Ran) -> None:
    for name, value in ran.experiment.numbers(ran.results).items():
        assert re.fullmatch("[a-z][a-z0-9_]*", name)
        assert math.isfinite(value), name


def test_a_table_shows_the_means_over_the_seeds() -> None:
    results = pd.DataFrame(
        {
            "label": ["b", "b", "a", "a", "b", "a"],
            "algorithm": ["precopy", "precopy", "precopy", "postcopy", "postcopy", "precopy"],
            "seconds": [1.0, 3.0, 5.0, 7.0, 9.0, 6.0],
        }
    )
    table = matrix(results, "seconds", 10.0)
    assert table.to_dict("list") == {"": ["b", "a"], "pre": [20.0, 55.0], "post": [90.0, 70.0]}


def png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=60, metadata={"Software": None})
    return out.getvalue()


def test_the_figure_is_saved_without_warnings_and_always_the_same(ran: Ran, tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert isinstance(ran.experiment.figure(ran.results), Figure)
            written.append(_write(ran.experiment, ran.results, ran.results, folder))
    further = ran.experiment.figures(ran.results)
    page = [".md"] if ran.experiment.page(ran.results) else []
    assert [path.suffix for path in written[0]] == [
        ".csv", *[".png", ".svg"] * (1 + len(further)), *page
    ]  # fmt: skip
    for one, two in zip(*written, strict=True):
        assert one.read_bytes() == two.read_bytes(), one
    assert written[0][1].read_bytes().startswith(b"\x89PNG")
    svg = written[0][2].read_text()
    assert svg.startswith("<?xml")
    assert "<dc:date>" not in svg


def test_a_page_names_every_algorithm_guest_and_link(ran: Ran) -> None:
    page = ran.experiment.page(ran.results)
    if not page:
        return
    assert page.startswith("# ")
    for algorithm in ran.results["algorithm"].unique():
        assert f"### {look_of(algorithm).label} (`{algorithm}`)" in page
    for name in {*ran.results["label"], *ran.results["link"]}:
        assert f"\n| {name} |" in page
    assert not [line for line in page.splitlines() if line.startswith("|") and "nan" in line]


def test_every_algorithm_is_in_the_legend(ran: Ran) -> None:
    expected = [look_of(name).label for name in ordered(ran.results["algorithm"].unique())]
    if ran.experiment.name == "vmotion_claims":  # its first figure is of one
        return
    if ran.experiment.name == "compression":
        expected = list(compression.CODECS)
    if ran.experiment.name == "evacuation":
        expected = list(evacuation.ORDERS.values())
    if ran.experiment.name == "faults":  # its algorithms are rows of tiles
        expected = [told for told, _ in faults.ENDINGS.values()]
    if ran.experiment.name == "ci":
        expected = [look_of(name).label for name in ran.results["algorithm"].unique()]
    figure = ran.experiment.figure(ran.results)
    if figure.legends:
        (legend,) = figure.legends
        shown = legend.get_texts()
    else:  # its algorithms are rows
        shown = figure.axes[0].get_yticklabels()
    assert [text.get_text() for text in shown] == expected


def test_the_figure_shows_every_measurement_of_every_guest(ran: Ran) -> None:
    figure = ran.experiment.figure(ran.results)
    algorithms = ran.results["algorithm"].nunique()
    marks = sum(len(axes.containers) + len(axes.texts) for axes in figure.axes)
    panels = len({axes.get_title() for axes in figure.axes} - {""})
    if ran.experiment.name == "faults":
        assert sum(len(axes.collections) for axes in figure.axes) == panels == 6
        return
    if ran.experiment.name == "evacuation":  # four measurements of each
        assert marks == 4 * len(ran.tasks)
        return
    if ran.experiment.name in {"compression", "ci"}:  # each one is a cell in a panel of its link
        assert marks == len(ran.tasks) * panels / ran.results["link"].nunique()
        return
    if ran.experiment.name == "vmotion_claims":  # a cell for time and one for share
        alone = ran.results[ran.results["algorithm"] == "vmotion"]
        assert marks == 2 * alone["label"].str.match("gigabit|borders").sum()
        return
    if ran.experiment.name == "distance":  # one guest: its paths are the rows, its rates panels
        scenarios = 4 * ran.results["link.rtt"].nunique()
    elif ran.experiment.name == "algorithms_overview":  # means over the links
        scenarios = ran.results["label"].nunique()
    else:
        scenarios = len(ran.results.groupby(["label", "link"]))
    assert marks == scenarios * algorithms * panels
    for axes in figure.axes:
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()


def test_nothing_of_a_figure_lies_outside_of_it(ran: Ran) -> None:
    figure = ran.experiment.figure(ran.results)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    check_figure(figure)
    box = figure.get_tightbbox(canvas.get_renderer())  # in inches
    width, height = figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height


# ---- looks -------------------------------------------------------------------------------------


def test_every_built_in_algorithm_has_a_look_of_its_own() -> None:
    looks = [look_of(name) for name in names("algorithm")]
    for part in ("label", "short", "colour"):
        assert len({getattr(look, part) for look in looks}) == len(looks), part
    assert len({(look.marker, look.filled) for look in looks}) == len(looks)
    others = look_of("theirs.py:new")
    assert others.label == "new"  # so none of the built-in ones fell back to this
    assert not {look.colour for look in looks} & {others.colour}


def test_algorithms_of_the_users_look_different_from_one_another_and_from_ours() -> None:
    theirs = [f"{folder}/mine.py:f{i}" for folder in "ab" for i in range(6)]
    everything = names("algorithm") + theirs
    looks = [look_of(name, everything) for name in everything]
    assert len({(look.colour, look.marker) for look in looks}) == len(everything)
    assert len({look.label for look in looks}) == len({look.short for look in looks})
    assert len({look.short for look in looks}) == len(everything)


@pytest.mark.parametrize(
    ("algorithm", "beside", "label"),
    [
        ("x/mine.py:better", [], "better"),
        ("x/mine.py:better", ["y/mine.py:other"], "better"),
        ("x/mine.py:better", ["x/their.py:better"], "mine.py:better"),
        ("x/mine.py:better", ["y/mine.py:better"], "x/mine.py:better"),
        ("x/mine.py:delta", [], "mine.py:delta"),
        ("x/mine.py:pre", [], "mine.py:pre"),
        ("x/mine.py:_hidden", [], "mine.py:_hidden"),
    ],
)
def test_a_users_algorithm_is_called_by_the_shortest_name_that_tells(
    algorithm: str, beside: list[str], label: str
) -> None:
    assert look_of(algorithm, [algorithm, *beside, "precopy", "delta"]).label == label
    assert look_of(algorithm, ["precopy", "delta", *beside]).label == label


def test_algorithms_come_from_plain_to_bound_and_then_the_users() -> None:
    got = ordered(["z.py:a", "clairvoyant", "a.py:z", "stop_and_copy", "precopy", "precopy"])
    assert got == ["stop_and_copy", "precopy", "clairvoyant", "a.py:z", "z.py:a"]


def table_of(values: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"algorithm": name, "label": "guest", "x": place, "seconds": value, "seed": seed}
            for name, series in values.items()
            for place, value in enumerate(series)
            for seed in range(3)
        ]
    )


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        {"precopy": [0.0, 0.0]},
        {"precopy": [1.0, 1.0]},
        {"precopy": [1e-6, 1e6], "postcopy": [0.0, 3.0]},
        {"precopy": [1.0, 2.0, 3.0], "mine.py:mine": [1.0]},
        {"a.py:f": [1.0], "b.py:f": [2.0]},
    ],
)
def test_figures_of_odd_results_are_drawn_without_warnings(
    values: dict[str, list[float]], log: bool
) -> None:
    results, panels = table_of(values), [Panel("seconds", "time (s)", log=log)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dots = dot_panels(results, panels, rows="label", title="odd")
        lines = line_panels(results, panels, x="x", x_title="x", rows="label", title="odd")
        heat = heat_panels(
            results, panels, rows="algorithm", columns="x", across="label", title="odd"
        )
        assert png(heat).startswith(b"\x89PNG")
        assert png(dots).startswith(b"\x89PNG")
        assert png(lines).startswith(b"\x89PNG")
    for figure in (dots, lines):
        (legend,) = figure.legends
        assert len(legend.get_texts()) == len(values)


def test_a_heat_map_shows_the_means_and_leaves_blank_what_is_missing() -> None:
    results = table_of({"precopy": [1.0, 2.0], "delta": [20.0, 300.0], "postcopy": [math.nan, 4.0]})
    results.loc[0, "seconds"] = 4.0  # one of three seeds
    panel = Panel("seconds", "ms", scale=0.5)
    figure = heat_panels(
        results, [panel], rows="algorithm", columns="x", across="label", title="means"
    )
    (axes,) = figure.axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {
        (0.5, 0.5): "1.00", (1.5, 0.5): "1.00", (0.5, 1.5): "10.0", (1.5, 1.5): "150",
        (1.5, 2.5): "2.00",
    }  # fmt: skip


def test_wide_intervals_stay_on_a_logarithmic_axis() -> None:
    results = table_of({"precopy": [1.0]}).assign(seconds=[0.01, 0.01, 10.0])
    figure = dot_panels(results, [Panel("seconds", "s", log=True)], rows="label", title="wide")
    assert png(figure).startswith(b"\x89PNG")
    low, high = figure.axes[0].get_xlim()
    assert 0 < low < 3.34 < high


def test_lost_time_is_what_the_guest_did_not_run() -> None:
    table = pd.DataFrame({"total_seconds": [10.0], "guest_seconds": [7.5]})
    assert with_lost_time(table)["lost_seconds"].tolist() == [2.5]
    assert list(table.columns) == ["total_seconds", "guest_seconds"]


@pytest.mark.parametrize("missing", ["tasks", "claims", "figure"])
def test_an_experiment_that_lacks_a_part_is_refused(tmp_path: Path, missing: str) -> None:
    parts = {"tasks", "claims", "figure"} - {missing}
    path = tmp_path / f"without_{missing}.py"
    path.write_text("".join(f"def {part}(x): ...\n" for part in sorted(parts)))
    with pytest.raises(InputError, match=rf"expected a function {missing}\(\)"):
        load(str(path))


def test_an_experiment_in_a_file_is_named_by_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text('"""First\nquestion?\n\nMore."""\ndef tasks(x): ...\nclaims = figure = tasks\n')
    experiment = load(str(path))
    assert (experiment.name, experiment.question) == ("mine", "First question?")
    assert experiment.tables(pd.DataFrame()) == {}
    assert experiment.page(pd.DataFrame()) == ""
