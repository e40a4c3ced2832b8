"""What a comparison says of two tables of results: matching, verdicts, words, reports."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim import InputError, Task
from migsim.collect import collect
from migsim.compare import MEASURES, Comparison, Side, compare, load_side, parse_thresholds
from migsim.compare.matching import match
from migsim.compare.reports import junit, markdown, text
from migsim.compare.verdicts import LEVEL, Blocks, blocks_of, judge
from migsim.compare.words import share
from migsim.stats import holm, sign_flip
from migsim.store import Store, frame

ALGORITHMS = ("precopy", "postcopy", "compressed")
RATES = ("2MB/s", "10MB/s", "40MB/s", "90MB/s")
SEEDS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small sweep, as `migsim run` leaves them."""
    folder = tmp_path_factory.mktemp("results") / "small"
    tasks = [
        Task(
            algorithm=algorithm, workload="uniform", link="gigabit", memory="16MiB", seed=seed,
            workload_args={"rate": rate}, label=f"uniform {rate}",
            algorithm_args={} if algorithm == "postcopy" else {"max_downtime": 0.02},
        )
        for rate in RATES
        for seed in range(SEEDS)
        for algorithm in ALGORITHMS
    ]  # fmt: skip
    with Store(folder) as store:
        rows = collect(tasks, store, workers=1)
    frame(rows, (task.label for task in tasks)).to_csv(folder / "small.csv", index=False)
    return folder


@pytest.fixture
def results(folder: Path) -> pd.DataFrame:
    return load_side(folder).results


def changed(
    results: pd.DataFrame, algorithm: str, edited: bool = True, **factors: float
) -> pd.DataFrame:
    """Return the results with measurements of an algorithm multiplied, by a new source."""
    table = results.copy()
    chosen = table["algorithm"] == algorithm
    for column, factor in factors.items():
        table[column] = table[column].astype(float)
        table.loc[chosen, column] *= factor
    if edited:
        table.loc[chosen, "algorithm_digest"] = "another"
    return table


def compared(base: pd.DataFrame, head: pd.DataFrame, *thresholds: str) -> Comparison:
    return compare(Side("old", base), Side("new", head), parse_thresholds(thresholds))


# ---- no difference ------------------------------------------------------------------------------


def test_results_are_the_same_from_every_kind_of_file(folder: Path, tmp_path: Path) -> None:
    table = pd.read_csv(folder / "small.csv", dtype=str, keep_default_na=False)
    zipped = tmp_path / "small.csv.gz"
    zipped.write_bytes(gzip.compress((folder / "small.csv").read_bytes()))
    parquet = tmp_path / "small.parquet"
    load_side(folder).results.to_parquet(parquet)
    shuffled = tmp_path / "shuffled.csv"
    table[table.columns[::-1]].sample(frac=1, random_state=0).to_csv(shuffled, index=False)
    sides = [
        load_side(path)
        for path in (folder, folder.parent, folder / "rows.jsonl", folder / "small.csv", zipped,
                     parquet, shuffled)
    ]  # fmt: skip
    for side in sides:
        for other in sides:
            got = compare(side, other, parse_thresholds([]))
            assert (got.status, got.matched, got.changes, got.broken, got.notes) == (
                0, len(table), (), (), (),
            )  # fmt: skip
            assert "no difference: 36 results of 3 algorithms are identical" in text(got)


def test_an_edit_that_changes_no_result_is_no_difference(results: pd.DataFrame) -> None:
    got = compared(results, changed(results, "precopy"))
    assert (got.status, got.changes, got.broken) == (0, (), ())
    assert got.unchanged == ALGORITHMS
    assert got.notes == ("the source changed, the results did not: precopy",)
    assert "no difference" in text(got)


@pytest.mark.parametrize("what", ["rounds", "status"])
def test_a_change_in_nothing_that_is_compared_is_no_identity(
    results: pd.DataFrame, what: str
) -> None:
    base, head = results.copy(), changed(results, "precopy")
    own = head["algorithm"] == "precopy"
    if what == "rounds":
        head.loc[own, "rounds"] += 1
    else:
        base.loc[own, "status"] = "gave_up"
    got = compared(base, head)
    assert (got.status, got.changes, got.elsewhere) == (0, (), ("precopy",))
    for report in (text, markdown, junit):
        assert "identical" not in report(got)
        assert "in none of the compared measures" in report(got)


