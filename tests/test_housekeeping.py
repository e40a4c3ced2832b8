"""Merging results, and telling rows of use from those that no task can have any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migsim import InputError, Task
from migsim.collect import collect
from migsim.housekeeping import UNKNOWN, collect_garbage, merge, summarise
from migsim.store import Row, Store, read_rows

MINE = '''
def plain(migration):
    """Stops and copies."""
    migration.pause()
    migration.send(migration.everything)
    migration.resume()
'''


def gather(folder: Path, *tasks: Task) -> bytes:
    with Store(folder) as store:
        collect(tasks, store, workers=1)
    return (folder / "rows.jsonl").read_bytes()


def small(seed: int = 0, **changes: Any) -> Task:
    fields = {"algorithm": "stop_and_copy", "workload": "idle", "memory": "1MiB", **changes}
    return Task(seed=seed, **fields)


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Alter what the first stored row says of its task."""
    with Store(folder) as store:
        first, *others = store.rows.values()
        task = {**first.task}
        edit(task)
        store.keep([Row(first.key, task, first.result), *others])


def test_fresh_rows_are_all_of_use(tmp_path: Path) -> None:
    whole = gather(tmp_path / "a", small(0), small(1), small(2, workload="trace",
                   workload_args={"file": "idle"}, memory="64MiB"))  # fmt: skip
    (found,) = summarise(tmp_path)
    assert (found.rows, found.algorithms, found.reasons) == (3, ("stop_and_copy",), {})
    collect_garbage(tmp_path, unknown=True, dry=False)
    assert (tmp_path / "a" / "rows.jsonl").read_bytes() == whole


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda task: task.update(model=1), "model version 1, not"),
        (lambda task: task.update(algorithm_digest="0"), "algorithm 'stop_and_copy' has changed"),
        (lambda task: task.update(workload_digest="0"), "workload 'idle' has changed"),
        (lambda task: task.update(link_digest="0"), "link 'gigabit' has changed"),
        (lambda task: task.update(codec_costs_digest="0"), "costs of codecs have changed"),
    ],
)
def test_rows_of_another_version_are_removed_and_the_others_kept(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], reason: str
) -> None:
    gather(tmp_path, small(0), small(1), small(2))
    change(tmp_path, edit)
    before = (tmp_path / "rows.jsonl").read_bytes()
    (dry,) = collect_garbage(tmp_path, unknown=False, dry=True)
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    (done,) = collect_garbage(tmp_path, unknown=False, dry=False)
    assert dry == done
    assert list(done.reasons.values()) == [1]
    assert next(iter(done.reasons)).startswith(reason)
    after = (tmp_path / "rows.jsonl").read_bytes()
    assert after == b"".join(before.splitlines(keepends=True)[1:])


@pytest.mark.parametrize("dry", [True, False])
def test_a_file_that_is_not_there_is_told_and_not_made(tmp_path: Path, dry: bool) -> None:
    with pytest.raises(InputError, match=r"typo/rows\.jsonl: cannot be read: No such file"):
        collect_garbage(tmp_path / "typo" / "rows.jsonl", unknown=False, dry=dry)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_an_edited_plug_in_go_and_those_of_a_lost_one_are_in_doubt(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    out = tmp_path / "out"
    whole = gather(out, small(0), small(1, algorithm=f"{mine}:plain"))
    mine.rename(tmp_path / "away.py")
    (found,) = collect_garbage(out, unknown=False, dry=False)
    assert found.reasons == {UNKNOWN: 1}
    assert (out / "rows.jsonl").read_bytes() == whole
    mine.write_text(MINE + "# edited\n")
    (found,) = collect_garbage(out, unknown=False, dry=True)
    assert found.reasons == {f"algorithm '{mine}:plain' has changed": 1}
    mine.unlink()
    collect_garbage(out, unknown=True, dry=False)
    assert (out / "rows.jsonl").read_bytes().count(b"\n") == 1


def test_merging_gives_the_file_that_one_sweep_gives(tmp_path: Path) -> None:
    whole = gather(tmp_path / "whole", *(small(seed) for seed in range(6)))
    gather(tmp_path / "parts" / "a", small(5), small(0), small(3))
    gather(tmp_path / "parts" / "b", small(4), small(3), small(1))
    gather(tmp_path / "out", small(2))
    assert merge([tmp_path / "parts"], tmp_path / "out") == (5, 6)
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == whole
    assert merge([tmp_path / "parts", tmp_path / "whole"], tmp_path / "out") == (0, 6)
    assert merge([tmp_path / "out" / "rows.jsonl"], tmp_path / "new") == (6, 6)


@pytest.mark.parametrize("there", [False, True])
def test_a_conflict_is_told_and_nothing_is_written(tmp_path: Path, there: bool) -> None:
    gather(tmp_path / "a", small(0), small(1))
    (first, _) = read_rows([tmp_path / "a" / "rows.jsonl"]).values()
    with Store(tmp_path / "b") as store:
        store.add(Row(first.key, first.task, {**first.result, "pages_sent": 1}))
    out = tmp_path / "b" if there else tmp_path / "out"
    before = (tmp_path / "b" / "rows.jsonl").read_bytes()
    with pytest.raises(InputError, match="has another result than before"):
        merge([tmp_path / "a"] if there else [tmp_path / "a", tmp_path / "b"], out)
    assert (tmp_path / "b" / "rows.jsonl").read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_written_to_is_left_alone(tmp_path: Path) -> None:
    gather(tmp_path, small(0))
    with Store(tmp_path):
        with pytest.raises(InputError, match="another migsim is writing"):
            collect_garbage(tmp_path, unknown=False, dry=False)
        collect_garbage(tmp_path, unknown=False, dry=True)


def test_only_folders_of_results_are_cleaned(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(InputError, match=r"expected a folder of results or its rows\.jsonl"):
        collect_garbage(tmp_path / "t.jsonl", unknown=False, dry=False)
