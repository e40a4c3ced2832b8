"""Predictions of recorded migrations: what is claimed of committed ones, and any others."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from helpers import ROOT, guestperf_report

from migsim.cli.main import main
from migsim.cli.validate import validate
from migsim.errors import InputError
from migsim.hypervisor.runs import GuestLoad, RecordedRun, read_runs, write_run
from migsim.simulate import Outcome
from migsim.validate import peers
from migsim.validate.errors import Claim, Prediction, Summary, summarise
from migsim.validate.qemu import CLAIMS, RUNS, Host, is_calibration, predict, predict_all, simulate

Found = list[tuple[RecordedRun, Prediction]]


@pytest.fixture(scope="module")
def found() -> Found:
    runs = [run for path in RUNS for run in read_runs(path)]
    return list(zip(runs, predict_all(runs), strict=True))


@pytest.fixture(scope="module")
def summary(found: Found) -> Summary:
    """The errors on the runs that no constant was fitted on."""
    return summarise((said, run.measured) for run, said in found if not is_calibration(run))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_a_claim_holds(claim: Claim, summary: Summary) -> None:
    assert claim.holds(summary), (claim, claim.value(summary))


def row_of_readme(name: str, summary: Summary) -> str:
    cells = []
    for quantity in ("total", "bytes"):
        for measure in ("median", "p90"):
            value = summary[quantity][measure]
            cells.append("" if value is None else f"{value:.1%}")
    verdicts = summary["convergence"]
    right = f"{verdicts['right']} of {verdicts['count']}" if verdicts["count"] else ""
    return f"| {' | '.join([name, *cells, right])} |".replace("|  |", "| |").replace("|  |", "| |")


def test_readme_says_what_is_found(found: Found, summary: Summary) -> None:
    readme = (ROOT / "README.md").read_text()
    others = [run for run, _ in found if not is_calibration(run)]
    assert f"predicts {len(found)} recorded migrations" in readme
    assert f"on {len(found) - len(others)} of the runs" in readme
    assert f"\n| {len(others)} runs, predicted by |" in readme
    assert row_of_readme("migsim", summary) in readme
    for name, said in peers.predict_all(others, used_memory=True).items():
        told = name.replace("CloudSim Plus", "CloudSim, CloudSim Plus")
        errors = summarise(zip(said, [run.measured for run in others], strict=True))
        if f"\n| {told} |" in readme:
            assert row_of_readme(told, errors) in readme


def test_every_run_is_predicted(found: Found) -> None:
    assert not [(run.name, said.reason) for run, said in found if said.reason]


def test_a_prediction_uses_the_inputs_only(found: Found) -> None:
    """Another measurement of the same migration is predicted alike."""
    run, said = found[0]
    lie = msgspec.structs.replace(
        run.measured, total_seconds=99.0, transferred_bytes=1, dirty_syncs=77, status="failed"
    )
    assert predict(msgspec.structs.replace(run, measured=lie, name="x", guest_log=())) == said


def test_the_recordings_are_many_and_dated(found: Found) -> None:
    assert len(found) >= 60
    for path in RUNS:
        if path.name != "given.jsonl":
            assert all(run.date and run.versions for run in read_runs(path)), path


# ---- the command ---------------------------------------------------------------------------------


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(validate, ["qemu", *map(str, arguments)])


def quick(**changes: Any) -> RecordedRun:
    """A committed run that is predicted in a moment."""
    run = next(run for run in read_runs(RUNS[0]) if run.name == "post-128-4000")
    return msgspec.structs.replace(run, **changes)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A run that is predicted, and two that are not."""
    path = tmp_path / "mine.jsonl"
    for run in (
        quick(),
        quick(name="packed [b]", capabilities=("postcopy-ram", "compress")),
        quick(name="odd", parameters={"max-bandwidth": "fast"}),
    ):
        write_run(path, run)
    return path


REASONS = {
    "packed [b]": "capabilities has compress, of which there is no model",
    "odd": "parameter max-bandwidth is 'fast', expected a number from 0 on",
}


def test_one_run_that_is_not_predicted_does_not_keep_the_others(mine: Path) -> None:
    done = command("--runs", mine)
    assert done.exit_code == 0, done.output  # nothing is claimed of other people's runs
    lines = done.output.splitlines()
    assert "claimed" not in done.output
    (row,) = (line for line in lines if line.startswith("post-128-4000 #0"))
    measured, predicted = quick().measured, predict(quick())
    requests = [measured.postcopy_requests, predicted.postcopy_requests]
    assert row.split()[-2:] == [f"{count}" for count in requests]
    for name, reason in REASONS.items():
        (row, told) = (line for line in lines if line.startswith(f"{name} #0"))
        assert "not predicted" in row
        assert told == f"{name} #0: not predicted: {reason}"


