"""``migsim results``: conditions, columns, formats, and sentences about what cannot be used."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from migsim import InputError, Task
from migsim.cli.results import results
from migsim.collect import collect
from migsim.results import load_results
from migsim.results_query import choose, load_all, write
from migsim.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "small"
    tasks = [
        Task(algorithm=algorithm, workload="idle", link=link, memory="1MiB", seed=seed)
        for algorithm in ("precopy", "postcopy")
        for link in ("gigabit", "metro")
        for seed in range(3)
    ]
    with Store(folder) as store:
        collect(tasks, store, workers=1)
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return load_results(folder)


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(results, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("seed < 2", 8),
        ("algorithm == 'precopy' and seed == 0", 2),
        ("`link.rtt` > 0.001", 6),
        ("`algorithm.max_rounds` == 30", 6),
        ("not (link in ['metro'])", 6),
        ("`algorithm.preempt` == True", 6),
        ("seed > 5", 0),
        ("link.rtt > 0.001 and algorithm.max_rounds == 30", 3),
        ("algorithm != 'link.rtt'", 12),
    ],
)
def test_conditions_choose_rows(table: pd.DataFrame, where: str, rows: int) -> None:
    assert len(choose(table, where, [])) == rows


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("sed < 2", "there is no column 'sed', did you mean 'seed'"),
        ("`link.rt` < 2", "there is no column 'link.rt', did you mean 'link.rtt'"),
        ("link.rt < 2", "there is no column 'link.rt', did you mean 'link.rtt'"),
        ("seed <", "cannot be understood"),
        ("seed + 1", "expected a condition"),
        ("seed", "expected a condition"),
        ("3", "expected a condition"),
        ("", "--where"),
        ("@seed < 2", "'@' is for programs"),
        ("algorithm < 2", "cannot be understood"),
        ("seed.__class__", "--where"),
        ("seed.head() == 0", "expected a condition"),
        ("algorithm", "expected a condition"),
        ("error", "expected a condition"),
        ("`algorithm.switch_at`", "--where"),
    ],
)
def test_a_condition_that_cannot_be_used_is_told_in_a_sentence(
    table: pd.DataFrame, where: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        choose(table, where, [])
    assert "\n" not in str(caught.value)


def test_columns_and_order(table: pd.DataFrame) -> None:
    chosen = choose(table, None, ["seed", "link.rtt"], ["seed", "link.rtt"])
    assert list(chosen.columns) == ["seed", "link.rtt"]
    assert chosen["seed"].tolist() == sorted(table["seed"])
    with pytest.raises(InputError, match="--columns: there is no column 'sed', did you mean"):
        choose(table, None, ["sed"])
    with pytest.raises(InputError, match="--sort: there is no column 'sed'"):
        choose(table, None, [], ["sed"])


def test_rows_that_come_twice_are_shown_once(folder: Path, table: pd.DataFrame) -> None:
    assert len(load_all([folder, folder / "rows.jsonl"])) == len(table)


def test_a_column_of_truths_with_gaps_is_a_condition() -> None:
    table = pd.DataFrame({"algorithm.preempt": [True, math.nan, False, True], "seed": range(4)})
    assert choose(table, "algorithm.preempt", [])["seed"].tolist() == [0, 3]


def exported(path: Path, table: pd.DataFrame, *labels: str) -> Path:
    """Write the table once for each label, or once without one."""
    parts = [table.assign(label=label) for label in labels] or [table]
    write(pd.concat(parts), path)
    return path


def test_a_row_with_a_label_stands_for_the_one_without(
    tmp_path: Path, folder: Path, table: pd.DataFrame
) -> None:
    named = exported(tmp_path / "named.csv", table, "a guest")
    for paths in ([folder, named], [named, folder]):
        found = load_all(paths)
        assert sorted(found["key"]) == sorted(table["key"])
        assert set(found["label"]) == {"a guest"}
        assert found.index.equals(pd.RangeIndex(len(table)))
    half = exported(tmp_path / "half.csv", table[:5], "a guest")
    assert load_all([folder, half])["label"].value_counts().to_dict() == {"": 7, "a guest": 5}


def test_a_task_under_two_labels_keeps_both(
    tmp_path: Path, folder: Path, table: pd.DataFrame
) -> None:
    twice = exported(tmp_path / "twice.csv", table, "one", "other")
    found = load_all([twice, folder, twice])
    assert len(found) == 2 * len(table)
    assert set(found.groupby("key")["label"].nunique()) == {2}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("bytes_sent", 7, "bytes_sent is [0-9]+ and 7$"),
        ("total_seconds", math.nan, "total_seconds is .* and gap$"),
        ("status", "failed", "status is completed and failed$"),
    ],
)
def test_tables_that_disagree_about_a_task_are_told(
    tmp_path: Path, table: pd.DataFrame, name: str, value: object, sentence: str
) -> None:
    other = table.copy()
    other[name] = other[name].where(other.index != 4, value)
    one, two = exported(tmp_path / "one.csv", table), exported(tmp_path / "two.csv", other, "x")
    key = table["key"][4][:12]
    told = rf"one\.csv and .*two\.csv have different results for task {key}: {sentence}"
    with pytest.raises(InputError, match=told):
        load_all([one, two])


def test_a_table_with_fewer_columns_disagrees_with_none(
    tmp_path: Path, folder: Path, table: pd.DataFrame
) -> None:
    some = table[["key", "algorithm", "workload", "status", "bytes_sent"]]
    few = exported(tmp_path / "few.csv", some)
    assert len(load_all([folder, few])) == len(table)


def test_the_same_table_gives_the_same_bytes(tmp_path: Path, table: pd.DataFrame) -> None:
    for name in ("t.csv", "t.csv.gz", "t.parquet", "t.tex"):
        contents = []
        for turn in ("a", "b"):
            (tmp_path / turn).mkdir(exist_ok=True)
            write(table, tmp_path / turn / name)
            contents.append((tmp_path / turn / name).read_bytes())
        assert contents[0] == contents[1]
    unpacked = gzip.decompress((tmp_path / "a" / "t.csv.gz").read_bytes())
    assert unpacked == (tmp_path / "a" / "t.csv").read_bytes()


def test_latex_has_booktabs_and_escaped_names(tmp_path: Path, table: pd.DataFrame) -> None:
    write(choose(table, "seed == 0", ["algorithm", "total_seconds"]), tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert r"\toprule" in text
    assert r"\bottomrule" in text
    assert r"algorithm & total\_seconds \\" in text
    assert text.count("precopy &") == 2


def test_a_column_of_texts_and_numbers_can_be_kept_in_parquet(tmp_path: Path) -> None:
    table = pd.DataFrame({"key": ["a", "b", "c"], "x": pd.Series([1, "two", None], dtype=object)})
    write(table, tmp_path / "t.parquet")
    again = pd.read_parquet(tmp_path / "t.parquet")
    assert again["x"].tolist()[:2] == ["1", "two"]
    assert again["x"].isna().tolist() == [False, False, True]


def test_a_file_of_another_kind_is_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in \.csv, \.csv\.gz"):
        write(table, tmp_path / "t.xlsx")
    assert not (tmp_path / "t.xlsx").exists()
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write(table, tmp_path / "nowhere" / "t.tex")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.tex"])
def test_what_cannot_be_written_whole_leaves_the_old_file(
    tmp_path: Path, table: pd.DataFrame, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(table: pd.DataFrame, path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    write(table[:3], tmp_path / name)
    before = (tmp_path / name).read_bytes()
    monkeypatch.setattr("migsim.results_query._write", half)
    with pytest.raises(InputError, match=rf"--output .*{name}: cannot be written: No space left"):
        write(table, tmp_path / name)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


# ---- the commands --------------------------------------------------------------------------


def test_list_tells_what_there_is(folder: Path) -> None:
    header, line = invoke("list", str(folder.parent)).splitlines()
    assert header.split() == ["experiment", "rows", "stale", "unknown", "model", "algorithms"]
    assert line.split()[:4] == ["small", "12", "0", "0"]
    assert line.rstrip().endswith("postcopy, precopy")


def test_show_prints_rows(folder: Path) -> None:
    lines = invoke("show", str(folder), "--where", "seed == 1", "--columns", "algorithm,link,seed",
                   "--sort", "link,algorithm").splitlines()  # fmt: skip
    assert [line.split() for line in lines[1:-1]] == [
        ["postcopy", "gigabit", "1"], ["precopy", "gigabit", "1"],
        ["postcopy", "metro", "1"], ["precopy", "metro", "1"],
    ]  # fmt: skip
    assert lines[-1] == "4 of 12 rows"


def test_export_merge_and_gc(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    told = invoke("export", str(folder), "--output", str(out), "--where", "seed < 2")
    assert told == f"written: {out}, 8 rows\n"
    assert len(load_results(out)) == 8
    assert "8 of 8 rows" in invoke("show", str(out))
    told = invoke("merge", str(folder), "--output", str(tmp_path / "all"))
    assert told == f"{tmp_path / 'all'}: 12 rows, 12 of them new\n"
    told = invoke("gc", str(tmp_path / "all"), "--dry-run")
    assert told == f"{tmp_path / 'all' / 'rows.jsonl'}: 0 of 12 rows would be removed\n"
