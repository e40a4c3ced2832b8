"""The entry point: finds the command, and turns bad input into one sentence and exit status 2."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from migsim import __version__
from migsim.errors import InputError, SweepError, did_you_mean

__all__ = ["main"]

_COMMANDS = {
    "migrate": ("migsim.cli.migrate:command", "Simulate one migration."),
    "predict": ("migsim.cli.predict:command", "Predict a migration, and which settings suit."),
    "run": ("migsim.cli.run:command", "Run an experiment: its sweep, its claims, its figure."),
    "fleet": ("migsim.cli.fleet:fleet", "Plan, run and audit migrations of many machines."),
    "compare": ("migsim.cli.compare:command", "Tell what changed between results or revisions."),
    "results": ("migsim.cli.results:results", "List, filter, export, merge, clean up results."),
    "paper": ("migsim.cli.paper:command", "Rebuild the paper: results, figures, PDF."),
    "plot": ("migsim.cli.plot:plot", "Draw results or one migration, at paper size."),
    "link": ("migsim.cli.link:command", "Send bulk data over a link: rate, window, queue."),
    "validate": ("migsim.cli.validate:validate", "Compare models with measurements."),
    "qemu": ("migsim.cli.qemu:qemu", "Run and record real migrations between two QEMUs."),
    "calibrate": ("migsim.cli.calibrate:command", "Measure what codecs cost on this machine."),
    "bench": ("migsim.cli.bench:command", "Measure how fast migsim is, as ratios."),
    "list": ("migsim.cli.listing:command", "List algorithms, workloads, links or experiments."),
    "trace": (
        "migsim.trace.cli:trace",
        "Record which pages a program dirties; describe recordings.",
    ),
}


class _LazyGroup(click.Group):
    """Knows the commands by name and imports a command's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            hint = did_you_mean(cmd_name, _COMMANDS)
            raise InputError(f"there is no command '{cmd_name}', {hint}")
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="migsim")
def _group() -> None:
    """Compare the algorithms of virtual-machine live migration."""


def main() -> None:
    """Run the command line and exit: 0 fine, 1 a bad outcome, 2 bad input."""
    try:
        try:
            status = _run()
        finally:
            sys.stdout.flush()  # here, so that what goes wrong can still be told
    except OSError as error:
        if error.errno not in {errno.EPIPE, errno.ENOSPC}:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Where the reader of our output has gone, there is nobody to tell.
        status = 141 if error.errno == errno.EPIPE else _complain(f"output: {error.strerror}")
    if status:
        sys.exit(status)


def _run() -> int:
    try:
        _group.main(prog_name="migsim", standalone_mode=False)
    except InputError as error:
        return _complain(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _complain(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        print("migsim: interrupted", file=sys.stderr)
        return 130
    except SweepError as error:
        print(f"migsim: {error}", file=sys.stderr)
        return 1
    return 0


def _complain(sentence: str) -> int:
    print(f"migsim: {' '.join(sentence.split())}", file=sys.stderr)
    return 2
