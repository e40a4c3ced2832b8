"""Figures that others have published of live migrations, and what migsim says of them.

Each check states a figure, its source, how far we may be off, and what was set that the source
does not tell. One module for each group of papers.
"""

from __future__ import annotations

from migsim.validate.published import clark, deshpande, gopalan, kubevirt, qemu, vmware
from migsim.validate.published.check import KINDS, Check, Finding, Kind, compare, summarise

__all__ = ["CHECKS", "KINDS", "Check", "Finding", "Kind", "compare", "summarise"]

CHECKS: tuple[Check, ...] = (
    *clark.CHECKS,
    *gopalan.CHECKS,
    *deshpande.CHECKS,
    *qemu.CHECKS,
    *kubevirt.CHECKS,
    *vmware.CHECKS,
)
"""All checks, the older papers first."""
