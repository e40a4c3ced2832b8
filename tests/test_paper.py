"""The paper: its plan, its facts, and that it says nothing else than the committed results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typst
from helpers import ROOT
from matplotlib.figure import Figure

from migsim import InputError
from migsim.experiment import Claim, Experiment, Plan, drawn, load
from migsim.paper.build import broken_claims, check_build, compile_text, lay_out
from migsim.paper.committed import commit, committed_facts, committed_results
from migsim.paper.facts import differences, facts_of, facts_of_experiment
from migsim.paper.figures import figures_of
from migsim.paper.plan import PaperPlan, read_plan
from migsim.registry import names
from migsim.task import MODEL_VERSION
from migsim.validate.facts import VALIDATIONS

PAPER = ROOT / "paper"
CHANGED = "run 'migsim paper --update'"


# ---- the committed paper -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan() -> PaperPlan:
    return read_plan(PAPER)


@pytest.fixture(scope="module")
def results(plan: PaperPlan) -> dict[str, pd.DataFrame]:
    return committed_results(plan, PAPER)


def test_all_that_is_committed_is_of_this_model(results: dict[str, pd.DataFrame]) -> None:
    for name, table in results.items():
        assert set(table["model"]) == {MODEL_VERSION}, f"{name}: {CHANGED}"
    assert committed_facts(PAPER)["model_version"] == MODEL_VERSION, CHANGED


def test_the_committed_facts_are_what_the_committed_results_give(
    plan: PaperPlan, results: dict[str, pd.DataFrame]
) -> None:
    known = committed_facts(PAPER)
    again = {name: facts_of_experiment(load(name), table) for name, table in results.items()}
    now = facts_of(again, known["validations"], listings=plan.listings, quick=False)
    assert list(differences(known, now)) == [], CHANGED
    assert set(known["validations"]) == set(plan.validations)


def test_no_committed_claim_is_broken() -> None:
    assert list(broken_claims(committed_facts(PAPER))) == []


def claims_said() -> Iterator[tuple[str, str, str]]:
    """Yield experiment, beginning of the claim and body of every claim that the text makes."""
    for path in sorted(PAPER.glob("*.typ")):
        text = path.read_text()
        names_of = dict(re.findall(r'#let (\w+) = "(\w+)"', text))
        for found in re.finditer(r'#claim\((?:"(\w+)"|(\w+)), "([^"]+)"\)\[', text):
            end, depth = found.end(), 1
            while depth:
                depth += {"[": 1, "]": -1}.get(text[end], 0)
                end += 1
            yield found[1] or names_of[found[2]], found[3], text[found.end() : end - 1]


def test_what_the_text_says_of_a_claim_has_only_its_numbers() -> None:
    facts = committed_facts(PAPER)["experiments"]
    checked = 0
    for experiment, start, body in claims_said():
        (claim,) = [
            claim for claim in facts[experiment]["claims"] if claim["sentence"].startswith(start)
        ]
        told = f"{claim['sentence']} {claim['evidence']}"
        plain = re.sub(r"#\w+\([^)]*\)|@\w+|\\u\{\w+\}", "", body).replace("~", " ")
        for number in re.findall(r"\d+(?:\.\d+)?", plain):
            checked += 1
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]*\d)", told), (body, told)
    assert checked > 20


def test_the_paper_tells_of_every_experiment(plan: PaperPlan) -> None:
    assert set(plan.experiments) == set(names("experiment"))


def test_the_paper_is_typeset_and_has_eight_to_ten_pages(
    plan: PaperPlan, results: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    facts = committed_facts(PAPER)
    figures = figures_of(plan, results, facts["validations"])
    build = tmp_path / "build"
    lay_out(PAPER, build, facts, figures)
    pdf = compile_text(plan, build)
    assert pdf.startswith(b"%PDF")
    assert pdf == (PAPER / "migsim.pdf").read_bytes(), CHANGED
    (pages,) = json.loads(typst.query(build / plan.text, "<pages>", field="value"))
    assert 8 <= pages <= 10


@pytest.mark.parametrize("name", ["linear", "tcp"])
def test_the_committed_facts_of_a_comparison_are_those_that_it_gives(name: str) -> None:
    """Of the quick ones; `.ci/run` builds the paper and so checks all of them."""
    known = committed_facts(PAPER)["validations"][name]
    again = json.loads(json.dumps(VALIDATIONS[name]()))
    assert list(differences(known, again)) == [], CHANGED


# ---- plans ---------------------------------------------------------------------------------------

TEXT = """#let facts = json("facts.json")
Of #facts.experiments.at("x").migrations migrations. #image("figures/x.svg")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "text.typ").write_text(TEXT)
    return folder


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        (None, "paper.toml: cannot be read: No such file"),
        ("text = 3", "paper.toml: Expected `str`, got `int` - at `$.text`"),
        ("text = ", "paper.toml: Invalid value"),
        ("text = 'text.typ'", "missing required field `experiments`"),
        ("text = 'no.typ'\nexperiments = {}", "text is 'no.typ', but there is no such file"),
        ("text = 'text.typ'\nexperiments = {gigabt = {seeds = 1}}", "did you mean 'gigabit'"),
        ("text = 'text.typ'\nexperiments = {gigabit = {seeds = 0}}", "seeds is 0, expected 1"),
        ("text = 'text.typ'\nexperiments = {gigabit = {sedes = 1}}", "unknown field `sedes`"),
        ("text = 'text.typ'\nexperiments = {}\nvalidations = ['tpc']", "did you mean 'tcp'"),
        ("text = 'text.typ'\nexperiments = {}\n[timelines.x]\nalgorithm = 'qemu'", "`workload`"),
        ("text = 'text.typ'\nexperiments = {}\nlistings = ['precpy']", "did you mean 'precopy'"),
    ],
)
def test_a_wrong_plan_is_told_in_a_sentence(folder: Path, toml: str | None, sentence: str) -> None:
    if toml is not None:
        (folder / "paper.toml").write_text(toml)
    with pytest.raises(InputError) as caught:
        read_plan(folder)
    assert sentence in str(caught.value)
    assert str(folder / "paper.toml") in str(caught.value)


