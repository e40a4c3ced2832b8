"""The error measures that all models of recorded migrations share."""

from __future__ import annotations

from typing import Any

import pytest

from migsim.hypervisor.runs import Measured
from migsim.validate.errors import QUANTITIES, Claim, Prediction, summarise


def measured(**changes: Any) -> Measured:
    plain = {"status": "completed", "total_seconds": 10.0, "transferred_bytes": 1000}
    return Measured(**{**plain, **changes})


def test_relative_errors() -> None:
    pairs = [(Prediction(total=10.0 + error), measured()) for error in range(-5, 6)]
    total = summarise(pairs)["total"]
    assert total == {"count": 11, "median": pytest.approx(0.3), "p90": 0.5, "worst": 0.5}


def test_what_is_not_said_does_not_count() -> None:
    summary = summarise([(Prediction(), measured()), (Prediction(bytes=1100), measured())])
    assert summary["bytes"] == {"count": 1, "median": 0.1, "p90": 0.1, "worst": 0.1}
    for quantity in set(QUANTITIES) - {"bytes"}:
        errors = summary[quantity]
        assert errors.pop("count") == 0
        assert set(errors.values()) == {None}
    assert summary["convergence"] == {"right": 0, "count": 0}


def test_downtime_by_seconds_or_share() -> None:
    said = Prediction(downtime=0.12)
    runs = [measured(downtime_seconds=value) for value in (0.1, 0.15, 0.09, 0.0)]
    downtime = summarise((said, run) for run in runs)["downtime"]
    assert downtime["count"] == 4
    assert downtime["within_20_ms_or_25_percent"] == 0.5
    assert downtime["worst_seconds"] == pytest.approx(0.12)
    assert downtime["worst"] == pytest.approx(1 / 3)  # of those that were not 0


def test_a_downtime_that_nobody_saw_is_not_compared() -> None:
    seen = [(0.07, 18.3), (0.07, 1.06), (None, 18.3)]
    runs = [measured(visible_downtime_seconds=x, downtime_seconds=y) for x, y in seen]
    downtime = summarise((Prediction(downtime=0.05), run) for run in runs)["downtime"]
    assert downtime["count"] == 2


def test_rounds_within_one() -> None:
    pairs = [(Prediction(rounds=5), measured(dirty_syncs=count)) for count in (4, 5, 6, 10)]
    rounds = summarise(pairs)["rounds"]
    assert rounds["within_one"] == 0.75
    assert rounds["worst"] == 0.5


def test_requests_of_runs_with_postcopy() -> None:
    said = Prediction(postcopy_requests=100)
    runs = [measured(postcopy_requests=count) for count in (0, None, 110, 200)]
    requests = summarise((said, run) for run in runs)["postcopy_requests"]
    assert requests["count"] == 2
    assert requests["within_30_percent"] == 0.5


def test_a_prediction_that_gives_a_reason_says_nothing() -> None:
    assert not Prediction(reason="no model").says_something
    assert Prediction(converged=False).says_something
    assert summarise([(Prediction(reason="no model"), measured())])["total"]["count"] == 0


def test_claims() -> None:
    most = Claim(text="", quantity="total", measure="median", bound=0.1)
    least = Claim(text="", quantity="convergence", measure="right", bound=0.5, at_least=True)
    right, wrong = Prediction(total=11.0, converged=True), Prediction(total=11.1, converged=False)
    summary = summarise([(right, measured()), (right, measured())])
    assert most.holds(summary)
    assert (most.value(summary), least.value(summary)) == (pytest.approx(0.1), 1.0)
    summary = summarise([(wrong, measured()), (wrong, measured()), (right, measured())])
    assert not most.holds(summary)
    assert not least.holds(summary)
    nothing = summarise([])
    assert (most.value(nothing), least.value(nothing)) == (None, None)
    assert not most.holds(nothing)  # what no run tells is not kept
    assert not least.holds(nothing)


def test_verdicts() -> None:
    """A migration that was given up says nothing but that; one that failed says nothing."""
    said = Prediction(total=10.0, converged=True)
    runs = [measured(), measured(status="cancelled"), measured(status="failed")]
    summary = summarise((said, run) for run in runs)
    assert summary["convergence"] == {"right": 1, "count": 2}
    assert summary["total"]["count"] == 1
