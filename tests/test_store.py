"""Results on disk: append-only, resumable, mergeable, and loud about conflicts."""

from __future__ import annotations

import fcntl
import json
import math
import os
import pickle
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from migsim import InputError, Task
from migsim.simulate import execute
from migsim.store import Row, Store, frame, read_rows

RESULT = {"status": "completed", "error": "", "total_seconds": 0.1 + 0.2, "pages_sent": 7}
TASK = {
    "algorithm": "precopy",
    "algorithm_args": {"max_rounds": 30},
    "workload": "uniform",
    "workload_args": {"rate": 1e4},
    "link": "gigabit",
    "link_args": {"rtt": 2e-4},
    "vm": {"vcpus": 1},
    "seed": 3,
}


def row(name: str, **changes: object) -> Row:
    return Row(name * 8, TASK, {**RESULT, **changes})


def fill(folder: Path, *names: str) -> Path:
    with Store(folder) as store:
        for name in names:
            store.add(row(name))
    return folder / "rows.jsonl"


def real_row(seed: int = 0, **changes: object) -> Row:
    task = Task(algorithm="stop_and_copy", workload="idle", memory="1MiB", seed=seed)
    resolved = replace(task, **changes).resolve()  # type: ignore[arg-type]
    return Row(resolved.key, resolved.describe(), execute(resolved).result.as_dict())


def test_what_was_added_is_there_when_opened_again(tmp_path: Path) -> None:
    path = fill(tmp_path / "deep" / "folder", "a", "b")
    before = path.read_bytes()
    with Store(path.parent) as store:
        assert list(store.rows) == ["a" * 8, "b" * 8]
        assert store.rows["a" * 8] == row("a")
    assert path.read_bytes() == before


def test_rows_are_only_ever_appended(tmp_path: Path) -> None:
    first = fill(tmp_path, "a").read_bytes()
    both = fill(tmp_path, "b").read_bytes()
    assert both.startswith(first)
    assert both.count(b"\n") == 2


def test_a_row_of_a_real_migration_comes_back_to_the_bit(tmp_path: Path) -> None:
    original = real_row()
    with Store(tmp_path) as store:
        store.add(original)
    (copy,) = read_rows([tmp_path / "rows.jsonl"]).values()
    assert copy == original
    assert copy.text == original.text


def test_the_same_row_twice_is_written_once(tmp_path: Path) -> None:
    path = fill(tmp_path, "a", "a")
    assert fill(tmp_path, "a") == path
    assert path.read_bytes().count(b"\n") == 1