# ---- facts ---------------------------------------------------------------------------------------


def experiment(holds: bool = True) -> Experiment:
    def figure(results: pd.DataFrame) -> Figure:
        made = Figure(figsize=(1, 1))
        made.subplots().plot(results["total_seconds"])
        return made

    return Experiment(
        name="x",
        question="Why?",
        tasks=lambda plan: [],
        claims=lambda results: [Claim("all is well", holds, f"{len(results)} rows")],
        figure=figure,
        figures=lambda results: {"more": figure(results)},
        tables=lambda results: {"times": results[["label", "total_seconds"]]},
        page=lambda results: "",
        numbers=lambda results: {"longest": results["total_seconds"].max(), "none": float("nan")},
    )


def made_results() -> pd.DataFrame:
    return pd.DataFrame({
        "label": ["a", "b"], "seed": [0, 0], "status": ["completed", "gave_up"],
        "total_seconds": [1.5, 9.0],
    })  # fmt: skip


def test_facts_hold_numbers_claims_and_tables_without_what_did_not_complete() -> None:
    facts = facts_of_experiment(experiment(), made_results())
    assert facts == {
        "question": "Why?",
        "migrations": 2,
        "seeds": 1,
        "numbers": {"longest": 1.5, "none": None},
        "claims": [{"sentence": "all is well", "holds": True, "evidence": "2 rows"}],
        "tables": {"times": [["label", "total_seconds"], ["a", 1.5], ["b", None]]},
    }
    json.dumps(facts, allow_nan=False)


def test_differences_name_the_place_and_both_sides() -> None:
    one = {"a": {"b": [1, 2.0]}, "c": [1], "d": 1}
    other = {"a": {"b": [1, 2.5]}, "c": [1, 2], "e": None}
    assert list(differences(one, other)) == [
        "a/b/1: 2.0, now 2.5", "c: [1], now [1, 2]", "d: 1, now missing", "e: missing, now None",
    ]  # fmt: skip
    assert list(differences(one, json.loads(json.dumps(one)))) == []


def made_facts(holds: bool = True) -> dict[str, Any]:
    of_x = facts_of_experiment(experiment(holds), made_results())
    checks = {"claims": [{"claim": "total time", "holds": holds}]}
    return facts_of({"x": of_x}, {"qemu": checks, "tcp": {}}, listings=["precopy"], quick=False)


def test_broken_claims_are_found_wherever_they_are() -> None:
    assert list(broken_claims(made_facts())) == []
    broken = list(broken_claims(made_facts(holds=False)))
    assert broken == ["x: all is well (2 rows)", "qemu: total time"]


def test_facts_are_as_they_will_be_read_again() -> None:
    comparison = {"points": {"panel": {"kind": {"spread": [(1.0, 2.0)]}}}}
    facts = facts_of({}, {"tcp": comparison}, listings=[], quick=False)
    assert list(differences(json.loads(json.dumps(facts)), facts)) == []


def test_facts_name_every_algorithm_and_list_its_source() -> None:
    facts = made_facts()
    assert [name for name, _ in facts["algorithms"]] == names("algorithm")
    assert all(sentence.endswith(".") and len(sentence) > 10 for _, sentence in facts["algorithms"])
    assert facts["listings"]["precopy"].startswith("def precopy(migration: Migration")


# ---- building ------------------------------------------------------------------------------------


def builds(folder: Path, text: str, facts: dict[str, Any]) -> Iterator[bytes]:
    """Yield the PDF of a text, built twice in different places."""
    (folder / "text.typ").write_text(text)
    plan = PaperPlan(text="text.typ", experiments={})
    for place in ("one", "two"):
        figures = drawn(experiment(), made_results())
        lay_out(folder, folder.parent / place, facts, figures)
        yield compile_text(plan, folder.parent / place)


