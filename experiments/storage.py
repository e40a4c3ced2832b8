"""How should a disk follow its guest, and what do the guest's writes and the distance make of it?

The four ways to move a disk, each with memory behind it in one migration: a guest whose disk of
16 GiB is written to at rising rates, in a working set of 1 GiB, over a LAN, 10 ms and 100 ms.
Beside that: storage that both hosts share, smaller blocks, deeper queues, and a recorded SQLite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.experiment import Claim, Plan, all_complete, with_lost_time
from migsim.plotting import Panel, line_panels, matrix
from migsim.sweep import axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from migsim import Task

WAYS = ("storage_dbt", "storage_snapshot", "storage_mirror", "storage_postcopy")
WRITE_RATES = (1, 5, 20, 60)  # MB/s
LINKS = {
    "LAN": {"link": "gigabit"},
    "10 ms": {"link": "metro"},
    "100 ms": {
        "link": "long_distance", "link.send_buffer": "64MiB", "link.receive_buffer": "64MiB",
    },
}  # fmt: skip
MEMORY = {
    "workload": "hotcold", "workload.rate": "5MB/s", "workload.working_set": "64MiB",
    "vm.memory": "512MiB", "disk.size": "16GiB",
}  # fmt: skip
MIDDLE = 20
SQLITE = {"disk.workload": "trace(file=sqlite_disk)", "disk.io_bytes": "4KiB"}


def _writes(rate: int, outstanding: int = 4) -> dict[str, str | int]:
    workload = f"hotcold(rate={rate}MB/s, working_set=1GiB)"
    return {"disk.workload": workload, "disk.queue_depth": outstanding}


def tasks(plan: Plan) -> list[Task]:
    """Return all ways at all write rates over all distances, and the variants at one rate."""
    rates = (WRITE_RATES[0], MIDDLE, WRITE_RATES[-1]) if plan.quick else WRITE_RATES
    links = axis("link", LINKS.values())
    ways = axis("algorithm", (*WAYS, *plan.algorithms))
    main = links * axis("rate", [{"label": f"{rate} MB/s", **_writes(rate)} for rate in rates])
    lan = axis("link", [LINKS["LAN"]])
    shared = axis("shared", [{"label": "shared", "disk.shared": True, **_writes(MIDDLE)}])
    variants = axis(
        "variant",
        [
            {"label": "64 KiB blocks", "disk.block": "64KiB", **_writes(MIDDLE)},
            {"label": "32 I/Os outstanding", **_writes(MIDDLE, 32)},
            {"label": "SQLite", **SQLITE},
            {"label": "SQLite, 64 KiB blocks", "disk.block": "64KiB", **SQLITE},
        ],
    )
    grid = (main + lan * variants + links * shared) * ways
    return (axis("seed", range(plan.seeds)) * axis("guest", [MEMORY]) * grid).tasks()


def _prepared(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with the name of the link, the write rate and the share of time lost."""
    names = {settings["link"]: name for name, settings in LINKS.items()}
    runs = with_lost_time(results)
    rate = runs["label"].str.extract(r"^(\d+) MB/s$")[0].astype(float)
    return runs.assign(
        path=runs["link"].map(names),
        rate=rate,
        lost_share=runs["lost_seconds"] / runs["total_seconds"],
    )


def _means(runs: pd.DataFrame, column: str) -> pd.Series:
    return runs.dropna(subset=["rate"]).groupby(["algorithm", "path", "rate"])[column].mean()


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the means over seeds and distances, guests by ways to move a disk."""
    runs = _prepared(results)
    return {
        "total time (s)": matrix(runs, "total_seconds"),
        "downtime (ms)": matrix(runs, "downtime_seconds", 1e3),
        "time that the guest loses (%)": matrix(runs, "lost_share", 100.0),
    }


# ---- claims -------------------------------------------------------------------------------------


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what the results must bear out."""
    runs = _prepared(results)
    ours = runs[runs["algorithm"].isin(WAYS)]
    return [
        all_complete(ours),
        _one_pass(ours),
        _rounds(ours),
        _mirror_costs(ours),
        _postcopy(ours),
        _blocks(ours),
        _scattered(ours),
        _shared(ours),
    ]


def _one_pass(runs: pd.DataFrame) -> Claim:
    """Mashtizadeh et al., ATC 2011: one pass, and a switch-over that does not depend on writes."""
    total = _means(runs, "total_seconds")["storage_mirror"]
    growth = float((total.groupby("path").max() / total.groupby("path").min()).max())
    downtime = float(_means(runs, "downtime_seconds")["storage_mirror"].max())
    return Claim(
        "mirroring copies the disk once: sixty times the writes take at most a third longer, and "
        "the downtime stays below half a second",
        growth <= 4 / 3 and downtime < 0.5,
        f"up to {growth:.2f} times, at most {downtime:.2f} s of downtime",
    )


