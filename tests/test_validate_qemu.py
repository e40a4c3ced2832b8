"""Predictions of recorded migrations: the claims of README on the committed recordings."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from migsim.hypervisor.runs import RecordedRun, read_runs
from migsim.validate.errors import Claim, Prediction, Summary, summarise
from migsim.validate.qemu import CLAIMS, RUNS, is_calibration, predict, predict_all

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


def test_json_has_summary_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from click.testing import CliRunner

    from migsim.cli.validate import validate

    lines = RUNS[0].read_text().splitlines()[:1]
    (tmp_path / "one.jsonl").write_text("\n".join(lines) + "\n")
    done = CliRunner().invoke(validate, ["qemu", "--runs", str(tmp_path / "one.jsonl"), "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.output)
    for name in ("total", "bytes", "rounds", "downtime", "postcopy_requests"):
        assert {"median", "p90", "worst"} <= set(printed["summary"][name])
    assert {"median_seconds", "p90_seconds", "worst_seconds"} <= set(printed["summary"]["downtime"])
    (run,) = printed["runs"]
    assert {"inputs", "predicted", "measured"} <= set(run)