def test_each_row_is_on_disk_before_the_next(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for count, name in enumerate("abc", start=1):
            store.add(row(name))
            assert len(read_rows([store.path])) == count


def test_a_last_line_torn_at_any_byte_costs_that_row_alone(tmp_path: Path) -> None:
    path = fill(tmp_path, "a", "b", "c")
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        assert list(read_rows([path])) == ["a" * 8, "b" * 8]
        fill(tmp_path, "c")
        assert path.read_bytes() == whole, end


def test_opening_alone_mends_a_torn_line(tmp_path: Path) -> None:
    path = fill(tmp_path, "a", "b")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key":"cc')
    fill(tmp_path)
    assert path.read_bytes() == whole


@given(st.lists(st.sampled_from("abcd"), max_size=6), st.lists(st.sampled_from("abcd"), max_size=6))
def test_merging_is_concatenation(
    tmp_path_factory: pytest.TempPathFactory, here: list[str], there: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    one, two = fill(folder / "one", *here), fill(folder / "two", *there)
    joined = folder / "all" / "rows.jsonl"
    joined.parent.mkdir()
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    with Store(joined.parent) as store:
        assert store.rows == read_rows([one, two])
        assert set(store.rows) == {name * 8 for name in here + there}


def test_two_results_under_one_key_in_files_name_file_line_and_key(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", "b", "a")
    two = tmp_path / "two.jsonl"
    two.write_text(row("a", pages_sent=8).text + "\n")
    with pytest.raises(InputError, match="another result") as caught:
        read_rows([one, two])
    assert f"{two}:1" in str(caught.value)
    assert "a" * 8 in str(caught.value)
    one.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(InputError, match=f"{one}:3: task a{{8}} has another result"):
        Store(one.parent)


def test_a_conflict_while_adding_leaves_the_file_alone(tmp_path: Path) -> None:
    path = fill(tmp_path, "a")
    before = path.read_bytes()
    with Store(tmp_path) as store, pytest.raises(InputError, match="two different results") as bad:
        store.add(row("a", total_seconds=0.3))
    assert str(path) in str(bad.value)
    assert "a" * 8 in str(bad.value)
    assert path.read_bytes() == before


def test_a_difference_in_the_last_bit_is_a_conflict(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    near = math.nextafter(RESULT["total_seconds"], 1)  # type: ignore[arg-type]
    with Store(tmp_path) as store, pytest.raises(InputError, match="two different results"):
        store.add(row("a", total_seconds=near))


@pytest.mark.parametrize("place", ["file", "file/below", "folder/rows.jsonl"])
def test_where_no_folder_can_be_made_one_sentence_says_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder/rows.jsonl/rows.jsonl").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot keep results there") as caught:
        Store(tmp_path / place)
    assert str(tmp_path / place) in str(caught.value)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_disk_that_takes_half_a_row_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = fill(tmp_path, "a")
    whole = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store(tmp_path) as store:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, limits[1]))
            with pytest.raises(InputError, match=r"rows\.jsonl: cannot be written: File too large"):
                store.add(row("b"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(store.rows) == ["a" * 8]
    assert len(path.read_bytes()) == len(whole) + 20
    assert len(fill(tmp_path, "b").read_text().splitlines()) == 2


@given(st.permutations("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=6))
def test_a_tidied_file_tells_nothing_but_its_set_of_rows(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], batches: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("tidy")
    with Store(folder) as store:
        store.add(*map(row, order[: len(batches)]))
        store.add(*map(row, batches))
        store.tidy()
        store.add(*map(row, order))  # the file goes on to be appended to
        assert store.path.read_bytes().count(b"\n") == 6
        store.tidy()
    text = "".join(f"{row(name).text}\n" for name in "abcdef")
    assert store.path.read_text() == text
    assert [path.name for path in folder.iterdir()] == ["rows.jsonl"]
    before = store.path.stat()
    with Store(folder) as store:
        assert list(store.rows) == [name * 8 for name in "abcdef"]
        store.tidy()
    after = store.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_rows_added_at_once_are_all_or_none(tmp_path: Path) -> None:
    path = fill(tmp_path, "a")
    before = path.read_bytes()
    with Store(tmp_path) as store, pytest.raises(InputError, match="two different results"):
        store.add(row("b"), row("a", pages_sent=8))
    assert path.read_bytes() == before
    with Store(tmp_path) as store, pytest.raises(InputError, match="two different results"):
        store.add(row("b"), row("b", pages_sent=8))
    assert path.read_bytes() == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_crash_while_tidying_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = fill(tmp_path, "c", "b", "a")
    before = path.read_bytes()

    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    with Store(tmp_path) as store, monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, crash)
        with pytest.raises(Crash):
            store.tidy()
    assert path.read_bytes() == before
    with Store(tmp_path) as store:
        store.tidy()
    assert path.read_bytes().splitlines() == sorted(before.splitlines())


def test_what_a_crash_left_beside_the_file_is_no_obstacle(tmp_path: Path) -> None:
    path = fill(tmp_path, "b", "a")
    (tmp_path / ".rows.jsonl.new").write_text("half of a fi")
    with Store(tmp_path) as store:
        store.tidy()
    assert path.read_text() == f"{row('a').text}\n{row('b').text}\n"
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_full_disk_while_tidying_is_told_and_loses_nothing(tmp_path: Path) -> None:
    path = fill(tmp_path, "b", "a")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store(tmp_path) as store:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 20, limits[1]))
            with pytest.raises(InputError, match=r"rows\.jsonl: cannot be written: File too large"):
                store.tidy()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]


def test_the_lock_goes_with_the_name_when_the_file_is_replaced(tmp_path: Path) -> None:
    path = fill(tmp_path, "b", "a")
    with Store(tmp_path) as store:
        store.tidy()
        with pytest.raises(InputError, match="another migsim is writing"):
            Store(tmp_path)
        store.add(row("c"))
        assert len(read_rows([path])) == 3


def test_a_file_that_is_replaced_between_opening_and_locking_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fill(tmp_path, "b", "a")
    flock, turns = fcntl.flock, []

    def late(file: object, how: int) -> None:
        if not turns:
            turns.append(1)
            monkeypatch.setattr(fcntl, "flock", flock)
            with Store(tmp_path) as other:  # is done, and puts a new file in place
                other.tidy()
                other.add(row("c"))
            monkeypatch.setattr(fcntl, "flock", late)
        flock(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", late)
    with Store(tmp_path) as store:
        assert len(store.rows) == 3
        store.add(row("d"))
    assert list(read_rows([path])) == [name * 8 for name in "abcd"]


def test_many_that_open_and_tidy_at_once_lose_no_row(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from migsim.errors import InputError
from migsim.store import Row, Store
for turn in range(20):
    while True:
        try:
            with Store(Path(sys.argv[1])) as store:
                key = f"{(turn * 7 + int(sys.argv[2]) * 13) % 97:02}-{turn}-{sys.argv[2]}"
                store.add(Row(key, {"seed": turn}, {}))
                store.tidy()
            break
        except InputError as error:
            assert "another migsim is writing" in str(error), error
"""
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)],
                         env={**os.environ, "PYTHONPATH": str(ROOT)})
        for number in range(3)
    ]  # fmt: skip
    assert [process.wait(60) for process in started] == [0, 0, 0]
    keys = list(read_rows([tmp_path / "rows.jsonl"]))
    assert len(keys) == 60
    assert keys == sorted(keys)


def test_a_missing_file_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.jsonl: cannot be read: No such file"):
        read_rows([tmp_path / "nothing.jsonl"])


def test_a_second_writer_is_locked_out_until_the_first_closes(tmp_path: Path) -> None:
    with Store(tmp_path) as first:
        first.add(row("a"))
        with pytest.raises(InputError, match=r"rows\.jsonl: another migsim is writing"):
            Store(tmp_path)
        first.add(row("b"))
        assert len(read_rows([first.path])) == 2  # readers are not
    assert len(fill(tmp_path, "c").read_text().splitlines()) == 3


def test_a_store_that_cannot_be_read_is_not_left_locked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    with pytest.raises(InputError):
        Store(tmp_path)
    path.write_text("")
    fill(tmp_path, "a")
    assert list(read_rows([path])) == ["a" * 8]


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'"text"',
        b"3",
        b"{}",
        b'{"key":1,"task":{},"result":{}}',
        b'{"key":"k","task":[],"result":{}}',
        b'{"key":"k","task":{}}',
        b'{"key":"k","task":{},"result":null}',
        b"[" * 100_000,
    ],
)
def test_foreign_text_is_named_by_file_and_line_and_kept(tmp_path: Path, line: bytes) -> None:
    path = fill(tmp_path, "a", "b")
    rows = path.read_bytes().splitlines(keepends=True)
    content = rows[0] + line + b"\n" + rows[1]
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected one JSON result") as caught:
        Store(tmp_path)
    assert f"{path}:2" in str(caught.value)
    assert len(str(caught.value)) < 500
    assert path.read_bytes() == content


def test_empty_lines_mean_nothing(tmp_path: Path) -> None:
    path = fill(tmp_path, "a")
    path.write_bytes(b"\n" + path.read_bytes() + b"\n\n")
    assert list(read_rows([path])) == ["a" * 8]


def test_a_line_is_canonical_json(tmp_path: Path) -> None:
    line = fill(tmp_path, "a").read_text().rstrip("\n")
    assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"))
    assert list(json.loads(line)) == ["key", "result", "task"]


def test_the_columns_of_the_frame_are_the_parameters_and_measurements() -> None:
    table = frame([row("a"), row("b")], ["first", "second"])
    assert list(table.columns) == [
        "label", "key", "algorithm", "algorithm.max_rounds", "link", "link.rtt", "seed",
        "vm.vcpus", "workload", "workload.rate", "status", "error", "total_seconds", "pages_sent",
    ]  # fmt: skip
    assert list(table["label"]) == ["first", "second"]
    assert list(table["key"]) == ["a" * 8, "b" * 8]
    assert table["total_seconds"].tolist() == [0.1 + 0.2] * 2
    assert "label" not in frame([row("a")]).columns


def test_a_frame_of_different_algorithms_has_gaps_not_guesses() -> None:
    other = Row("b", {**TASK, "algorithm": "postcopy", "algorithm_args": {}}, RESULT)
    table = frame([row("a"), other])
    assert table["algorithm.max_rounds"].tolist()[0] == 30
    assert table["algorithm.max_rounds"].isna().tolist() == [False, True]


def test_labels_must_match_the_rows() -> None:
    with pytest.raises(ValueError, match="length"):
        frame([row("a"), row("b")], ["only one"])


def test_rows_look_the_same_fresh_and_read_again_even_infinite_ones(tmp_path: Path) -> None:
    fresh = [real_row(link="gigabit"), real_row(link="unlimited")]
    with Store(tmp_path) as store:
        for each in fresh:
            store.add(each)
    again = list(read_rows([tmp_path / "rows.jsonl"]).values())
    one, two = frame(fresh), frame(again)
    assert one.equals(two)
    assert two["link.rate"].tolist() == [125e6, math.inf]
    assert two["link.rate"].dtype == float
    assert one.to_csv() == two.to_csv()


def test_rows_share_what_they_have_in_common_and_many_keep_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [pickle.loads(pickle.dumps(Row(key, dict(TASK), dict(RESULT)))) for key in "abc"]
    for row in sent:
        parts = [name for name, value in TASK.items() if isinstance(value, dict)]
        assert parts
        assert all(row.task[name] is sent[0].task[name] for name in parts)
        assert {id(name) for name in row.result} == {id(name) for name in sent[0].result}
    whole = Row("d", {"args": {"x": 1}}, {}), Row("e", {"args": {"x": 1.0}}, {})
    texts = [row.text for row in whole]
    assert [pickle.loads(pickle.dumps(row)).text for row in whole] == texts  # 1 is not 1.0
    monkeypatch.setattr("migsim.store._MOST_TEXTS", 2)
    with Store(tmp_path) as store:
        store.add(*sent[:2])
        assert all("text" in vars(row) for row in store.rows.values())
        store.add(*sent[2:])
        store.tidy()
        assert not any("text" in vars(row) for row in store.rows.values())
        assert store.path.read_text().splitlines() == [row.text for row in sent]