@pytest.mark.parametrize("build", [".", "mine", "mine/within", "kept"])
def test_a_paper_is_not_built_over_its_text_nor_over_what_is_not_its_own(
    folder: Path, build: str
) -> None:
    (folder.parent / "kept").mkdir()
    (folder.parent / "kept" / "rows.jsonl").write_text("")
    with pytest.raises(InputError, match=r"over its own text|is left alone"):
        check_build(folder, folder.parent / build)
    check_build(folder, folder.parent / "new")
    assert (folder / "text.typ").read_text() == TEXT


def test_the_same_facts_give_the_same_bytes(folder: Path) -> None:
    one, two = builds(folder, TEXT, made_facts())
    assert one == two
    (other, _) = builds(folder, TEXT.replace("Of", "From"), made_facts())
    assert other != one


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('#num("x", "shortest")', "no fact experiments / x / numbers / shortest"),
        ('#num("y", "longest")', "no fact experiments / y"),
        ('#num("x", "none")', "x: the number none is missing"),
        ('#claim("x", "nobody is ill")[fine]', "x: no claim, or several, that begin with"),
        ('#cell("x", "times", "c", "total_seconds")', "x, times: no row c"),
        ('#cell("x", "times", "a", "seconds")', "x, times: no column seconds"),
        ('#image("figures/none.svg")', "file not found"),
    ],
)
def test_a_text_cannot_say_what_is_not_there(folder: Path, said: str, sentence: str) -> None:
    (folder / "facts.typ").write_text((PAPER / "facts.typ").read_text())
    with pytest.raises(InputError, match=r"text\.typ: ") as caught:
        next(builds(folder, f'#import "facts.typ": *\n{said}', made_facts()))
    assert sentence in str(caught.value)


def test_a_text_cannot_make_a_claim_that_does_not_hold(folder: Path) -> None:
    (folder / "facts.typ").write_text((PAPER / "facts.typ").read_text())
    text = (
        '#import "facts.typ": *\n#claim("x", "all is")[All is well] (#evidence("x", "all is well"))'
    )
    next(builds(folder, text, made_facts()))
    with pytest.raises(InputError, match="the claim does not hold: 'all is'"):
        next(builds(folder, text, made_facts(holds=False)))


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.5, 0, "1"), (3.14159, 2, "3.14"), (2.0, 1, "2.0"), (1234, 0, "1234"),
        (12345.678, 1, "12\u2009345.7"), (1234567, 0, "1\u2009234\u2009567"),
        (-1.25, 1, "\u22121.3"), (1e-9, 1, "0.0"),
    ],
)  # fmt: skip
def test_numbers_are_set_with_fixed_digits(
    tmp_path: Path, value: float, digits: int, text: str
) -> None:
    (tmp_path / "facts.json").write_text("{}")
    (tmp_path / "facts.typ").write_text((PAPER / "facts.typ").read_text())
    (tmp_path / "text.typ").write_text(
        f'#import "facts.typ": *\n#metadata(fixed({value}, digits: {digits})) <it>'
    )
    (found,) = json.loads(typst.query(tmp_path / "text.typ", "<it>", field="value"))

    def flat(node: Any) -> str:
        if isinstance(node, str):
            return node
        return node.get("text") or "".join(flat(child) for child in node.get("children", []))

    assert flat(found) == text


def test_what_is_committed_is_read_back(folder: Path) -> None:
    (folder / "text.pdf").write_bytes(b"%PDF")
    plan = PaperPlan(text="text.typ", experiments={"x": None})  # type: ignore[dict-item]
    table = load_table(folder)
    figures = drawn(experiment(), made_results())
    pages = {"x": "# Page\n", "y": ""}
    commit(plan, folder, {"x": table}, made_facts(), figures, pages, folder.parent / "a.pdf")
    kept = {path.name for path in (folder / "results").iterdir()}
    assert kept == {"x.csv", "x.png", "x-more.png", "x.md", "facts.json"}
    assert (folder / "results" / "x.md").read_text() == "# Page\n"
    assert (folder / "a.pdf").read_bytes() == b"%PDF"
    assert committed_facts(folder) == json.loads(json.dumps(made_facts()))
    pd.testing.assert_frame_equal(committed_results(plan, folder)["x"], table)


def load_table(folder: Path) -> pd.DataFrame:
    """Return a small table of results, and put a PDF where `commit` expects one."""
    (folder.parent / "a.pdf").write_bytes(b"%PDF")
    tasks = load("gigabit").tasks(Plan(seeds=1, quick=True))[:2]
    from migsim.collect import collect
    from migsim.store import Store, frame

    with Store(folder.parent / "rows") as store:
        rows = collect(tasks, store, workers=1)
    return frame(rows, (task.label for task in tasks))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "facts.json: cannot be read: No such file"),
        ("{", "facts.json: is no JSON"),
        ("[]", "facts.json: expected the facts of a paper"),
    ],
)
def test_facts_that_cannot_be_read_are_told(
    tmp_path: Path, text: str | None, sentence: str
) -> None:
    (tmp_path / "results").mkdir()
    if text is not None:
        (tmp_path / "results" / "facts.json").write_text(text)
    with pytest.raises(InputError, match="facts") as caught:
        committed_facts(tmp_path)
    assert sentence in str(caught.value)
