"""The committed results of a paper: read back, and made anew."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import InputError
from migsim.paper.build import FACTS, write_facts
from migsim.paper.plan import PaperPlan
from migsim.plotting import save_figure
from migsim.results import load_results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["commit", "committed_facts", "committed_results"]

_FOLDER = "results"
_LARGE = 1_000_000  # bytes of a table from which on it is kept compressed


def committed_results(plan: PaperPlan, folder: Path) -> dict[str, pd.DataFrame]:
    """Return the committed table of each experiment of a paper. Raises `InputError`."""
    results = {}
    for name in plan.experiments:
        table = folder / _FOLDER / f"{name}.csv"
        compressed = table.with_suffix(".csv.gz")
        results[name] = load_results(compressed if compressed.exists() else table)
    return results


def committed_facts(folder: Path) -> dict[str, Any]:
    """Return the committed facts of a paper. Raises `InputError`."""
    path = folder / _FOLDER / FACTS
    try:
        facts = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: is no JSON: {error}") from None
    if not isinstance(facts, dict) or not {"experiments", "validations"} <= set(facts):
        raise InputError(f"{path}: expected the facts of a paper, as 'migsim paper' writes them")
    return facts


def commit(
    plan: PaperPlan,
    folder: Path,
    results: Mapping[str, pd.DataFrame],
    facts: Mapping[str, Any],
    figures: Mapping[str, Figure],
    pages: Mapping[str, str],
    pdf: Path,
) -> None:
    """Put results, facts, figures, pages and PDF where they are committed. Raises `InputError`.

    Empty pages are those of experiments that have none.
    """
    kept = folder / _FOLDER
    try:
        kept.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as fresh:
            made = Path(fresh)
            for name in plan.experiments:
                _write_table(results[name], made / f"{name}.csv")
            for name, figure in figures.items():
                save_figure(figure, made / f"{name}.png", dpi=160)
            for name, page in pages.items():
                if page:
                    (made / f"{name}.md").write_text(page)
            write_facts(facts, made / FACTS)
            shutil.copy(pdf, made / pdf.name)
            _put(made, kept, plan)  # all is there: nothing is left half-written
            (kept / pdf.name).replace(folder / pdf.name)
    except OSError as error:
        raise InputError(f"{kept}: cannot be written: {error.strerror}") from None


def _put(made: Path, kept: Path, plan: PaperPlan) -> None:
    """Move all files, and remove tables that were kept in the other form."""
    for path in sorted(made.iterdir()):
        path.replace(kept / path.name)
    for name in plan.experiments:
        table, compressed = kept / f"{name}.csv", kept / f"{name}.csv.gz"
        if table.exists() and compressed.exists():
            min(table, compressed, key=lambda path: path.stat().st_mtime_ns).unlink()


def _write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, compressed where it is large; the same table gives the same bytes."""
    text = table.to_csv(index=False, lineterminator="\n").encode()
    if len(text) < _LARGE:
        path.write_bytes(text)
    else:
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(text, 9, mtime=0))