def _rounds(runs: pd.DataFrame) -> Claim:
    ways = ["storage_dbt", "storage_snapshot"]
    total, downtime = (_means(runs, name) for name in ("total_seconds", "downtime_seconds"))
    most, least = runs["rate"].max(), runs["rate"].min()
    growth = (total.xs(most, level="rate") / total.xs(least, level="rate"))[ways]
    worst = downtime.xs(most, level="rate")[ways]
    return Claim(
        "copying dirty blocks in rounds and snapshots take over twice as long at 60 MB/s of writes "
        "as at 1 MB/s, with seconds of downtime",
        bool((growth > 2).all() and (worst > 1).all()),
        f"{growth.min():.1f} to {growth.max():.1f} times, {worst.min():.1f} to {worst.max():.1f} s",
    )


def _mirror_costs(runs: pd.DataFrame) -> Claim:
    most = runs["rate"].max()
    share = _means(runs, "lost_share").xs(most, level="rate")
    mirrored = share["storage_mirror"].reindex(list(LINKS))
    others = share[["storage_dbt", "storage_snapshot", "storage_postcopy"]]
    return Claim(
        "a guest with four I/Os outstanding pays for mirrored writes with its time, the more the "
        "farther; every other way takes less than a twentieth of it",
        bool(mirrored.is_monotonic_increasing and mirrored.min() > 0.2 and others.max() < 0.05),
        ", ".join(f"{path}: {100 * value:.0f} %" for path, value in mirrored.items())
        + f" of the time at {most:.0f} MB/s; the others at most {100 * others.max():.1f} %",
    )


def _postcopy(runs: pd.DataFrame) -> Claim:
    total, downtime = (_means(runs, name) for name in ("total_seconds", "downtime_seconds"))
    least = total.groupby(["path", "rate"]).min()
    behind = float((total["storage_postcopy"] / least).max())
    pause = float(downtime["storage_postcopy"].max())
    return Claim(
        "post-copy of the disk is the fastest at every rate and distance, with the downtime of "
        "its memory alone",
        behind <= 1 + 1e-9 and pause < 0.2,
        f"at most {pause:.2f} s of downtime",
    )


def _blocks(runs: pd.DataFrame) -> Claim:
    mirror = runs[(runs["algorithm"] == "storage_mirror") & (runs["path"] == "LAN")]
    lost = mirror.groupby("label")["lost_share"].mean()
    large, small = lost[f"{MIDDLE} MB/s"], lost["64 KiB blocks"]
    deep = lost["32 I/Os outstanding"]
    return Claim(
        "on a LAN a mirrored write waits for the block before it: with blocks of 64 KiB instead of "
        "1 MiB, or 32 I/Os outstanding instead of four, the guest loses less than half as much",
        bool(small < large / 2 and deep < large / 2),
        f"{100 * large:.0f} % of the time, {100 * small:.0f} % and {100 * deep:.0f} %",
    )


def _scattered(runs: pd.DataFrame) -> Claim:
    sent = runs.groupby(["algorithm", "label"])["bytes_sent"].mean().unstack()
    ratio = sent["SQLite"] / sent["SQLite, 64 KiB blocks"]
    dirty, mirror = ratio["storage_dbt"], ratio["storage_mirror"]
    return Claim(
        "a database's small scattered writes dirty large blocks: with 1 MiB instead of 64 KiB "
        "dirty blocks send over a third more, mirroring does not",
        bool(dirty > 4 / 3 and abs(mirror - 1) < 0.02),
        f"{100 * (dirty - 1):.0f} % and {100 * (mirror - 1):.1f} % more",
    )


def _shared(runs: pd.DataFrame) -> Claim:
    shared = runs[runs["label"] == "shared"]
    return Claim(
        "with shared storage nothing of the disk moves, whatever the algorithm, and a migration "
        "takes seconds",
        bool((shared["disk_blocks_sent"] == 0).all() and (shared["total_seconds"] < 10).all()),
        f"at most {shared['total_seconds'].max():.1f} s",
    )


# ---- the figure ---------------------------------------------------------------------------------


def figure(results: pd.DataFrame) -> Figure:
    """Return total time, downtime and lost time against the rate of writes, a row a distance."""
    runs = _prepared(results).dropna(subset=["rate"])
    panels = [
        Panel("total_seconds", "total time (s)"),
        Panel("downtime_seconds", "downtime (s)", log=True),
        Panel("lost_share", "share of time that the guest loses (%)", scale=100.0),
    ]
    return line_panels(
        runs,
        panels,
        x="rate",
        x_title="writes to the disk (MB/s)",
        rows="path",
        title="A disk of 16 GiB and 512 MiB of memory in one migration over 1 Gbit/s",
    )
