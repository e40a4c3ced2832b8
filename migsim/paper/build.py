"""From results to a PDF: facts and figures beside the text, then Typst."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import InputError
from migsim.paper.plan import PaperPlan
from migsim.plotting import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FACTS",
    "broken_claims",
    "check_build",
    "compile_text",
    "lay_out",
    "write_facts",
]

FACTS = "facts.json"
_NOT_TEXT = ("results", "*.pdf", "*.toml", "__pycache__")

_NO_DATE = 0
"""What a text that tells no date is dated: the same facts give the same bytes at any time."""


def write_facts(facts: Mapping[str, Any], path: Path) -> None:
    """Write facts so that two builds of the same results give the same bytes."""
    path.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n")


def broken_claims(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield every claim of an experiment or a validation that does not hold."""
    for name, found in facts["experiments"].items():
        for claim in found["claims"]:
            if not claim["holds"]:
                yield f"{name}: {claim['sentence']} ({claim['evidence']})"
    for name, found in facts["validations"].items():
        for claim in found.get("claims", []):
            if not claim["holds"]:
                yield f"{name}: {claim['claim']}"


def lay_out(
    folder: Path, build: Path, facts: Mapping[str, Any], figures: Mapping[str, Figure]
) -> None:
    """Put all that the text reads into the folder ``build``, in place of what was there.

    The text finds its facts in ``facts.json`` and each figure as ``figures/NAME.svg``. Raises
    `InputError`, see also `check_build`.
    """
    fresh = build.with_name(f".{build.name}.new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(folder, fresh, ignore=shutil.ignore_patterns(*_NOT_TEXT))
        write_facts(facts, fresh / FACTS)
        (fresh / "figures").mkdir(exist_ok=True)
        for name, figure in figures.items():
            save_figure(figure, fresh / "figures" / f"{name}.svg")
        shutil.rmtree(build, ignore_errors=True)
        fresh.rename(build)
    except OSError as error:
        raise InputError(f"{build}: cannot be written: {error.strerror}") from None


def check_build(folder: Path, build: Path) -> None:
    """Raise `InputError` where building in ``build`` would overwrite the paper, or results."""
    source, target = folder.resolve(), build.resolve()
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise InputError(
            f"--results: the paper would be built in {build}, over its own text in {folder}; "
            "expected another folder"
        )
    if build.exists() and not (build / FACTS).is_file():
        raise InputError(f"{build}: is not a folder that 'migsim paper' made, and is left alone")


def compile_text(plan: PaperPlan, build: Path) -> bytes:
    """Return the PDF of a text that was laid out. Raises `InputError` where it cannot be set.

    A text that names a fact or a claim that is not there cannot be set, nor one that makes a claim
    that does not hold.
    """
    import typst

    try:
        # Typst's own fonts: those of a machine would give another PDF.
        pdf = typst.compile(
            build / plan.text, root=build, ignore_system_fonts=True, timestamp=_NO_DATE
        )
    except typst.TypstError as error:
        raise InputError(f"{plan.text}: {error.message}") from None
    assert isinstance(pdf, bytes)
    return pdf
