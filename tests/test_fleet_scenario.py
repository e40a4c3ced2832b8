"""Fleets read from TOML: what good files become, and how each mistake is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migsim import InputError
from migsim.fleet.describe import describe, digest
from migsim.fleet.model import Balance, Evacuate, Fleet, Move, Rule
from migsim.fleet.scenario import read_scenario
from migsim.task import canonical_json
from migsim.units import GIB

GOOD = """\
seed = 7
[networks.ny]
rate = "10Gbit/s"
[networks.london]
rate = "1Gbit/s"
[networks.island]
rate = "1Gbit/s"
[trunks.line]
first = "ny"
second = "london"
rate = "1Gbit/s"
rtt = "70ms"
[hosts.a]
network = "ny"
cores = 32
memory = "64GiB"
[hosts.b]
count = 2
network = "london"
cores = 16
memory = "32GiB"
[hosts.c]
network = "island"
cores = 16
memory = "32GiB"
[vms.web]
count = 3
host = "b"
memory = "1GiB"
workload = "uniform"
workload_args = { rate = "10MB/s", working_set = "10%" }
vm_args = { zero_fraction = "40%" }
seed = 5
[vms.db]
host = "a"
memory = "24GiB"
vcpus = 8
cpu = 0.5
algorithm_args = { max_downtime = "1s" }
[[rules]]
kind = "never"
vms = ["web-*", "db"]
hosts = ["c"]
[migration]
algorithm = "precopy"
algorithm_args = { max_rounds = 5 }
link_args = { congestion = "bbr" }
[[failures]]
at = "10s"
kind = "down"
target = "line"
lasts = "2s"
[[balance]]
at = "2min"
hosts = ["b"]
[[evacuate]]
host = "a"
to = ["b-*"]
[[move]]
vm = "web-1"
to = "a"
until = "1h"
"""


def read(folder: Path, text: str) -> Fleet:
    path = folder / "fleet.toml"
    path.write_text(text)
    return read_scenario(path)


def mistakes(folder: Path, text: str) -> list[str]:
    """Return the sentences about a file, without its name."""
    with pytest.raises(InputError) as caught:
        read(folder, text)
    name = str(folder / "fleet.toml")
    found = str(caught.value).split("\n")
    assert all(sentence.startswith(name) for sentence in found)
    return [sentence.removeprefix(f"{name}:") for sentence in found]


def test_a_good_file(tmp_path: Path) -> None:
    fleet = read(tmp_path, GOOD)
    assert (fleet.name, fleet.seed) == ("fleet", 7)
    assert list(fleet.hosts) == ["a", "b-1", "b-2", "c"]
    assert list(fleet.vms) == ["web-1", "web-2", "web-3", "db"]
    assert [vm.host for vm in fleet.vms.values()] == ["b-1", "b-2", "b-1", "a"]
    assert [vm.seed for vm in fleet.vms.values()] == [5, 6, 7, 0]
    assert fleet.vms["db"].memory == 24 * GIB
    assert fleet.networks["ny"].rate == 1.25e9
    assert fleet.trunks["line"].rtt == 0.07
    assert fleet.rules == (
        Rule(kind="never", vms=("web-1", "web-2", "web-3", "db"), hosts=("c",), name="rules[0]"),
    )
    assert (fleet.failures[0].at, fleet.failures[0].lasts) == (10.0, 2.0)
    assert fleet.jobs == (
        Balance(at=120.0, hosts=("b-1", "b-2")),
        Evacuate(host="a", to=("b-1", "b-2")),
        Move(vm="web-1", to="a", until=3600.0),
    )
    assert fleet.way(fleet.vms["web-1"]) == ("precopy", {"max_rounds": 5})
    assert fleet.way(fleet.vms["db"]) == ("precopy", {"max_rounds": 5, "max_downtime": "1s"})


def test_jobs_keep_the_order_of_the_file(tmp_path: Path) -> None:
    jobs = '[[move]]\nvm = "db"\nto = "b-1"\n[[balance]]\n[[move]]\nvm = "web-2"\nto = "a"\n'
    fleet = read(tmp_path, GOOD[: GOOD.index("[[balance]]")] + jobs)
    assert [type(job) for job in fleet.jobs] == [Move, Balance, Move]


def test_description_and_digest_depend_on_what_is_meant_only(tmp_path: Path) -> None:
    fleet = read(tmp_path, GOOD)
    same = read(tmp_path, GOOD.replace('"64GiB"', "68719476736 # bytes").replace('"2min"', "120"))
    other = read(tmp_path, GOOD.replace('"2min"', "121"))
    assert digest(fleet) == digest(same) != digest(other)
    described = json.loads(canonical_json(describe(fleet)))
    assert described["hosts"]["b-2"]["memory"] == 32 * GIB
    assert [job["job"] for job in described["jobs"]] == ["balance", "evacuate", "move"]
    assert described["jobs"][1]["deadline"] == "inf"


@pytest.mark.parametrize("path", sorted((ROOT / "experiments/fleets").glob("*.toml")), ids=str)
def test_example(path: Path) -> None:
    fleet = read_scenario(path)
    assert fleet.jobs
    assert {type(job) for job in fleet.jobs} == {
        {"evacuation": Evacuate, "balance": Balance, "new-york-london": Move}[path.stem]
    }


def test_the_evacuation_has_40_machines_on_recorded_traces() -> None:
    fleet = read_scenario(ROOT / "experiments/fleets/evacuation.toml")
    vms = list(fleet.vms.values())
    assert len(vms) == 40
    assert {vm.host for vm in vms} == {"old"}
    assert {vm.workload for vm in vms} == {"trace"}


ONE_TABLE = [
    ('until = "1h"', 'at = "1e16s"', "62: move[0].at: got 1e+16 s, expected at most 1e+09 s"),
    ("seed = 7", 'seed = "7s"', "1: seed: got '7s', expected a whole number from 0 on"),
    ("seed = 7", "sede = 7", "1: sede: unknown key, did you mean 'seed'?"),
    ('rate = "10Gbit/s"', 'rate = "10G"',
     "3: networks.ny.rate: got '10G', expected a rate such as '1Gbit/s' or '125MB/s'"),
    ('rate = "10Gbit/s"', "rate = 0", "3: networks.ny.rate: got 0, expected more than 0, but not "
     "infinite"),
    ('rate = "10Gbit/s"', "most_migrations = 3", "2: networks.ny: has no 'rate', expected a rate "
     "such as '1Gbit/s' or '125MB/s'"),
    ('first = "ny"', 'first = "nyc"', "9: trunks.line.first: there is no network 'nyc', did you "
     "mean 'ny'?"),
    ('first = "ny"', 'first = "london"', "10: trunks.line.second: got 'london', expected another "
     "network than the first"),
    ('"64GiB"', '"12 parsecs"',
     "16: hosts.a.memory: got '12 parsecs', expected a size such as '4GiB' or '512MB'"),
    ("cores = 32", 'cores = "4GiB"',
     "15: hosts.a.cores: got '4GiB', expected a number of cores such as '16' or '0.5'"),
    ("cores = 32", "cores = true",
     "15: hosts.a.cores: got True, expected a number of cores such as '16' or '0.5'"),
    ("cores = 32", 'cores = 1\nstorage = "x"', "16: hosts.a.storage: got 'x', expected an array of "
     "texts such as ['a', 'b']"),
    ("count = 2", "count = 0", "18: hosts.b.count: got 0, expected 1 to 100,000"),
    ("[hosts.c]", "[hosts.b-2]", "22: hosts.b-2: 'b-2' is a name of hosts.b (line 17), expected "
     "another"),
    ("[hosts.c]", "[hosts.line]", "22: hosts.line: 'line' is a trunk's name too, expected another: "
     "failures name both"),
    ("[vms.db]", '[vms."d b"]', "34: vms.d b: got the name 'd b', expected letters, digits, '-', "
     "'_' and '.' only"),
    ('host = "a"\nmemory', 'host = "b"\nmemory',
     "35: vms.db.host: 'b' stands for 2 hosts, expected one of them"),
    ('host = "a"\nmemory', "host = 0\nmemory", "35: vms.db.host: got 0, expected a text"),
    ("vcpus = 8", "vcpus = 1.5", "37: vms.db.vcpus: got '1.5', expected a whole number"),
    ('"uniform"', '"uniformly"', "30: vms.web.workload: unknown workload 'uniformly', did you mean "
     "'uniform'?"),
    ('rate = "10MB/s"', 'rat = "10MB/s"',
     "31: vms.web.workload_args.rat: unknown key, did you mean 'rate'?"),
    ('rate = "10MB/s"', "rate = 1979-05-27", "31: vms.web.workload_args.rate: got "
     "datetime.date(1979, 5, 27), expected pages per second such as '20000', or a byte rate such "
     "as '50MB/s'"),
    ('working_set = "10%"', 'working_set = "10GiB"', "30: vms.web.workload: workload: a "
     "working_set of 10 GiB does not fit into a memory of 1 GiB"),
    ('zero_fraction = "40%"', 'zero_fraction = "140%"',
     "32: vms.web.vm_args.zero_fraction: got '140%', expected a fraction from 0 to 1 such as "
     "'0.2' or '20%'"),
    ('zero_fraction = "40%"', "memory = 1",
     "32: vms.web.vm_args.memory: is said by the machine itself, expected no 'memory' here"),
    ('max_downtime = "1s"', 'downtime = "1s"', "39: vms.db.algorithm_args.downtime: unknown key, "
     "did you mean 'max_downtime'?"),
    ("cpu = 0.5", 'algorithm = "postcop"', "38: vms.db.algorithm: unknown algorithm 'postcop', "
     "did you mean 'postcopy' or 'xen_postcopy'?"),
    ('kind = "never"', 'kind = "nearby"',
     "41: rules[0].kind: got 'nearby', expected one of together, apart, only, never"),
    ('"web-*", "db"]', '"web-*",\n"dbs"]',
     "43: rules[0].vms[1]: there is no machine 'dbs', did you mean 'db'?"),
    ('"precopy"', '"precop"', "45: migration.algorithm: unknown algorithm 'precop', did you mean "
     "'precopy'?"),
    ('congestion = "bbr"', 'congestion = "vegas"', "47: migration.link_args.congestion: got "
     "'vegas', expected one of cubic, bbr, reno, none"),
    ('congestion = "bbr"', 'rtt = "1s"', "47: migration.link_args.rtt: is said by networks, trunks "
     "and failures, expected no 'rtt' here"),
    ('congestion = "bbr"', "streams = 5000", "47: migration.link_args: link: streams is 5000, "
     "expected 1 to 1,024"),
    ('target = "line"', 'target = "lines"',
     "51: failures[0].target: there is no trunk or host 'lines', did you mean 'line'?"),
    ('kind = "down"', 'kind = "crash"', "51: failures[0].target: 'line' is a trunk, expected a "
     "host for 'crash'"),
    ('lasts = "2s"', "left = 0.5", "52: failures[0].left: is for what is slow, expected none for "
     "'down'"),
    ('host = "a"\nto', 'host = "x"\nto', "57: evacuate[0].host: there is no host 'x', known: a, b, "
     "b-1, b-2, c"),
    ('vm = "web-1"', 'vm = "web"', "60: move[0].vm: 'web' stands for 3 machines, expected one of "
     "them"),
    ("[[move]]", "[move]", "59: move: expected an array of tables, each opened by [[move]]"),
    ('[vms.db]', '[vms.db', "34: is no TOML: Expected ']' at the end of a table declaration (at "
     "line 34, column 8)"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "sentence"), ONE_TABLE)
def test_mistakes_in_one_table(tmp_path: Path, good: str, bad: str, sentence: str) -> None:
    assert GOOD.count(good) >= 1
    assert sentence in mistakes(tmp_path, GOOD.replace(good, bad, 1))


def rule(text: str) -> str:
    return f"[[rules]]\n{text}\n"


WHOLE = [
    # These stand in line 40, where the rule of GOOD stands.
    ("", "24GiB", "65GiB", "34: vms.db: 'db' needs 65 GiB, expected at most the 64 GiB of the "
     "largest host"),
    ("", '"64GiB"', '"16GiB"', "16: hosts.a.memory: the machines on 'a' need 24 GiB in the "
     "beginning, expected at most the 16 GiB that it has"),
    ("", "cpu = 0.5", 'datastore = "san"', "38: vms.db.datastore: 'a' does not reach 'san', there "
     "are none"),
    # Rules.
    (rule('kind = "only"\nvms = ["db"]'), "", "", "40: rules[0]: 'only' names no hosts, expected "
     "one or more"),
    (rule('kind = "apart"\nvms = ["web"]\nhosts = ["a"]'), "", "", "43: rules[0].hosts: 'apart' "
     "is about machines, expected no hosts"),
    (rule('kind = "apart"\nvms = ["db"]'), "", "", "42: rules[0].vms: 'apart' binds 1 machines, "
     "expected 2 or more"),
    (rule('kind = "apart"\nvms = ["web"]'), "", "", "40: rules[0]: 'web-1' and 'web-3' start on "
     "the same host, 'b-1'"),
    (rule('kind = "apart"\nvms = ["web"]'), "count = 3", "count = 5", "40: rules[0]: 5 machines "
     "are to be apart, but there are hosts for 4 of them only"),
    (rule('kind = "together"\nvms = ["web-1", "db"]'), "", "", "40: rules[0]: 'web-1' starts on "
     "'b-1', but 'db' on 'a'"),
    (rule('kind = "only"\nvms = ["db"]\nhosts = ["b"]'), "", "", "40: rules[0]: 'db' starts on "
     "'a', against this rule"),
    (rule('kind = "together"\nvms = ["web-1", "web-3"]')
     + rule('kind = "apart"\nvms = ["web-1", "web-3"]'), "", "",
     "43: rules[1]: 'web-1' and 'web-3' are to be apart, but other rules keep them together"),
    (rule('name = "x"\nkind = "only"\nvms = ["db"]\nhosts = ["a"]')
     + rule('name = "y"\nkind = "never"\nvms = ["db"]\nhosts = ["a"]'), "", "",
     "34: vms.db: the rules 'x', 'y' together leave 'db' no host"),
    (rule('kind = "apart"\nvms = ["web-1", "web-2", "db"]')
     + rule('kind = "only"\nvms = ["web-1", "web-2", "db"]\nhosts = ["a", "b-1"]'), "", "",
     "40: rules[0]: 3 machines are to be apart, but there are hosts for 2 of them only"),
    # Ways and windows.
    ("", 'to = ["b-*"]', 'to = ["c"]', "52: evacuate[0]: 'db' can go to no host: to 'c', no trunks "
     "join the networks 'ny' and 'island'"),
    ("", 'to = ["b-*"]', 'to = ["a", "b"]', "54: evacuate[0].to: names 'a' itself, expected other "
     "hosts"),
    ("", 'to = ["b-*"]', 'at = "1min"\ndeadline = "1s"', "55: evacuate[0].deadline: got 1 s, "
     "expected more than the 60 s at which it starts"),
    (rule('name = "x"\nkind = "only"\nvms = ["db"]\nhosts = ["a"]'), "", "",
     "57: evacuate[0]: 'db' can go to no host: to 'b-1', the rule 'x' keeps it away"),
    ("", 'until = "1h"', 'at = "2h"\nuntil = "1h"', "59: move[0].until: the window ends at 3600 s, "
     "expected no earlier than it begins, 7200 s"),
    ("", 'to = "a"', 'to = "c"', "57: move[0].to: 'web-1' cannot go to 'c': no trunks join the "
     "networks 'london' and 'island'"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "good", "bad", "sentence"), WHOLE)
def test_mistakes_of_the_whole(
    tmp_path: Path, rules: str, good: str, bad: str, sentence: str
) -> None:
    first, last = GOOD.index("[[rules]]"), GOOD.index("[migration]")
    text = GOOD[:first] + rules + GOOD[last:]
    assert good in text
    assert sentence in mistakes(tmp_path, text.replace(good, bad, 1))


def test_all_mistakes_are_told_in_the_order_of_lines(tmp_path: Path) -> None:
    text = GOOD.replace('target = "line"', "target = 5").replace("cores = 32", "cores = -1")
    found = mistakes(tmp_path, text.replace("seed = 7", "seed = 1.5"))
    assert [sentence.split(":")[0] for sentence in found] == ["1", "15", "51"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ('disk_args = { siz = "1GiB" }', "disk_args: disk: unknown parameter 'siz', did you mean"),
        (
            'disk_args = { size = "1GiB", shared = true }',
            "disk_args.shared: is said by the machine's datastore and what its hosts store, "
            "expected no 'shared' here",
        ),
        ('client_args = { reach = "mars" }', "client_args: clients: reach: got 'mars', expected"),
    ],
)
def test_mistakes_about_disks_and_clients_have_their_line(
    tmp_path: Path, given: str, sentence: str
) -> None:
    found = mistakes(tmp_path, GOOD.replace("cpu = 0.5", given))
    assert len(found) == 1
    assert found[0].startswith(f"38: vms.db.{sentence}")


def test_twenty_mistakes_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "".join(f"x{i} = 1\n" for i in range(30)) + GOOD)
    assert len(found) == 21
    assert found[-1] == " 10 more mistakes"


@pytest.mark.parametrize("section", ["networks", "hosts", "vms"])
def test_a_fleet_needs_networks_hosts_and_machines(tmp_path: Path, section: str) -> None:
    found = mistakes(tmp_path, 'name = "nothing"')
    assert f"1: the file: has no table [{section}.NAME], expected one or more" in found


VALUES = [
    "0", "-1", "1.5", "nan", "inf", "1e300", "true", '"x"', '""', '"none"', '"1GiB"', "[]", "[1]",
    '["a"]', "{}", "{ a = 1 }", "[{}]", "1979-05-27", "10:00:00", '"*"', '"["',
]  # fmt: skip
LINES = [i for i, line in enumerate(GOOD.splitlines()) if "=" in line]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(LINES), st.sampled_from([*VALUES, None]))
def test_any_wrong_value_is_told_and_never_a_crash(
    tmp_path: Path, number: int, value: str | None
) -> None:
    """Whatever a value becomes, or if it is gone: a fleet comes of it, or sentences with lines."""
    lines = GOOD.splitlines()
    lines[number] = "" if value is None else f"{lines[number].split('=')[0]} = {value}"
    try:
        fleet = read(tmp_path, "\n".join(lines))
    except InputError as error:
        assert all(re.match(r".*fleet\.toml:[0-9]+: ", line) for line in str(error).split("\n"))
    else:
        assert len(digest(fleet)) == 64


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read: .*No such file"):
        read_scenario(tmp_path / "none.toml")


@pytest.mark.parametrize("mark", ["[", "{a="])
def test_a_file_of_many_brackets_is_no_crash(tmp_path: Path, mark: str) -> None:
    with pytest.raises(InputError, match=r"fleet\.toml: is no scenario: .* too deep"):
        read(tmp_path, f"a = {mark * 20_000}")


def test_a_machine_moves_on_and_back(tmp_path: Path) -> None:
    """A move to where a machine starts is none to where it is, once it has gone elsewhere."""
    head = GOOD[: GOOD.index("[[balance]]")]
    move = '[[move]]\nvm = "db"\nto = "{}"\nat = {}\n'
    assert len(read(tmp_path, head + move.format("a", 20) + move.format("b-1", 10)).jobs) == 2
    assert mistakes(tmp_path, head + move.format("a", 5) + move.format("b-1", 10)) == [
        "55: move[0].to: 'db' is on 'a' already, expected another host"
    ]
