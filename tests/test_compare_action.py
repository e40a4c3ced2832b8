"""The example for GitHub: valid YAML, whose script does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # Dask brings it
from click.testing import CliRunner
from helpers import ROOT

from migsim.cli.compare import command

ACTION = ROOT / ".github" / "actions" / "compare" / "action.yml"
WORKFLOW = ROOT / ".github" / "workflows" / "compare.yml"


def load(path: Path) -> dict[Any, Any]:
    loaded = yaml.safe_load(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_the_workflow_runs_the_action_of_this_repository() -> None:
    workflow, action = load(WORKFLOW), load(ACTION)
    assert "pull_request" in workflow[True]  # YAML 1.1 reads "on" as a truth
    steps = workflow["jobs"]["compare"]["steps"]
    assert steps[0]["with"]["fetch-depth"] == 0
    (used,) = (step for step in steps if step.get("uses", "").startswith("./"))
    assert ROOT / used["uses"] / "action.yml" == ACTION
    assert set(used["with"]) <= set(action["inputs"])
    required = {name for name, each in action["inputs"].items() if each.get("required")}
    assert required <= set(used["with"])
    text = WORKFLOW.read_text()
    for name in action["outputs"]:
        assert f"steps.{used['id']}.outputs.{name}" in text
    for step in action["runs"]["steps"]:
        assert "shell" in step or "uses" in step  # composite actions need it


def test_no_text_of_a_pull_request_gets_into_a_script() -> None:
    steps = load(WORKFLOW)["jobs"]["compare"]["steps"] + load(ACTION)["runs"]["steps"]
    assert not [step for step in steps if "${{" in step.get("run", "")]


def script() -> str:
    (step,) = (step for step in load(ACTION)["runs"]["steps"] if step.get("id") == "compare")
    return step["run"]


def run_script(tmp_path: Path, **variables: str) -> dict[str, str]:
    """Run the action's script as a runner does; return its outputs and the job summary."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    migsim = bin_folder / "migsim"
    migsim.write_text(f'#!/bin/sh\nexec {sys.executable} -m migsim "$@"\n')
    migsim.chmod(0o755)
    kept, summary = tmp_path / "outputs", tmp_path / "summary"
    kept.touch()
    summary.touch()
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script()], cwd=tmp_path, text=True,
        capture_output=True, check=False, env={
            **os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "EXPERIMENT": "ci", "ARGUMENTS": "", "REPORTS": str(tmp_path / "reports"),
            "GITHUB_OUTPUT": str(kept), "GITHUB_STEP_SUMMARY": str(summary), **variables,
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs = dict(line.split("=", 1) for line in kept.read_text().splitlines())
    return outputs | {"summary": summary.read_text()}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A few of the committed results."""
    lines = (ROOT / "paper" / "results" / "gigabit.csv").read_text().splitlines()
    path = tmp_path / "few.csv"
    path.write_text("\n".join(lines[:36]) + "\n")
    return path


def test_the_script_keeps_reports_and_status(table: Path, tmp_path: Path) -> None:
    got = run_script(tmp_path, BASE=str(table), HEAD=str(table), ARGUMENTS="--threshold 2%")
    assert got["status"] == "0"
    assert got["summary"].startswith("✅ **migsim compare**: no difference")
    assert Path(got["report"]).read_text() == got["summary"]
    assert Path(got["junit"]).read_text().startswith("<?xml")


def test_the_script_tells_a_failure_without_failing_itself(table: Path, tmp_path: Path) -> None:
    got = run_script(tmp_path, BASE=str(table), HEAD="nowhere.csv")
    assert got["status"] == "2"
    assert got["summary"] == ""
    assert "report" not in got


def test_the_options_that_it_uses_are_there() -> None:
    told = CliRunner().invoke(command, ["--help"]).output
    for option in ("--experiment", "--output"):
        assert option in script()
        assert option in told