# ---- changes ------------------------------------------------------------------------------------


def test_a_longer_downtime_is_told_in_the_promised_words(results: pd.DataFrame) -> None:
    head = changed(results, "precopy", downtime_seconds=1.05)
    noise = np.where(np.arange(len(head)) // 3 % 2, 1.0015, 0.9985)  # from block to block
    head["downtime_seconds"] *= np.where(head["algorithm"] == "precopy", noise, 1.0)
    got = compared(results, head)
    assert got.status == 1
    assert got.unchanged == ("postcopy", "compressed")
    assert (
        "\nprecopy: downtime 5.0 % longer (95 % interval 4.9 to 5.1 %, p < 0.001, 12 blocks)\n"
        in (text(got))
    )
    (change,) = got.changes
    assert (change.changed, change.scenarios, change.effect) == (4, 4, 1.0)
    assert "uniform 2MB/s / gigabit +" in text(got)


@pytest.mark.parametrize(
    ("column", "factor", "words", "verdict"),
    [
        ("total_seconds", 1.05, "total time 5.0 % longer", "worse"),
        ("total_seconds", 0.95, "total time 5.0 % shorter", "better"),
        ("downtime_seconds", 0.9, "downtime 10.0 % shorter", "better"),
        ("bytes_sent", 1.25, "25.0 % more bytes sent", "worse"),
        ("bytes_sent", 0.999, "0.1 % fewer bytes sent", "within"),
        ("cpu_seconds", 3.5, "250 % more processor time", "worse"),
        ("total_seconds", 1.01, "total time 1.0 % longer", "within"),
    ],
)
def test_every_measure_has_its_words(
    results: pd.DataFrame, column: str, factor: float, words: str, verdict: str
) -> None:
    head = changed(results, "compressed", **{column: factor})
    head["guest_seconds"] += head["total_seconds"] - results["total_seconds"]  # nothing is lost
    got = [each for each in compared(results, head).changes if each.measure.column == column]
    assert [change.verdict for change in got] == [verdict]
    assert f"compressed: {words} (95 % interval" in text(compared(results, head))


def test_what_the_guest_loses_is_total_time_less_its_own(results: pd.DataFrame) -> None:
    lost = results["total_seconds"] - results["guest_seconds"]
    head = changed(results, "postcopy", total_seconds=1.0)
    head.loc[head["algorithm"] == "postcopy", "total_seconds"] += 0.2 * lost
    (change,) = (each for each in compared(results, head).changes if each.measure.name == "lost")
    assert change.ratio.mean == pytest.approx(1.2)
    assert "postcopy: 20.0 % more guest time lost (" in text(compared(results, head))


def test_only_what_is_beyond_its_threshold_is_worse(results: pd.DataFrame) -> None:
    head = changed(results, "precopy", downtime_seconds=1.05, bytes_sent=1.05)
    for thresholds, worse in (
        ([], {"downtime", "bytes"}),
        (["6%"], set()),
        (["downtime=6%"], {"bytes"}),
        (["downtime=4%", "10%"], {"downtime"}),
        (["5%"], set()),  # exactly at it
        (["0"], {"downtime", "bytes"}),
    ):
        got = compared(results, head, *thresholds)
        assert {change.measure.name for change in got.of("worse")} == worse
        assert got.status == bool(worse)


def test_what_could_be_chance_is_not_worse(results: pd.DataFrame) -> None:
    head = changed(results, "precopy")
    signs = np.where(np.arange(len(head)) % 2, 1.3, 0.8)
    head["downtime_seconds"] *= np.where(head["algorithm"] == "precopy", signs, 1.0)
    got = compared(results, head)
    assert [change.verdict for change in got.changes] == ["unclear"]
    assert got.status == 0
    assert "Changed, but not significantly\nprecopy: downtime" in text(got)


def test_too_few_blocks_are_told(results: pd.DataFrame) -> None:
    few = results[(results["seed"] == 0) & (results["label"] != "uniform 2MB/s")]
    got = compared(few, changed(few, "precopy", downtime_seconds=2.0))
    assert [change.verdict for change in got.changes] == ["unclear"]
    assert "(too few blocks for a 95 % interval, p = 0.250, 3 blocks)" in text(got)


def test_seeds_that_change_nothing_are_no_further_evidence() -> None:
    scenario = np.repeat([0, 1], 3)
    before = np.array([1.0, 1.0, 1.0, 1.0, 2.0, 3.0])
    got = blocks_of(before, before * 2, scenario)
    assert got.sizes.tolist() == [3, 1, 1, 1]
    assert got.log_ratios == pytest.approx([np.log(2)] * 4)


def test_zeros_are_floored(results: pd.DataFrame) -> None:
    base = changed(results, "precopy", downtime_seconds=0.0)
    assert compared(base, base).status == 0
    head = base.copy()
    head.loc[head["algorithm"] == "precopy", "downtime_seconds"] = 2e-6
    head["algorithm_digest"] = "another"
    (change,) = compared(base, head).changes
    assert change.ratio.mean == pytest.approx(2.0)
    assert change.blocks == len(RATES)  # the seeds say nothing further


ratios = st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=12)


