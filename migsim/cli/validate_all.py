"""``migsim validate all``: every comparison, and whether all that is claimed holds."""

from __future__ import annotations

import sys
from typing import Any

import click

__all__ = ["SUITE", "run_all"]

SUITE = ("tcp", "published", "qemu", "peers")
"""What is run, in this order, of what there is. ``content`` claims nothing."""


@click.command("all")
@click.pass_context
def run_all(ctx: click.Context) -> None:
    """Run all comparisons, print their summaries, and end with 1 where a claim does not hold."""
    group = ctx.parent and ctx.parent.command
    assert isinstance(group, click.Group)
    known = [name for name in SUITE if name in group.commands]
    verdicts = {}
    for name in known:
        click.secho(f"== {name}", bold=True)
        verdicts[name] = _holds(ctx, group.commands[name])
        click.echo()
    for name, holds in verdicts.items():
        click.echo(f"{name}: {'all claims hold' if holds else 'a claim does not hold'}")
    if not all(verdicts.values()):
        sys.exit(1)


def _holds(ctx: click.Context, command: click.Command) -> bool:
    """Run a command with its defaults, briefly where it can be; return whether it ended with 0."""
    options = {parameter.name for parameter in command.params}
    given: dict[str, Any] = {"brief": True} if "brief" in options else {}
    try:
        ctx.invoke(command, **given)
    except (SystemExit, click.exceptions.Exit) as ended:
        code = ended.code if isinstance(ended, SystemExit) else ended.exit_code
        if code not in {0, 1, None}:
            raise
        return code != 1
    return True
