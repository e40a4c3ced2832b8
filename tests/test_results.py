"""Results are the same table, whatever they are read from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from migsim import InputError, Task
from migsim.collect import collect
from migsim.results import load_results, load_rows, rows_files
from migsim.results_query import write
from migsim.store import Row, Store, frame

ALGORITHMS = ("precopy", "compressed", "postcopy", "delta", "multifd", "qemu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "small"
    tasks = [
        Task(algorithm=algorithm, workload=workload, link=link, memory="1MiB")
        for algorithm in ALGORITHMS
        for workload in ("idle", "hotcold")
        for link in ("gigabit", "unlimited")
    ]
    with Store(folder) as store:
        collect(tasks, store, workers=1)
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    rows = list(load_rows(folder).values())
    return frame(rows, [f"guest {place % 3}" for place in range(len(rows))])


def test_a_folder_a_file_and_the_folder_above_are_one_table(folder: Path) -> None:
    table = frame(load_rows(folder).values())
    assert len(table) == 24
    assert "label" not in table
    for path in (folder, folder / "rows.jsonl", folder.parent):
        pd.testing.assert_frame_equal(load_results(path), table)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_an_exported_table_comes_back_to_the_bit_and_type(
    tmp_path: Path, table: pd.DataFrame, name: str
) -> None:
    write(table, tmp_path / name)
    again = load_results(tmp_path / name)
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    assert (again["link.rate"] == float("inf")).sum() == 12


@pytest.mark.parametrize("name", ["gigabit.csv", "distance.csv.gz", "compression.csv"])
def test_the_committed_results_can_be_read(name: str) -> None:
    table = load_results(Path(__file__).parents[1] / "paper" / "results" / name)
    assert table["key"].str.len().eq(64).all()
    assert table["total_seconds"].dtype == float
    assert table["pages_sent"].dtype == int
    assert not table["label"].isna().any()
    assert (table["error"] == "").all()


def test_a_key_that_looks_like_a_number_stays_a_text(tmp_path: Path) -> None:
    row = Row("12e4", {"algorithm": "1", "workload": "2", "seed": 3}, {"status": "completed"})
    write(frame([row], ["7"]), tmp_path / "t.csv")
    again = load_results(tmp_path / "t.csv")
    assert again.iloc[0].to_dict() == {
        "label": "7", "key": "12e4", "algorithm": "1", "seed": 3, "workload": "2",
        "status": "completed",
    }  # fmt: skip


@pytest.mark.parametrize(
    "values", [(True, False), (1, 0), (1.5, 1e300), ("yes", "no")], ids=lambda pair: str(pair[0])
)
def test_gaps_are_gaps_whatever_the_type(tmp_path: Path, values: tuple[object, object]) -> None:
    rows = [
        Row(str(seed), {"algorithm": "a", "workload": "w", "seed": seed, "algorithm_args": given},
            {"status": "completed"})
        for seed, given in enumerate(({"x": values[0]}, {"x": None}, {}, {"x": values[1]}))
    ]  # fmt: skip
    table = frame(rows)
    assert table["algorithm.x"].isna().tolist() == [False, True, True, False]
    for name in ("t.csv", "t.parquet"):
        write(table, tmp_path / name)
        pd.testing.assert_frame_equal(load_results(tmp_path / name), table)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", b"a,b\n1,2\n", "is no table of results: there is no column 'key'"),
        ("t.csv", b"", "is no table of results"),
        ("t.csv", b'key,algorithm\n"1,2\n', "is no table of results"),
        ("t.csv.gz", b"hello", "t.csv.gz: "),
        ("t.parquet", b"hello", "t.parquet: "),
        ("t.txt", b"hello", "expected a folder or a name that ends in .jsonl, .csv"),
        ("t.jsonl", b"hello\n", "expected one JSON result"),
    ],
)
def test_what_is_no_table_of_results_is_told(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        load_results(tmp_path / name)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_a_missing_file_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: cannot be read: No such file"):
        load_results(tmp_path / name)


def test_a_folder_without_results_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no rows\.jsonl in it or in the folders of it"):
        rows_files(tmp_path)