@given(st.lists(ratios, min_size=1, max_size=4), st.sampled_from([0.0, 0.01, 0.1]))
def test_the_verdict_is_significance_and_size(samples: list[list[float]], limit: float) -> None:
    blocks = {
        (str(i), MEASURES[0]): Blocks(np.array(sample), np.ones(len(sample)))
        for i, sample in enumerate(samples)
    }
    got = judge(blocks, {"total": limit})
    tested = [key for key in blocks if np.any(blocks[key].log_ratios)]
    assert list(got) == tested
    adjusted = holm([sign_flip(blocks[key].log_ratios).p for key in tested])
    for key, p in zip(tested, adjusted, strict=True):
        mean = np.exp(blocks[key].log_ratios.mean())
        assert got[key].p == p
        if got[key].verdict in ("worse", "better"):
            assert p <= LEVEL
            assert abs(mean - 1) > limit
            assert (got[key].verdict == "worse") == (mean > 1)
        elif got[key].verdict == "unclear":
            assert p > LEVEL


# ---- broken, and notes --------------------------------------------------------------------------


def test_results_that_change_without_a_reason_are_broken(results: pd.DataFrame) -> None:
    head = changed(results, "postcopy", edited=False, bytes_sent=0.5)
    got = compared(results, head)
    assert got.status == 1
    assert [finding.subject for finding in got.broken] == ["postcopy"]
    assert "12 of 12 results differ" in got.broken[0].sentence
    assert "raise MODEL_VERSION" in got.broken[0].sentence
    for column in ("model", "workload_digest", "codec_costs_digest", "link_digest"):
        assert not compared(results, head.assign(**{column: 99})).broken
    raised = compared(results, head.assign(model=99))
    assert any(note.endswith("99 in HEAD") for note in raised.notes)


@pytest.mark.parametrize("state", ["gave_up", "corrupt", "failed", "lost"])
def test_migrations_that_no_longer_complete_are_broken(results: pd.DataFrame, state: str) -> None:
    head = changed(results, "precopy")
    place = head.index[head["algorithm"] == "precopy"][:2]
    head.loc[place, "status"] = state
    got = compared(results, head)
    assert [finding.sentence for finding in got.broken] == [
        f"precopy: 2 migrations {state} that completed before, as on uniform 2MB/s / gigabit"
    ]
    assert got.status == 1
    back = compared(head, results)
    assert not back.broken
    assert f"precopy: 2 migrations completed that {state} before" in back.notes[-1]


def test_algorithms_of_one_side(results: pd.DataFrame) -> None:
    without = results[results["algorithm"] != "precopy"]
    got = compared(results, without)
    assert got.status == 1
    assert [finding.sentence for finding in got.broken] == ["precopy: has no results in HEAD"]
    allowed = compare(Side("a", results), Side("b", without), {}, allow_missing=True)
    assert (allowed.status, allowed.notes) == (0, ("no longer in HEAD: precopy",))
    new = compared(without, results)
    assert (new.status, new.notes) == (0, ("new in HEAD: precopy",))


