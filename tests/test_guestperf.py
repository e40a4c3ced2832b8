"""Reports of QEMU's guestperf as recorded runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, guestperf_report

from migsim.errors import InputError
from migsim.hypervisor.load import load_runs
from migsim.hypervisor.runs import RecordedRun, read_runs

GIB = 1 << 30


def load(folder: Path, made: dict[str, Any]) -> RecordedRun:
    file = folder / "report.json"
    file.write_text(json.dumps(made, indent=4))
    (run,) = load_runs(file)
    return run


def test_a_report(tmp_path: Path) -> None:
    run = load(tmp_path, guestperf_report())
    assert (run.name, run.set, run.hypervisor, run.vcpus) == (
        "auto-converge-step-5", "guestperf", "qemu kvm", 2,
    )  # fmt: skip
    assert (run.memory, run.zero_pages) == (1_611_538_432, 120_000)
    assert run.date == "2023-11-14"
    assert run.workload.kind == "sequential"
    assert run.workload.working_set == GIB
    # Two vCPUs, each 1 GiB in 400 ms before the migration.
    assert run.workload.rate == pytest.approx(2 * 262_144 / 0.4)
    assert run.parameters == {"max-bandwidth": 125 << 20, "downtime-limit": 500}
    assert run.capabilities == ()
    assert (run.postcopy_after_seconds, run.time_limit_seconds) == (None, 300)
    measured = run.measured
    assert (measured.status, measured.total_seconds) == ("completed", 20.5)
    assert (measured.downtime_seconds, measured.setup_seconds) == (0.431, 0.005)
    assert (measured.transferred_bytes, measured.dirty_syncs) == (2_050_000_000, 5)


def test_capabilities(tmp_path: Path) -> None:
    run = load(
        tmp_path,
        guestperf_report(
            auto_converge=True, compression_xbzrle=True, compression_xbzrle_cache=50, multifd=True,
            multifd_channels=4, multifd_compression="zstd", compression_mt=True, dirty_limit=True,
        ),
    )  # fmt: skip
    assert set(run.capabilities) == {
        "auto-converge", "compress", "xbzrle", "multifd", "dirty-limit",
    }  # fmt: skip
    assert run.parameters["cpu-throttle-increment"] == 10
    assert run.parameters["xbzrle-cache-size"] == GIB // 2
    assert run.parameters["multifd-channels"] == 4
    assert run.parameters["multifd-compression"] == "zstd"
    assert run.parameters["vcpu-dirty-limit"] == 1


@pytest.mark.parametrize(("rounds", "seconds"), [(0, 0.0), (2, 9.0), (3, 17.5), (20, None)])
def test_postcopy(tmp_path: Path, rounds: int, seconds: float | None) -> None:
    """It starts once so many rounds were seen, which a report tells the time of."""
    run = load(tmp_path, guestperf_report(post_copy=True, post_copy_iters=rounds))
    assert run.capabilities == ("postcopy-ram",)
    assert run.postcopy_after_seconds == seconds


def test_a_guest_that_says_nothing(tmp_path: Path) -> None:
    made = guestperf_report() | {"guest_timings": []}
    assert load(tmp_path, made).workload.rate == 30_000
    for one in made["progress_history"]:
        one["ram"]["dirty_rate_pps"] = 0
    with pytest.raises(InputError, match=r"report\.json: guest_timings is empty"):
        load(tmp_path, made)


def test_given_up(tmp_path: Path) -> None:
    made = guestperf_report()
    made["progress_history"][-1]["status"] = "cancelled"
    measured = load(tmp_path, made).measured
    assert (measured.status, measured.downtime_seconds) == ("cancelled", None)


def test_reports_of_qemu_7(tmp_path: Path) -> None:
    """They know less."""
    made = guestperf_report()
    for key in ("multifd_compression", "dirty_limit", "vcpu_dirty_limit"):
        del made["scenario"][key]
    del made["result"], made["hardware"]["dirty_ring_size"]
    assert load(tmp_path, made).measured.total_seconds == 20.5


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ("hardware", "mem", None, r"Expected `float`, got `null` - at `\$\.hardware\.mem`"),
        ("hardware", "cpus", 0, r"`\$\.hardware\.cpus`"),
        ("scenario", "bandwidth", "fast", r"`\$\.scenario\.bandwidth`"),
        ("scenario", "pause", True, "scenario.pause is true, expected false"),
    ],
)
def test_errors_name_the_key(
    tmp_path: Path, place: str, key: str, value: Any, message: str
) -> None:
    made = guestperf_report()
    made[place][key] = value
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, made)
    assert str(tmp_path / "report.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_report_that_ends_early(tmp_path: Path) -> None:
    made = guestperf_report()
    del made["progress_history"][-1]
    with pytest.raises(InputError, match="the last status is active, expected completed"):
        load(tmp_path, made)
    with pytest.raises(InputError, match="the last status is missing"):
        load(tmp_path, made | {"progress_history": []})
    del made["progress_history"]
    with pytest.raises(InputError, match=r"report\.json: .*missing.*`progress_history`"):
        load(tmp_path, made)


def test_half_a_report(tmp_path: Path) -> None:
    file = tmp_path / "half.json"
    file.write_text(json.dumps(guestperf_report())[:-40])
    with pytest.raises(InputError, match=r"half\.json: no report of guestperf"):
        load_runs(file)


def test_lines_of_json_are_read_as_before() -> None:
    file = ROOT / "migsim/data/qemu-runs/given.jsonl"
    assert load_runs(file) == read_runs(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.jsonl: cannot be read"):
        load_runs(tmp_path / "nothing.jsonl")
