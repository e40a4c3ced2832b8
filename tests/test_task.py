"""Tasks: one text, one key; every wrong value told in one sentence."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import python, small_trace

from migsim import InputError, Migration, Task, VirtualMachine, run
from migsim.registry import names
from migsim.units import Seconds

GOLDEN = (
    '{"algorithm":"precopy","algorithm_args":{"max_downtime":0.3,"max_rounds":30},'
    '"algorithm_digest":"...","codec_costs_digest":"...","content":{"content":"guest",'
    '"duplicate_fraction":0.1,"silent_fraction":null,"write_bytes":null,"write_pattern":"record"},'
    '"limit_acts":100000,"limit_seconds":86400.0,"link":"gigabit",'
    '"link_args":{"background":0.0,"background_flows":0,"burst_loss":null,"congestion":"cubic","encapsulation":null,'
    '"initial_window":10,"jitter":0.0,"loss":0.0,"mtu":1500,"outages":null,"overhead":90,'
    '"page_header":8,"queue":null,"rate":125000000.0,"receive_buffer":6291456,'
    '"receive_share":0.65,"rtt":0.0002,"send_buffer":null,"send_refill":0.3333333333333333,"send_share":0.943,"streams":1,'
    '"trace":null},"link_digest":"...","model":6,"seed":7,"vm":{"catch_up":0.0,"clear_chunk":1073741824,'
    '"codec_costs":"reference","device_state":null,"dirty_log":"sync","fault_seconds":2e-05,'
    '"first_write_seconds":0.0,"load":1.0,"log_needs_vcpus":false,'
    '"memory":1073741824,"memory_model":"sizes","page_seconds":0.0,"page_size":4096,'
    '"resume_seconds":0.01,"sync_seconds_per_gib":2e-05,"vcpus":1,"zero_fraction":0.0,'
    '"zero_offset":null,"zero_page_seconds":0.0},"workload":"uniform","workload_args":{"offset":0,'
    '"rate":10000.0,"read_fraction":0.0,"working_set":null},"workload_digest":"..."}'
)
BASE: dict[str, Any] = {
    "algorithm": "precopy",
    "workload": "uniform",
    "memory": "1GiB",
    "seed": 7,
}


def task(**changes: Any) -> Task:
    return Task(**{**BASE, **changes})


def test_the_text_is_stable() -> None:
    """Stored results are found by it: a change here makes all of them unfindable."""
    text = task().resolve().text
    assert re.sub(r'_digest":"[0-9a-f]{64}"', '_digest":"..."', text) == GOLDEN


def test_the_key_is_the_digest_of_the_text() -> None:
    assert task().key == hashlib.sha256(task().resolve().text.encode()).hexdigest()
    assert json.loads(task().resolve().text)["seed"] == 7


SAME: list[list[dict[str, Any]]] = [
    [{}, {"link": "gigabit"}, {"algorithm_args": {"max_rounds": 30}}, {"limit_seconds": 86400}],
    [{"memory": None, "vm_args": {"memory": m}} for m in ("1GiB", "1024MiB", 2**30)] + [{}],
    [{"algorithm_args": {"max_downtime": t}} for t in (0.3, "0.3", "300ms", "3e5us")] + [{}],
    [{"algorithm_args": {"max_downtime": t}} for t in (1, 1.0, "1", "1000ms", np.float64(1))],
    [{"workload_args": {"rate": r}} for r in (10_000, 1e4, "10k", "40.96MB/s", np.int64(10_000))]
    + [{}],
    [{"workload_args": {"working_set": w}} for w in ("25%", "256MiB", 2**28)],
    [{"workload_args": {"read_fraction": f}} for f in ("20%", 0.2, ".2")],
    [{"link_args": {"rate": r}} for r in ("1Gbit/s", "125MB/s", 125e6, 125_000_000)] + [{}],
    [{"link_args": {"rtt": r}} for r in ("200us", "0.2ms", 2e-4)] + [{}],
    [{"link": "custom", "link_args": {"rate": r, "rtt": 0}} for r in ("2.3MB/s", "2300kB/s")],
    [{"seed": seed} for seed in (3, np.int64(3))],
    [{"workload_args": (("rate", 5), ("offset", 0))}, {"workload_args": {"offset": 0, "rate": 5}}],
]  # fmt: skip


@pytest.mark.parametrize("group", SAME, ids=lambda group: str(group[0])[:40])
def test_spellings_of_one_task_share_a_key(group: list[dict[str, Any]]) -> None:
    assert len({task(**changes).key for changes in group}) == 1


def test_everything_that_matters_changes_the_key() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"algorithm": "hybrid"},
        {"workload": "zipf"},
        {"link": "10g"},
        {"memory": "2GiB"},
        {"seed": 8},
        {"algorithm_args": {"max_rounds": 29}},
        {"workload_args": {"rate": 1}},
        {"link_args": {"rtt": "1ms"}},
        {"vm_args": {"vcpus": 2}},
        {"limit_acts": 10},
        {"limit_seconds": 10},
    ]
    assert len({task(**change).key for change in changes}) == len(changes)


def test_other_processes_find_the_same_key() -> None:
    code = "from migsim import Task; print(Task(algorithm='vmotion', workload='mix', seed=3).key)"
    keys = {python(code, PYTHONHASHSEED=seed).strip() for seed in ("1", "2")}
    assert keys == {Task(algorithm="vmotion", workload="mix", seed=3).key}


def test_a_changed_source_changes_the_key_and_what_runs(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    source = (
        "def mine(migration, *, waits: float = {}):\n"
        "    migration.wait(waits)\n"
        "    migration.pause()\n"
        "    migration.send(migration.everything)\n"
        "    migration.resume()\n"
    )
    found = []
    for seconds in (1, 2, 1):
        path.write_text(source.format(seconds))
        os.utime(path, (1e9, 1e9))  # a file of the same size and age may still have changed
        mine = task(algorithm=f"{path}:mine", workload="idle", memory="4MiB")
        found.append((mine.key, round(run(mine).total_seconds)))
    assert found[0] == found[2]
    assert found[0][0] != found[1][0]
    assert [seconds for _, seconds in found] == [1, 2, 1]
    path.write_text(source.format(1) + "# a remark\n")
    assert task(algorithm=f"{path}:mine", workload="idle", memory="4MiB").key != found[0][0]


@pytest.mark.parametrize(
    ("workload", "argument", "form"),
    [
        ("trace", "file", "{}"),
        ("mix", "parts", "idle + trace(file={})"),
        ("phases", "schedule", "1s idle; 2s trace(file={})"),
        ("phases", "schedule", "1s mix(parts=idle + trace(file={})); 2s idle"),
    ],
)
def test_a_changed_trace_changes_the_key(
    tmp_path: Path, workload: str, argument: str, form: str
) -> None:
    path = tmp_path / "a.mtrace"
    keys = []
    for intervals in (10, 11, 10):
        small_trace(path, intervals=intervals)
        keys.append(task(workload=workload, workload_args={argument: form.format(path)}).key)
    assert keys[0] == keys[2] != keys[1]


def test_functions_are_told_apart_by_their_source() -> None:
    def one(migration: Migration, *, limit: Seconds = 1) -> None:
        migration.wait(limit)

    def other(migration: Migration, *, limit: Seconds = 1) -> None:
        migration.wait(2 * limit)

    assert task(algorithm=one).key != task(algorithm=other).key
    assert task(algorithm=one).key == task(algorithm=one, algorithm_args={"limit": "1s"}).key


def test_tasks_are_values() -> None:
    assert task() == task()
    assert hash(task(workload_args={"rate": 5})) == hash(task(workload_args={"rate": 5}))
    with pytest.raises(AttributeError):
        task().seed = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"algorithm": "precpy"}, "unknown algorithm 'precpy', did you mean 'precopy'"),
        ({"workload": "unifrom"}, "unknown workload 'unifrom', did you mean 'uniform'"),
        ({"link": "gigabyte"}, "unknown link 'gigabyte', did you mean 'gigabit'"),
        ({"algorithm": "xyzzy"}, "known: adaptive_compression"),
        ({"algorithm_args": {"max_round": 3}}, "did you mean 'max_rounds'"),
        (
            {"workload_args": {"rte": 3}},
            "workload 'uniform': unknown parameter 'rte', did you mean",
        ),
        ({"link_args": {"rat": 3}}, "link 'gigabit': unknown parameter 'rat'"),
        (
            {"vm_args": {"vcpu": 3}},
            "virtual machine: unknown parameter 'vcpu', did you mean 'vcpus'",
        ),
        ({"vm_args": {"memory": 1}}, "memory is given twice"),
        ({"memory": "1G"}, "expected a size such as '4GiB'"),
        ({"memory": -4096}, "negative"),
        ({"memory": 4097}, "expected a positive multiple of the page size, 4 KiB"),
        ({"memory": 0}, "expected a positive multiple"),
        ({"memory": 1.5}, "no whole number of bytes"),
        (
            {"algorithm_args": {"max_downtime": math.nan}},
            "max_downtime: got 'nan', expected a time",
        ),
        ({"algorithm_args": {"max_downtime": np.float64("nan")}}, "expected a time"),
        ({"algorithm_args": {"max_downtime": -0.1}}, "negative"),
        ({"algorithm_args": {"max_downtime": "300MB"}}, "expected a time such as"),
        ({"algorithm_args": {"max_downtime": None}}, "got None, expected a time such as"),
        ({"algorithm_args": {"max_downtime": True}}, "got True, expected a time such as"),
        ({"algorithm_args": {"max_downtime": [1]}}, "got [1], expected a time such as"),
        ({"algorithm_args": {"max_rounds": 2.5}}, "expected a whole number"),
        ({"algorithm_args": {"max_rounds": math.inf}}, "expected a whole number"),
        ({"algorithm": "hybrid", "algorithm_args": {"prepaging": "up"}}, "expected one of none, f"),
        ({"workload_args": {"read_fraction": 1.5}}, "expected a fraction"),
        ({"workload_args": {"rate": "5GiB"}}, "expected pages per second"),
        ({"workload_args": {"rate": math.inf}}, "expected pages per second"),
        ({"link_args": {"rate": 0}}, "link: rate is 0"),
        ({"link_args": {"rtt": "inf"}}, "link: rtt is inf"),
        ({"link_args": {"mtu": 100}}, "link: mtu is 100"),
        ({"link_args": {"initial_window": 0}}, "expected 1 to 10,000 segments"),
        ({"link": "custom"}, "parameter 'rate' has no default"),
        ({"vm_args": {"page_size": "5000B"}}, "expected a power of two from 4 KiB to 1 GiB"),
        ({"vm_args": {"page_size": "2GiB"}}, "expected a power of two"),
        ({"vm_args": {"vcpus": 0}}, "vcpus is 0, expected 1 to 4096"),
        ({"vm_args": {"clear_chunk": "1KiB"}}, "clear_chunk is 1 KiB"),
        ({"vm_args": {"dirty_log": "never"}}, "expected one of sync, send"),
        ({"vm_args": {"zero_fraction": 2}}, "expected a fraction"),
        ({"seed": 2**63}, "expected a 64-bit integer"),
        ({"seed": "three"}, "expected a 64-bit integer"),
        ({"seed": 1.5}, "expected a 64-bit integer"),
        ({"limit_seconds": 0}, "expected more than 0 seconds"),
        ({"limit_seconds": math.nan}, "expected more than 0 seconds"),
        ({"limit_seconds": "1h"}, "expected more than 0 seconds"),
        ({"limit_acts": 0}, "expected a whole number above 0"),
        ({"limit_acts": 1.5}, "expected a whole number above 0"),
    ],
)
def test_bad_input_is_told_in_a_sentence(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        task(**changes).resolve()
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_workloads_of_ones_own_are_checked() -> None:
    class Large:
        pages = 10**6

        def index(self, _time: float) -> int:
            return 0

        def accesses(self, *_arrays: Any) -> None:
            raise AssertionError

    def large(_vm: VirtualMachine, _seed: int) -> Large:
        return Large()

    def nothing(_vm: VirtualMachine, _seed: int) -> None:
        return None

    with pytest.raises(InputError, match="touches 1000000 pages, but the memory holds 262144"):
        run(task(workload=large))
    with pytest.raises(InputError, match="returned NoneType, expected an object with pages"):
        run(task(workload=nothing))


@pytest.mark.parametrize("algorithm", names("algorithm"))
def test_defaults_are_what_the_signature_says(algorithm: str) -> None:
    resolved = task(algorithm=algorithm).resolve()
    for parameter in resolved.algorithm.parameters:
        assert resolved.algorithm_args[parameter.name] == parameter.default
