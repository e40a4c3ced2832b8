"""``migsim validate``: models against measurements, as tables, JSON or figures."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migsim.cli.outputs import check_figure
from migsim.cli.validate_all import run_all
from migsim.cli.validate_peers import peers
from migsim.cli.validate_published import published
from migsim.cli.validate_qemu import qemu

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migsim.validate.tcp import Comparison

__all__ = ["validate"]


@click.group()
def validate() -> None:
    """Compare models with measurements."""


validate.add_command(qemu)
validate.add_command(published)
validate.add_command(peers)
validate.add_command(run_all)


@validate.command()
@click.option(
    "--rows",
    "file",
    type=Path,
    metavar="FILE.csv",
    help="Compare with other measured rows, in the format of migsim/data/tcp-linux.csv.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--summary", "brief", is_flag=True, help="Print no single rows.")
@click.option("--plot", type=Path, metavar="FILE.png", help="Draw predicted against measured.")
@click.option("--seeds", type=click.IntRange(1), default=30, show_default=True,
              help="Transfers of which a lossy row's prediction is the mean.")  # fmt: skip
def tcp(file: Path | None, as_json: bool, brief: bool, plot: Path | None, seeds: int) -> None:
    """Compare the model of TCP with Linux over emulated links.

    The exit status is 1 where fewer of the committed rows are within tolerance than is claimed.
    """
    from migsim.validate.tcp import DATA, compare, read_rows, shares

    check_figure("--plot", plot)
    files = DATA if file is None else {str(file): file}
    sets = {name: compare(read_rows(path), seeds) for name, path in files.items()}
    if plot is not None:
        from migsim.plotting import save_figure
        from migsim.validate.drawing import tcp_figure

        save_figure(tcp_figure(sets), plot)
    if as_json:
        _print_json(sets)
    else:
        for name, found in sets.items():
            _print(name, found, brief)
    if file is None and not all(share.holds for found in sets.values() for share in shares(found)):
        sys.exit(1)


def _print_json(sets: Mapping[str, Sequence[Comparison]]) -> None:
    from migsim.validate.tcp import shares

    rows = [
        {"set": name}
        | dataclasses.asdict(item.row)
        | {
            "kind": item.row.kind,
            "predicted_mbps": item.mean_mbps,
            "predicted_later_mbps": item.later_mbps,
            "predicted_t90": item.t90,
            "error": item.error,
            "within": item.within,
            "t90_within": item.t90_within,
        }
        for name, found in sets.items()
        for item in found
    ]
    summary = [
        {"set": name} | dataclasses.asdict(share)
        for name, found in sets.items()
        for share in shares(found)
    ]
    print(json.dumps({"rows": rows, "summary": summary}, indent=2))


def _print(name: str, found: Sequence[Comparison], brief: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from migsim.cli.tables import print_whole
    from migsim.units import MIB
    from migsim.validate.tcp import shares

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{name}[/]")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("rate", "rtt", "loss", "control", "buffers", "kind", "measured", "predicted",
                  "error", "after 5 s", "predicted", "90 % at", "predicted"):  # fmt: skip
        table.add_column(title, justify="right", no_wrap=True)
    for item in found:
        row = item.row
        table.add_row(
            f"{row.rate_mbps:g}", f"{row.rtt_ms:g} ms", f"{row.loss:g}", row.congestion,
            f"{row.send_buffer / MIB:g}/{row.receive_buffer / MIB:g} MiB", row.kind,
            f"{row.mean_mbps:.1f}", f"{item.mean_mbps:.1f}",
            f"{item.error:+.1%}{'' if item.within else ' !'}",
            f"{row.later_mbps:.1f}", f"{item.later_mbps:.1f}",
            "" if row.t90 is None else f"{row.t90:g} s",
            ("" if item.t90 is None else f"{item.t90:.2f} s")
            + (" !" if item.t90_within is False else ""),
        )  # fmt: skip
    if not brief:
        print_whole(console, table)
        console.print("Mbit/s of payload; ! is outside the tolerance")
    for share in shares(found):
        console.print(f"{share.within} of {share.rows} {share.name} within {share.tolerance}")
    console.print()


@validate.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def content(as_json: bool) -> None:
    """Compare what codecs make of our pages with what they make of real ones.

    Of this machine (texts, code, a heap) for the classes of pages, and of the recordings for what
    replays them. Needs Linux.
    """
    from migsim.validate.content import compare_classes, compare_recordings

    sets = {"classes": compare_classes(), "recordings": compare_recordings()}
    if as_json:
        rows = [
            {"set": name} | dataclasses.asdict(item) | {"difference": item.difference}
            for name, found in sets.items()
            for item in found
        ]
        print(json.dumps({"rows": rows}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    for name, found in sets.items():
        table = Table(title=f"{name}: size in % of a page, real / ours", title_justify="left")
        codecs = list(dict.fromkeys(item.codec for item in found))
        for heading in ("pages", "real ones from", *codecs):
            table.add_column(heading, justify="left" if heading not in codecs else "right")
        for pages in dict.fromkeys(item.pages for item in found):
            items = [item for item in found if item.pages == pages]
            sizes = [f"{100 * item.real:.1f} / {100 * item.model:.1f}" for item in items]
            table.add_row(pages, items[0].source, *sizes)
        console.print(table)