def test_results_of_one_side_are_told(results: pd.DataFrame) -> None:
    got = compared(results, results[results["seed"] > 0])
    assert got.status == 0
    assert got.notes == ("only in BASE: 12 results of precopy, postcopy, compressed",)


def test_broken_claims_of_head_are_broken_and_those_of_base_only_told(
    results: pd.DataFrame,
) -> None:
    side = Side("x", results, broken=("all is well (it is not)",))
    got = compare(Side("y", results), side, parse_thresholds([]))
    assert got.status == 1
    assert [finding.subject for finding in got.broken] == ["claims"]
    back = compare(side, Side("y", results), parse_thresholds([]))
    assert back.status == 0
    assert back.notes == ("a claim was broken in BASE already: all is well (it is not)",)


# ---- matching -----------------------------------------------------------------------------------


def test_tasks_are_matched_without_digests_but_with_all_parameters(results: pd.DataFrame) -> None:
    edited = results.assign(algorithm_digest="a", workload_digest="b", model=9, label="c")
    pairs = match(results, edited.sample(frac=1, random_state=1).reset_index(drop=True))
    assert len(pairs.base) == len(results)
    assert pairs.same.all()
    assert not pairs.same_sources.any()
    assert len(np.unique(pairs.scenario)) == len(ALGORITHMS) * len(RATES)
    for column in ("seed", "link.rtt", "vm.memory", "workload.rate", "limit_acts"):
        other = match(results, results.assign(**{column: results[column] + 1000}))
        assert len(other.base) == 0


def test_a_parameter_that_is_new_in_head_is_left_out(results: pd.DataFrame) -> None:
    head = changed(results, "precopy", downtime_seconds=1.5)
    head.loc[head["algorithm"] == "precopy", "algorithm.patience"] = 3
    got = compared(results, head)
    assert got.matched == len(results)
    assert "parameters of one side only, not compared: algorithm.patience" in got.notes
    assert [change.algorithm for change in got.of("worse")] == ["precopy"]
    engine = compared(results, results.assign(**{"link.colour": "blue"}))
    assert (engine.matched, engine.status) == (len(results), 0)
    # With the same source it was not learnt, but set: another task.
    same = head.assign(algorithm_digest=results["algorithm_digest"])
    assert compared(results, same).matched == len(results) * 2 // 3


def test_two_results_of_one_task_on_one_side_are_refused(results: pd.DataFrame) -> None:
    twice = pd.concat([results, results], ignore_index=True)
    assert compared(twice, results).matched == len(results)
    older = pd.concat([results, changed(results, "precopy", bytes_sent=2.0)], ignore_index=True)
    with pytest.raises(InputError, match=r"^HEAD has two different results of precopy on uniform"):
        compared(results, older)


# ---- reports ------------------------------------------------------------------------------------


@pytest.fixture
def busy(results: pd.DataFrame) -> Comparison:
    """A comparison with something of everything."""
    head = changed(results, "precopy", downtime_seconds=1.05)
    head = changed(head, "compressed", bytes_sent=0.9, total_seconds=1.001)
    head["label"] = head["label"] + " | <b>*bold*</b>"
    head.loc[head["algorithm"] == "postcopy", "status"] = "corrupt"
    return compare(Side("old", results), Side("new", head, ("a < b & c",)), parse_thresholds([]))


def test_markdown_opens_with_one_line_and_folds_the_rest(busy: Comparison) -> None:
    lines = markdown(busy).splitlines()
    assert lines[0].startswith("❌ **migsim compare**: 3 broken; worse: precopy (downtime 5.0 % ")
    table = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {7}
    assert "| precopy | downtime 5.0 % longer | 5.0 to 5.0 % | 0.002 | 12 | 🔴 worse |" in table
    assert lines.count("<details><summary>Details</summary>") == 1
    assert lines[-1] == "</details>"
    assert "<b>" not in markdown(busy).replace("\\<b>", "")