def test_json_has_summary_and_runs(mine: Path) -> None:
    done = command("--runs", mine, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.output)
    for name in ("total", "bytes", "rounds", "downtime", "postcopy_requests"):
        assert {"median", "p90", "worst"} <= set(printed["summary"][name])
        assert printed["summary"][name]["count"] == 1
    assert {"median_seconds", "p90_seconds", "worst_seconds"} <= set(printed["summary"]["downtime"])
    first, *others = printed["runs"]
    assert {"inputs", "predicted", "reason", "measured"} <= set(first)
    assert first["predicted"]["postcopy_requests"] > 0
    assert (first["reason"], "reason" in first["predicted"]) == (None, False)
    assert {run["name"]: run["reason"] for run in others} == REASONS
    assert {run["predicted"] for run in others} == {None}
    assert printed["claims"] == []


@pytest.mark.parametrize("error", [0.0, 0.05])
def test_the_exit_status_tells_whether_the_claims_hold(
    error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions that are made up, of the committed runs: exact ones, and ones that are off."""

    def made_up(runs: Sequence[RecordedRun]) -> list[Prediction]:
        return [
            Prediction(
                total=run.measured.total_seconds * (1 + error),
                bytes=run.measured.transferred_bytes,
                downtime=run.measured.downtime_seconds,
                rounds=run.measured.dirty_syncs,
                postcopy_requests=run.measured.postcopy_requests,
                converged=run.measured.status == "completed",
            )
            for run in runs
        ]

    monkeypatch.setattr("migsim.validate.qemu.predict_all", made_up)
    done = command("--json")
    assert done.exit_code == (1 if error else 0)
    broken = [one["claim"] for one in json.loads(done.output)["claims"] if not one["holds"]]
    assert broken == (["total time, median error"] if error else [])
    told = command("--summary")
    assert told.exit_code == done.exit_code
    assert ("does not hold" in told.output) == bool(error)
    assert "uni-64-2000" not in told.output


# ---- reports of guestperf ------------------------------------------------------------------------


def report(folder: Path, **scenario: Any) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(guestperf_report(**scenario), indent=4))
    return path


def test_a_report_of_guestperf(tmp_path: Path) -> None:
    file = report(tmp_path, name="post", post_copy=True, post_copy_iters=0)
    told = command("--runs", file)
    assert told.exit_code == 0, told.output
    assert "post #0" in told.output
    assert "20.50 s" in told.output
    printed = json.loads(command("--runs", file, "--json").output)
    (run,) = printed["runs"]
    assert run["inputs"]["vcpus"] == 2
    # 1 GiB at 125 MiB/s in the background, beside what is asked for
    assert 0 < run["predicted"]["total"] < 10
    assert run["predicted"]["postcopy_requests"] > 0


def test_a_report_of_a_guest_that_does_not_converge(tmp_path: Path) -> None:
    """Two vCPUs rewrite 1 GiB in 0.2 s, and 125 MiB/s leave: it goes on to the time limit."""
    printed = json.loads(command("--runs", report(tmp_path, max_time=4), "--json").output)
    assert printed["runs"][0]["predicted"]["converged"] is False
    assert printed["summary"]["convergence"] == {"right": 0, "count": 1}


def test_guests_that_write_very_much_are_simulated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def counted(run: RecordedRun, host: Host, seed: int) -> Outcome:
        seeds.append(seed)
        return simulate(run, host, seed)

    monkeypatch.setattr("migsim.validate.qemu.simulate", counted)
    predict(quick())
    assert seeds == [1, 2, 3, 4, 5]
    monkeypatch.setattr("migsim.validate.qemu._MANY_WRITES", 1e4)
    predict(quick())
    assert seeds == [1, 2, 3, 4, 5, 1]


def test_a_report_of_threads_that_compress(tmp_path: Path) -> None:
    told = command("--runs", report(tmp_path, compression_mt=True))
    assert told.exit_code == 0
    assert "not predicted: capabilities has compress, of which there is no model" in told.output


def test_a_bad_report_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command_ in ("qemu", "peers"):
        file = report(tmp_path, bandwidth="fast")
        monkeypatch.setattr(sys, "argv", ["migsim", "validate", command_, "--runs", str(file)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "report.json" in line
        assert "$.scenario.bandwidth" in line


# ---- runs that make no sense ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory": 0}, "memory is 0, expected at least a page"),
        ({"vcpus": 0}, "vcpus is 0, expected at least 1"),
        (
            {"workload": GuestLoad(kind="sequential", working_set=1, rate=9)},
            "workload.working_set is 1, expected a page to all memory",
        ),
        ({"capabilities": ("x-colo", "mapped-ram")}, "capabilities has mapped-ram, x-colo"),
        ({"parameters": {"downtime-limit": -1}}, "downtime-limit is -1, expected"),
        ({"capabilities": ("multifd", "xbzrle")}, "multifd goes with neither xbzrle"),
    ],
)
def test_runs_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict(quick(**changes))
    (said,) = predict_all([quick(**changes)])
    assert message in said.reason
    assert not said.says_something


def test_zero_pages_that_were_counted_more_than_once() -> None:
    """QEMU counts one whenever it sends it."""
    run = quick(zero_pages=10**6, postcopy_after_seconds=None, capabilities=())
    assert predict(run, seeds=1).converged
