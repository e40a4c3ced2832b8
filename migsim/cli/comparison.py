"""A measured migration beside what was predicted of it: the cells of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

    from migsim.hypervisor.runs import Measured
    from migsim.validate.errors import Prediction

__all__ = ["END", "both", "error", "share", "working"]

END = {True: "ends", False: "does not end", None: ""}
"""Words for whether a migration completes."""

_FORMS = {
    "total": (1.0, ".2f", " s"),
    "bytes": (1e-6, ".1f", " MB"),
    "downtime": (1e3, ".1f", " ms"),
    "rounds": (1.0, ".0f", ""),
    "postcopy_requests": (1.0, ".0f", ""),
}
"""Quantity -> factor, format and unit."""


def share(value: float | None, digits: int = 1) -> str:
    """Return a share in percent; nothing where there is none."""
    return "" if value is None else f"{value:.{digits}%}"


def error(said: Prediction, run: Measured, quantity: str, digits: int = 1) -> str:
    """Return the relative error of a quantity; nothing where either side lacks it."""
    from migsim.validate.errors import measured_value

    ours, theirs = getattr(said, quantity), measured_value(run, quantity)
    return f"{ours / theirs - 1:+.{digits}%}" if ours is not None and theirs else ""


def both(said: Prediction, run: Measured, quantity: str) -> tuple[str, str]:
    """Return a quantity as measured and as predicted; nothing where either side lacks it."""
    from migsim.validate.errors import measured_value

    ours, theirs = getattr(said, quantity), measured_value(run, quantity)
    if ours is None or theirs is None:
        return "", ""
    factor, form, unit = _FORMS[quantity]
    return f"{theirs * factor:{form}}{unit}", f"{ours * factor:{form}}{unit}"


def working(text: str) -> Status:
    """Return a context that shows what is done meanwhile, on a terminal only."""
    from rich.console import Console
    from rich.markup import escape

    return Console(stderr=True, highlight=False).status(escape(text))