def test_markdown_of_no_difference_is_green_and_has_no_table(results: pd.DataFrame) -> None:
    told = markdown(compared(results, results))
    assert told.startswith("✅ **migsim compare**: no difference: 36 results")
    assert "|" not in told


def test_junit_has_a_case_for_each_algorithm_and_measure(busy: Comparison) -> None:
    root = ElementTree.fromstring(junit(busy))
    cases = root.findall("./testsuite/testcase")
    named = {(case.get("classname"), case.get("name")) for case in cases}
    assert named == {
        *((name, measure.noun) for name in ALGORITHMS for measure in MEASURES),
        *((name, "results") for name in ALGORITHMS),
        ("claims", "hold"),
    }
    failed = {
        (case.get("classname"), case.get("name")): case.find("failure").get("message")
        for case in cases
        if case.find("failure") is not None
    }
    assert set(failed) == {("precopy", "downtime"), ("postcopy", "results"), ("claims", "hold")}
    assert failed["precopy", "downtime"].startswith("precopy: downtime 5.0 % longer (95 %")
    assert failed["claims", "hold"] == "broken claim: a < b & c"
    for element in (root, root.find("testsuite")):
        assert element.get("tests") == str(len(cases))
        assert element.get("failures") == "3"


def test_small_and_large_shares_keep_their_digits() -> None:
    assert [share(x) for x in (0.00012, 0.0005, 0.1234, 0.9994, 12.3)] == [
        "0.012", "0.1", "12.3", "99.9", "1230",
    ]  # fmt: skip


# ---- input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("x", r"--threshold x: got 'x', expected a fraction"),
        ("200%", r"--threshold 200%: got '200%', expected a fraction"),
        ("-1%", r"--threshold -1%: got '-1%', which is negative"),
        ("downtimes=1%", r"unknown measure 'downtimes', did you mean 'downtime'"),
        ("downtime=", r"--threshold downtime=: got ''"),
    ],
)
def test_bad_thresholds_are_told(given: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_thresholds([given])


Break = Callable[[Path, Path], Path]


def _torn(folder: Path, to: Path) -> Path:
    (to / "torn.csv.gz").write_bytes(gzip.compress((folder / "small.csv").read_bytes())[:500])
    return to / "torn.csv.gz"


def _cut(folder: Path, to: Path) -> Path:
    lines = (folder / "rows.jsonl").read_text().splitlines()
    (to / "cut.jsonl").write_text("\n".join([lines[0][:80], *lines[1:]]) + "\n")
    return to / "cut.jsonl"


def _other(folder: Path, to: Path) -> Path:
    (to / "other.csv").write_text("a,b\n1,2\n")
    return to / "other.csv"


def _empty(folder: Path, to: Path) -> Path:
    (to / "empty").mkdir()
    return to / "empty"


def _unmeasured(folder: Path, to: Path) -> Path:
    table = pd.read_csv(folder / "small.csv", dtype=str, keep_default_na=False)
    table.drop(columns="downtime_seconds").to_csv(to / "less.csv", index=False)
    return to / "less.csv"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (_torn, "is no table of results"),
        (_cut, "expected one JSON result"),
        (_other, "no column 'key'"),
        (_empty, "there are no results in it"),
        (_unmeasured, "no column 'downtime_seconds'"),
        (lambda folder, to: to / "nowhere.csv", "there is no such file"),
    ],
)
def test_broken_files_are_told(folder: Path, tmp_path: Path, broken: Break, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_side(broken(folder, tmp_path))


def test_nothing_in_common_is_told(results: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"^BASE old and HEAD new have no task in common"):
        compared(results, results.assign(seed=results["seed"] + 100))


def test_a_row_torn_by_a_crash_is_left_out(folder: Path, tmp_path: Path) -> None:
    rows = (folder / "rows.jsonl").read_bytes()
    (tmp_path / "rows.jsonl").write_bytes(rows[:-20])
    side = load_side(tmp_path)
    assert len(side.results) == rows.count(b"\n") - 1
    assert json.loads(rows.splitlines()[0])["key"] == side.results["key"][0]
    assert replace(side, name="x").broken == ()
