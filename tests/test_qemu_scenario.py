"""Scenarios: units, defaults, and one sentence that names file, key and expectation."""

from __future__ import annotations

from pathlib import Path

import pytest

from migsim.errors import InputError
from migsim.hypervisor.runs import read_runs
from migsim.hypervisor.scenario import (
    PACKAGED,
    Scenario,
    find_scenario,
    read_scenario,
    read_scenarios,
)
from migsim.units import KIB, MIB

DATA = PACKAGED.parent / "qemu-runs"

GOOD = """
memory = "384MiB"
capabilities = ["postcopy-ram"]
postcopy_after_seconds = "500ms"
[workload]
kind = "hotcold"
working_set = "64MiB"
rate = 2000
hot_fraction = "20%"
hot_probability = 0.9
[link]
rate = "200Mbit/s"
rtt = "50ms"
queue = "512KiB"
[parameters]
max-bandwidth = 40000000
"""


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_texts_have_units_and_the_rest_has_defaults(tmp_path: Path) -> None:
    scenario = read_scenario(write(tmp_path, GOOD))
    assert scenario.name == "mine"
    assert scenario.memory == 384 * MIB
    assert scenario.postcopy_after_seconds == 0.5
    assert scenario.workload.hot_fraction == 0.2
    assert (scenario.link.kind, scenario.link.rate, scenario.link.rtt) == ("emulated", 200e6, 0.05)
    assert scenario.link.queue == 512 * KIB
    assert (scenario.vcpus, scenario.accel, scenario.warm_up_seconds) == (1, "auto", 5.0)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('memory = "384MiB"', 'memory = "4G"', "mine.toml, memory: got '4G', expected a size"),
        ('memory = "384MiB"', "memory = -1", "memory: got -1, expected whole MiB"),
        ('memory = "384MiB"', 'memory = "200MiB"', "224 MiB or more for this working set"),
        ('memory = "384MiB"', 'memory = "1000kB"', "memory: got 1000000, expected whole MiB"),
        ('memory = "384MiB"', "", "missing required field `memory`"),
        ('memory = "384MiB"', 'memory = "384MiB"\nvcpu = 1', "vcpu: is unknown, did you mean"),
        ('memory = "384MiB"', 'memory = "384MiB"\nvcpus = 0', "vcpus: got 0, expected from 1"),
        ('memory = "384MiB"', 'memory = "384MiB"\naccel = "xen"', "accel: invalid enum value"),
        ('kind = "hotcold"', 'kind = "zipf"', "workload.kind: invalid enum value 'zipf'"),
        ("rate = 2000", "rat = 2000", "workload.rat: is unknown, did you mean 'rate'?"),
        ("rate = 2000", 'rate = "fast"', "workload.rate: expected `float`, got `str`"),
        ("rate = 2000", "", "workload.rate: got 0.0, expected writes per second"),
        ("rate = 2000", "rate = 2000\nwrite_bytes = 12", "write_bytes: got 12, expected"),
        ('hot_fraction = "20%"', "hot_fraction = 1.0", "hot_fraction: got 1.0, expected"),
        ('rate = "200Mbit/s"', "", "link.rate: got 0.0, expected bits per second"),
        ('rtt = "50ms"', 'rtt = "50MB"', "link.rtt: got '50MB', expected a time"),
        ('["postcopy-ram"]', "[]", "'postcopy-ram' among them where post-copy is to start"),
        ('["postcopy-ram"]', '["postcopy"]', "expected 'postcopy-ram'"),
        ('["postcopy-ram"]', '["postcopy-ram", "xbzrl"]', "'xbzrl' is none of QEMU's"),
        ("max-bandwidth =", "max_bandwidth =", "did you mean 'max-bandwidth' or"),
        ("40000000", '"40MB/s"', "parameters.max-bandwidth: got '40MB/s', expected a"),
        ("40000000", "true", "max-bandwidth: got True, expected a whole number in QEMU's unit"),
        ("[parameters]", "[parameters", "is no TOML"),
        ("rate = 2000", "rate = inf", "workload.rate: got inf, expected a finite number"),
        ('rate = "200Mbit/s"', 'rate = "unlimited"', "link.rate: got inf, expected a finite"),
        ('memory = "384MiB"', 'memory = "384MiB"\nwarm_up_seconds = inf', "seconds: got inf"),
        ('memory = "384MiB"', 'memory = "384MiB"\nname = ""', "name: got '', expected a name"),
        ('hot_fraction = "20%"', "hot_fraction = 1e-6", "hot_fraction: got 1e-06, expected"),
        ('hot_fraction = "20%"', "hot_fraction = 0.9999999", "hot_fraction: got 0.9999999"),
        ('queue = "512KiB"', "queue = 0", "link.queue: got 0, expected 4096 bytes or more"),
        ('queue = "512KiB"', "send_buffer = 0", "link.send_buffer: got 0, expected 4096 bytes"),
        ('queue = "512KiB"', 'kind = "loopback"', "link.kind: got 'loopback', expected 'emulated'"),
    ],
)  # fmt: skip
def test_bad_scenarios_are_told(tmp_path: Path, before: str, after: str, told: str) -> None:
    text = GOOD.replace(before, after, 1)
    assert text != GOOD
    with pytest.raises(InputError) as caught:
        read_scenario(write(tmp_path, text))
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "mine.toml"))


def test_after_seconds_or_rounds_and_not_both(tmp_path: Path) -> None:
    text = GOOD.replace('"500ms"', '"500ms"\npostcopy_after_rounds = 2')
    with pytest.raises(InputError, match="postcopy_after_rounds: got 2, expected either"):
        read_scenario(write(tmp_path, text))


def test_folders_are_read_in_order_and_names_are_unique(tmp_path: Path) -> None:
    for name in ("b.toml", "a.toml"):
        write(tmp_path, GOOD, name)
    assert [scenario.name for scenario in read_scenarios([tmp_path])] == ["a", "b"]
    with pytest.raises(InputError, match=r"'a' is also .*a\.toml, expected another name"):
        read_scenarios([tmp_path, tmp_path / "a.toml"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no scenario"):
        read_scenarios([tmp_path / "empty"])


def test_a_packaged_scenario_is_found_by_name() -> None:
    assert find_scenario(Path("idle-512")) == PACKAGED / "idle-512.toml"
    with pytest.raises(InputError, match="did you mean 'idle-512'"):
        find_scenario(Path("idle-511"))
    with pytest.raises(InputError, match="cannot be read"):
        read_scenario(Path("there-is-none.toml"))


def inputs(scenario: Scenario) -> tuple[object, ...]:
    load = scenario.workload
    shape = (load.kind,) if load.kind == "idle" else (load.kind, load.working_set, load.rate,
             load.write_bytes, load.hot_fraction, load.hot_probability)  # fmt: skip
    link = scenario.link
    return (shape, link.kind, link.rate, link.rtt, link.loss, scenario.capabilities,
            scenario.parameters, scenario.postcopy_after_seconds)  # fmt: skip


@pytest.mark.parametrize("file", sorted(DATA.glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_recorded_run_has_a_scenario_that_repeats_it(file: Path) -> None:
    scenarios = {scenario.name: scenario for scenario in read_scenarios([PACKAGED])}
    for run in read_runs(file):
        scenario = scenarios[run.name]
        assert run.memory - scenario.memory < MIB  # its firmware
        assert inputs(scenario) == inputs(
            Scenario(
                name=run.name,
                memory=scenario.memory,
                workload=run.workload,
                link=run.link,
                capabilities=run.capabilities,
                parameters=run.parameters,
                postcopy_after_seconds=run.postcopy_after_seconds,
            )
        )
