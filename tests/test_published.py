"""Published figures: every check of `migsim validate published`, and the command."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from migsim.cli.validate import validate
from migsim.validate import published
from migsim.validate.published import CHECKS, Check, Finding
from migsim.validate.published.check import summarise
from migsim.validate.published.qemu import compress_threads

ORDERING: dict[str, object] = {"kind": "ordering", "tolerance": 0.0, "unit": "ratio"}


def made(**changes: object) -> Check:
    """Return a check that we miss by 4 %, with some of its attributes changed."""
    plain = Check(
        name="made", source="Nobody 1999", claim="total", published=100.0,
        predict=lambda: 104.0, tolerance=0.05, note="made up",
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_published(check: Check) -> None:
    """A known miss that comes within its tolerance should be one no longer."""
    found = Finding(check, check.predict())
    assert found.verdict == ("misses" if check.kind == "miss" else "holds"), (
        f"{check.claim}: {check.published:g} published, {found.predicted:g} predicted"
    )


def test_names_are_unique_and_every_source_is_there() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for part in ("Clark", "Hines", "Deshpande", "QEMU", "Liu", "Xu", "Huang", "KubeVirt", "Metro"):
        assert any(part in check.source for check in CHECKS), part


def test_what_is_fitted_says_what_was_set() -> None:
    for check in CHECKS:
        assert check.published > 0
        if check.kind == "calibrated":
            assert check.free != "none", check.name


def test_the_encoder_sets_the_pace_of_compress_threads() -> None:
    """Its speed is fitted to the time with it, which says little where the link sets the pace."""
    hindered, _ = compress_threads(compressed=True)
    unhindered, _ = compress_threads(compressed=True, unhindered=True)
    assert unhindered < 0.6 * hindered


@pytest.mark.parametrize(
    ("changes", "predicted", "verdict"),
    [
        ({}, 95.1, "holds"),
        ({}, 94.9, "fails"),
        ({}, 105.1, "fails"),
        ({"kind": "calibrated"}, 105.1, "fails"),
        ({"kind": "miss"}, 105.1, "misses"),
        ({"kind": "miss"}, 104.9, "holds"),
        (ORDERING, 1.01, "holds"),
        (ORDERING, 1.0, "fails"),
        (ORDERING | {"published": 0.5}, 1.1, "fails"),
        (ORDERING | {"published": math.inf}, 2, "holds"),
    ],
)
def test_verdicts(changes: dict[str, object], predicted: float, verdict: str) -> None:
    assert Finding(made(**changes), predicted).verdict == verdict


def test_checks_that_cannot_be() -> None:
    for changes, message in (
        ({"tolerance": 0.0}, "hard with a tolerance of 0"),
        ({"kind": "ordering"}, "ordering with a tolerance of 0.05"),
        ({"kind": "ordering", "tolerance": 0.0}, "ordering of s, expected a ratio"),
        ({"published": math.inf}, "hard of inf"),
        ({"kind": "miss", "note": ""}, "without a note"),
    ):
        with pytest.raises(ValueError, match=message):
            made(**changes)


def test_summary() -> None:
    findings = [
        Finding(made(), 104.0),
        Finding(made(), 110.0),
        Finding(made(**ORDERING), 2.0),
    ]
    summary = summarise(findings)
    assert summary["hard"] == {"count": 2, "within": 1, "median_error": pytest.approx(0.07)}
    assert summary["ordering"] == {"count": 1, "within": 1, "median_error": None}
    assert summary["miss"] == {"count": 0, "within": 0, "median_error": None}


# ---- the command ---------------------------------------------------------------------------------

ENDLESS = made(**ORDERING, name="b", published=math.inf)


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "CHECKS", (made(), ENDLESS))
    done = CliRunner().invoke(validate, ["published", "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.output)
    assert set(printed) == {"checks", "summary"}
    first, second = printed["checks"]
    assert first == {
        "name": "made", "source": "Nobody 1999", "claim": "total", "unit": "s", "kind": "hard",
        "tolerance": 0.05, "free": "none", "note": "made up", "published": 100.0,
        "predicted": 104.0, "error": pytest.approx(0.04), "verdict": "holds",
    }  # fmt: skip
    assert (second["published"], second["error"], second["verdict"]) == (None, None, "holds")
    assert set(printed["summary"]) == {"hard", "calibrated", "ordering", "miss"}
    assert printed["summary"]["hard"]["count"] == 1


@pytest.mark.parametrize("kind", ["hard", "calibrated", "miss"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_only_a_hard_check_that_fails_is_an_error(
    kind: str, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = made(kind=kind, predict=lambda: 200.0)
    monkeypatch.setattr(published, "CHECKS", (made(), wrong))
    done = CliRunner().invoke(validate, ["published", *options])
    assert done.exit_code == (1 if kind == "hard" else 0), done.output


def test_the_summary_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "CHECKS", (made(), ENDLESS))
    whole = CliRunner().invoke(validate, ["published"]).output
    brief = CliRunner().invoke(validate, ["published", "--summary"]).output
    assert 0 < len(brief.splitlines()) <= 4
    assert whole.endswith("\n\n" + brief)


def test_table_and_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fitted = made(kind="calibrated", free="the rate from the time")
    monkeypatch.setattr(published, "CHECKS", (made(), fitted, ENDLESS))
    file = tmp_path / "figure.png"
    done = CliRunner().invoke(validate, ["published", "--plot", str(file)])
    assert done.exit_code == 0, done.output
    for text in ("Nobody 1999", "+4.0%", "5 %", "never ends", "a  the rate from the time",
                 "1 of 1 hard checks hold, median error 4.0%", "0 known misses"):  # fmt: skip
        assert text in done.output
    assert file.stat().st_size > 10_000
