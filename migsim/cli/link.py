"""``migsim link``: a bulk transfer over a link, as a table, as JSON or as a figure."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migsim.cli.migrate import pairs
from migsim.cli.outputs import check_figure
from migsim.errors import InputError
from migsim.units import format_rate, format_seconds, format_size, parse

if TYPE_CHECKING:
    from migsim.network import Link
    from migsim.network.transfer import BulkTransfer

__all__ = ["command"]

_ROWS = 20


@click.command("link")
@click.option("--link", "name", required=True, metavar="L",
              help="Name of a preset, see 'migsim list links'.")  # fmt: skip
@click.option(
    "-l",
    "link_args",
    multiple=True,
    metavar="KEY=VALUE",
    help="Parameter of the link, see 'migsim list links'.",
)
@click.option("--bytes", "size", metavar="SIZE", help="Transfer so many bytes, such as 1GiB.")
@click.option("--duration", metavar="TIME", help="Transfer for so long, such as 15s (the default).")
@click.option("--seed", type=int, default=0, show_default=True,
              help="Chooses which packets are lost.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--plot", type=Path, metavar="FILE.png", help="Draw rate, window, queue and waits.")
def command(
    name: str,
    link_args: tuple[str, ...],
    size: str | None,
    duration: str | None,
    seed: int,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Send bulk data over a link: rate, window, queue, and the wait for a page, over time.

    Time starts with the first packet of the handshake; rates are of payload. "reply" is how long
    the receiver waits for a page of 4 KiB that it asks for meanwhile over a connection of its own,
    "reply behind bulk" over the same connection.
    """
    from migsim.network.transfer import bulk_transfer

    if size is not None and duration is not None:
        raise InputError("link: --bytes and --duration are both given, expected one of them")
    if not -(2**63) <= seed < 2**63:
        raise InputError(f"--seed {seed}: expected a 64-bit integer")
    link = _make(name, link_args)
    check_figure("--plot", plot)
    if size is not None:
        amount = _quantity("--bytes", size, "size")
        transfer = bulk_transfer(link, size=int(amount), seed=seed)
    else:
        seconds = _quantity("--duration", duration or "15s", "time")
        transfer = bulk_transfer(link, duration=seconds, seed=seed)
    if plot is not None:
        from migsim.plotting import save_figure, transfer_figure

        save_figure(transfer_figure(transfer, link, name), plot)
    if as_json:
        print(json.dumps({
            "seconds": transfer.seconds,
            "bytes": transfer.bytes,
            "mean_rate": transfer.mean_rate,
            "lost_at": transfer.lost_at,
            "series": transfer.series(),
        }, indent=2))  # fmt: skip
    else:
        _print(link, name, transfer)
    if transfer.lost_at is not None:
        sys.exit(1)


def _make(name: str, given: tuple[str, ...]) -> Link:
    from migsim.network import Link
    from migsim.parameters import Context, convert_all
    from migsim.registry import find

    plugin = find("link", name)
    values = convert_all(f"link '{name}'", plugin.parameters, pairs("-l", given), Context())
    return Link(**values)  # type: ignore[arg-type]


def _quantity(option: str, text: str, dimension: str) -> float:
    try:
        value = parse(text, dimension)  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"{option}: {error}") from None
    if not 0 < value < float("inf"):
        raise InputError(f"{option} {text}: expected more than 0, and no infinity")
    return value


def _print(link: Link, name: str, transfer: BulkTransfer) -> None:
    from rich.console import Console
    from rich.table import Table

    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]{name}[/]: {format_rate(link.rate)}, {format_seconds(link.rtt)} round trip, "
        f"{link.congestion}, {link.streams} connection{'s' if link.streams > 1 else ''}"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("until", "payload rate", "in flight", "queued", "reply", "reply behind bulk"):
        table.add_column(column, justify="right", no_wrap=True)
    formats = (
        format_seconds,
        format_rate,
        format_size,
        format_size,
        format_seconds,
        format_seconds,
    )
    for row in transfer.series(_ROWS):
        table.add_row(
            *(
                "" if value is None else form(value)
                for form, value in zip(formats, row.values(), strict=True)
            )
        )
    print_whole(console, table)
    if transfer.lost_at is not None:
        console.print(
            f"the connection was lost: the sender gave up at {format_seconds(transfer.lost_at)}"
        )
    console.print(
        f"{format_size(transfer.bytes)} in {format_seconds(transfer.seconds)}: "
        f"{format_rate(transfer.mean_rate)} of payload, {format_rate(link.goodput)} at full rate"
    )
