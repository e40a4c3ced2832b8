"""How do the algorithms compare on Gigabit Ethernet, for guests that do what real programs do?

Six guests replay recorded programs, four write by a rule. All algorithms meet the same guests, and
the clairvoyant bound shows how much is left to gain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.experiment import Claim, Plan, all_complete, with_lost_time
from migsim.plotting import Panel, dot_panels, matrix
from migsim.sweep import Guests, axis, guest_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from migsim import Task

LINK = "gigabit"
ALGORITHMS = (
    "stop_and_copy", "precopy", "delta", "vmotion", "hybrid", "postcopy", "clairvoyant",
)  # fmt: skip

GUESTS: Guests = {
    "idle shell (recorded)": ("trace", {"file": "idle"}),
    "Redis (recorded)": ("trace", {"file": "redis"}),
    "SQLite (recorded)": ("trace", {"file": "sqlite"}),
    "Java (recorded)": ("trace", {"file": "java"}),
    "C++ compiler (recorded)": ("trace", {"file": "cc1"}),
    "NumPy (recorded)": ("trace", {"file": "numpy"}),
    "hot and cold": ("hotcold", {"working_set": "512MiB", "rate": "100MB/s"}),
    "Zipf 0.99": ("zipf", {"working_set": "512MiB", "rate": "100MB/s"}),
    "shifting phases": ("phases", {}),
    "sweep at 1.2 x the link": ("sequential", {"working_set": "512MiB", "rate": "140MB/s"}),
}
QUICK = ("Redis (recorded)", "C++ compiler (recorded)", "hot and cold", "sweep at 1.2 x the link")


def tasks(plan: Plan) -> list[Task]:
    """Return every algorithm on every guest of 1 GiB."""
    guests = {label: GUESTS[label] for label in GUESTS if label in QUICK or not plan.quick}
    algorithms = axis("algorithm", (*ALGORITHMS, *plan.algorithms))
    grid = guest_axis(guests) * axis("seed", range(plan.seeds)) * algorithms
    return grid.tasks(link=LINK, memory="1GiB")


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the means over the seeds, guests by algorithms."""
    return {
        "total time (s)": matrix(results, "total_seconds"),
        "downtime (ms)": matrix(results, "downtime_seconds", 1e3),
        "guest time lost to pause, faults and throttling (ms)": matrix(
            with_lost_time(results), "lost_seconds", 1e3
        ),
    }


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what the results must bear out."""
    ours = results[results["algorithm"].isin(ALGORITHMS)]
    by = {name: ours[ours["algorithm"] == name].set_index(["label", "seed"]) for name in ALGORITHMS}
    bound = by["clairvoyant"]
    gaps = {
        column: min(float((by[name][column] / bound[column]).min()) for name in ALGORITHMS)
        for column in ("total_seconds", "downtime_seconds", "bytes_sent")
    }
    post, pre, delta = by["postcopy"], by["precopy"], by["delta"]
    converged = pre[pre["rounds"] < 30]
    saved = 1 - delta["bytes_sent"] / pre["bytes_sent"]
    sweep = by["vmotion"][by["vmotion"]["workload"] == "sequential"]
    return [
        all_complete(ours),
        Claim(
            "no algorithm beats the clairvoyant bound in total time, downtime or bytes",
            min(gaps.values()) >= 1 - 1e-9,
            ", ".join(f"least {column} {gap:.4f} x the bound" for column, gap in gaps.items()),
        ),
        Claim(
            "post-copy's downtime does not depend on what the guest does",
            bool(post["downtime_seconds"].max() - post["downtime_seconds"].min() < 1e-6),
            f"{1e3 * post['downtime_seconds'].min():.2f} to "
            f"{1e3 * post['downtime_seconds'].max():.2f} ms",
        ),
        Claim(
            "post-copy sends each page once",
            bool((post["pages_sent"] == post["vm.memory"] // post["vm.page_size"]).all()),
            f"{int(post['pages_sent'].max())} pages",
        ),
        Claim(
            "where pre-copy converges, its downtime is at most 1.2 x its limit",
            bool((converged["downtime_seconds"] <= 1.2 * 0.3).all()),
            f"worst {converged['downtime_seconds'].max():.3f} s of {len(converged)} migrations",
        ),
        Claim(
            "sending deltas never sends more than pre-copy",
            bool((saved >= 0).all()),
            f"saves {100 * saved.min():.1f} to {100 * saved.max():.1f} % of the bytes",
        ),
        Claim(
            "where the guest writes faster than the link, vMotion converges by stunning it",
            bool((sweep["throttled_seconds"] > 0).all() and (sweep["rounds"] < 20).all()),
            f"{sweep['rounds'].max():.0f} rounds, "
            f"{sweep['throttled_seconds'].mean():.1f} s of processor time taken",
        ),
    ]


def figure(results: pd.DataFrame) -> Figure:
    """Return total time, downtime, lost guest time and traffic for every guest."""
    panels = [
        Panel("total_seconds", "total time (s)", log=True),
        Panel("downtime_seconds", "downtime (s)", log=True),
        Panel("lost_seconds", "guest time lost (s)", log=True),
        Panel("bytes_sent", "sent (GB)", scale=1e-9, log=True),
    ]
    return dot_panels(
        with_lost_time(results),
        panels,
        rows="label",
        title="Migrating a 1 GiB guest over Gigabit Ethernet",
    )
