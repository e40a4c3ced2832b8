"""What the columns of results are called in figures, in which units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migsim.plotting.panel import Panel

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Quantity", "panel_of", "quantity_of", "with_scenarios", "written"]

_PAGE = 4096


@dataclass(frozen=True)
class Quantity:
    """A column of results as figures show it.

    Attributes:
        name: what it is.
        unit: in which unit it is shown; empty for a plain number.
        scale: multiplies the column's values, to give that unit.
    """

    name: str
    unit: str = ""
    scale: float = 1.0

    @property
    def title(self) -> str:
        """Name and unit, for an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


_KNOWN = {
    "total_seconds": Quantity("total time", "s"),
    "downtime_seconds": Quantity("downtime", "s"),
    "lost_seconds": Quantity("guest time lost", "s"),
    "stalled_seconds": Quantity("stalled by faults", "s"),
    "throttled_seconds": Quantity("lost to throttling", "s"),
    "bytes_sent": Quantity("sent", "GB", 1e-9),
    "payload_bytes": Quantity("payload sent", "GB", 1e-9),
    "pages_sent": Quantity("pages sent", "1000", 1e-3),
    "fault_mean_seconds": Quantity("mean latency of a fault", "ms", 1e3),
    "fault_p99_seconds": Quantity("99 % of faults within", "ms", 1e3),
    "fault_max_seconds": Quantity("longest fault", "ms", 1e3),
    "link.rate": Quantity("link", "Gbit/s", 8e-9),
    "link.rtt": Quantity("round trip", "ms", 1e3),
    "link.loss": Quantity("loss", "%", 100.0),
    "link.streams": Quantity("connections"),
    "workload.rate": Quantity("written", "MB/s", _PAGE * 1e-6),
    "workload.working_set": Quantity("working set", "MiB", 2.0**-20),
    "vm.memory": Quantity("memory", "GiB", 2.0**-30),
    "vm.vcpus": Quantity("vCPUs"),
}
_UNITS = {"_seconds": ("s", 1.0), "_bytes": ("MB", 1e-6), "_buffer": ("MiB", 2.0**-20)}


def quantity_of(column: str) -> Quantity:
    """Return how a column is shown; one that nobody foresaw by its name, in its unit."""
    if column in _KNOWN:
        return _KNOWN[column]
    name = column.rpartition(".")[2]
    for ending, (unit, scale) in _UNITS.items():
        if name.endswith(ending):
            return Quantity(name.replace("_", " ").removesuffix(" seconds"), unit, scale)
    return Quantity(name.replace("_", " "))


def panel_of(column: str, *, log: bool = False) -> Panel:
    """Return the panel of a measurement."""
    quantity = quantity_of(column)
    return Panel(column, quantity.title, quantity.scale, log)


def written(column: str, value: object) -> str:
    """Return one value of a column with its unit.

    >>> written("link.rate", 125e6), written("workload.file", "redis")
    ('1 Gbit/s', 'redis')
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    quantity = quantity_of(column)
    return f"{value * quantity.scale:.4g} {quantity.unit}".strip()


def with_scenarios(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with a column ``scenario``: what all algorithms met, told apart.

    It is the label or, without one, the workload (and the file it replays), and then whatever else
    varies of guest, link and machine among rows of that name.
    """
    import pandas as pd

    base = results["label"].fillna("").astype(str) if "label" in results else None
    if base is None:
        base = pd.Series("", index=results.index)
    plain = results["workload"].astype(str)
    if "workload.file" in results:
        files = results["workload.file"]
        plain = plain.mask(files.notna(), files.astype(str))
    base = base.mask(base == "", plain)
    parts = ("workload", "content", "link", "vm")
    columns = [
        name for name in map(str, results)
        if name in parts or (name.partition(".")[0] in parts and "." in name)
    ]  # fmt: skip
    names = base.copy()
    for _, group in results.groupby(base, sort=False):
        varying = [name for name in columns if group[name].nunique(dropna=False) > 1]
        kept: list[str] = []
        for name in sorted(varying, key=lambda name: _place(name, columns)):
            before = group[kept].astype(str).agg("|".join, axis=1) if kept else None
            # What follows from the names that are there already tells nothing more.
            if before is None or group[name].astype(str).groupby(before).nunique().max() > 1:
                kept.append(name)
        if kept:
            told = [
                ", ".join(
                    [first, *(_told(name, value) for name, value in zip(kept, values, strict=True))]
                )
                for first, values in zip(
                    base[group.index], group[kept].to_numpy(object), strict=True
                )
            ]
            names = names.mask(names.index.isin(group.index), pd.Series(told, group.index))
    return results.assign(scenario=names)


def _place(column: str, columns: list[str]) -> tuple[int, int]:
    """Return by what columns are sorted: names of plug-ins, what is known, then all else."""
    known = list(_KNOWN)
    place = known.index(column) if column in known else len(known)
    return (-1 if "." not in column else place, columns.index(column))


def _told(column: str, value: object) -> str:
    """Return a value for the name of a scenario, with what it is where the unit does not tell."""
    quantity = quantity_of(column)
    if column in ("workload", "link", "link.rate", "link.rtt"):
        return written(column, value)
    return f"{quantity.name} {written(column, value)}"
