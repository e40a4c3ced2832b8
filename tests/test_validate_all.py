"""``migsim validate all``: what it calls, and what its exit status says."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from migsim.cli.validate import validate
from migsim.cli.validate_all import SUITE, run_all
from migsim.errors import InputError
from migsim.validate import tcp


def run(**bodies: Callable[[bool], None]) -> Result:
    """Run ``all`` in a group of commands that are made up."""
    group = click.Group("validate", commands=[run_all])
    for name, body in bodies.items():
        options = [click.Option(["--summary", "brief"], is_flag=True)] if name != "peers" else []
        callback = body if options else (lambda body=body: body(False))
        group.add_command(click.Command(name, callback=callback, params=options))  # type: ignore[arg-type]
    return CliRunner().invoke(group, ["all"])


def good(brief: bool) -> None:
    click.echo(f"good, {brief=}")


def bad(brief: bool) -> None:
    click.echo(f"bad, {brief=}")
    sys.exit(1)


def bad_by_click(brief: bool) -> None:
    click.get_current_context().exit(1)


def fine_by_click(brief: bool) -> None:
    click.get_current_context().exit(0)


def test_all_that_there_is_runs_in_its_order() -> None:
    done = run(peers=good, content=bad, tcp=good, qemu=good)  # content claims nothing
    assert done.exit_code == 0, done.output
    assert [line for line in done.output.splitlines() if line] == [
        "== tcp", "good, brief=True", "== qemu", "good, brief=True", "== peers",
        "good, brief=False",
        "tcp: all claims hold", "qemu: all claims hold", "peers: all claims hold",
    ]  # fmt: skip


@pytest.mark.parametrize("broken", [bad, bad_by_click])
def test_one_broken_claim_fails_and_the_others_run(broken: Callable[[bool], None]) -> None:
    done = run(tcp=broken, published=good, qemu=fine_by_click)
    assert done.exit_code == 1
    assert done.output.splitlines()[-3:] == [
        "tcp: a claim does not hold", "published: all claims hold", "qemu: all claims hold",
    ]  # fmt: skip


@pytest.mark.parametrize("error", [InputError("no such file"), SystemExit(2), ValueError("bug")])
def test_what_is_no_broken_claim_ends_it(error: BaseException) -> None:
    def raises(brief: bool) -> None:
        raise error

    done = run(tcp=raises, qemu=good)
    assert "good" not in done.output
    assert done.exit_code == 2 if isinstance(error, SystemExit) else done.exception is error


def test_it_knows_the_commands() -> None:
    assert "all" in validate.commands
    assert set(SUITE) <= set(validate.commands)
    for name in SUITE:
        assert "brief" in {parameter.name for parameter in validate.commands[name].params}


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (2.0, 1)])
def test_tcp_fails_where_fewer_rows_than_claimed_are_within(
    factor: float, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_up(rows: list[tcp.Row], seeds: int) -> list[tcp.Comparison]:
        return [
            tcp.Comparison(row, row.mean_mbps * factor, row.later_mbps, row.t90) for row in rows
        ]

    monkeypatch.setattr(tcp, "compare", made_up)
    assert CliRunner().invoke(validate, ["tcp", "--summary"]).exit_code == status
    assert CliRunner().invoke(validate, ["tcp", "--json"]).exit_code == status
    mine = ["tcp", "--summary", "--rows", str(next(iter(tcp.DATA.values())))]
    assert CliRunner().invoke(validate, mine).exit_code == 0  # of those nothing is claimed
