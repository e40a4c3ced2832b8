"""What does distance do to each algorithm, from one site to a round trip of 100 ms?

The same guests over 1 Gbit/s at the round trips of a LAN, a metropolitan network, New York to
London, and 100 ms, without loss and with Linux's default buffers: distance means slow start, a
window of some 3.4 MB, and the latency of page requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.experiment import (
    Claim,
    Guests,
    Plan,
    all_complete,
    every_combination,
    with_lost_time,
)
from migsim.plotting import Panel, line_panels, matrix
from migsim.stats import paired_difference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from migsim import Task

LINKS = ("gigabit", "metro", "transatlantic", "long_distance")
ALGORITHMS = (
    "stop_and_copy", "precopy", "delta", "vmotion", "hybrid", "postcopy", "clairvoyant",
)  # fmt: skip
GUESTS: Guests = {
    "Redis (recorded)": ("trace", {"file": "redis"}),
    "C++ compiler (recorded)": ("trace", {"file": "cc1"}),
    "hot and cold": ("hotcold", {"working_set": "512MiB", "rate": "50MB/s"}),
}
QUICK = ("Redis (recorded)",)
STEADY = ("Redis (recorded)", "hot and cold")


def tasks(plan: Plan) -> list[Task]:
    """Return every algorithm on every guest of 1 GiB over every distance."""
    return every_combination(plan, algorithms=ALGORITHMS, guests=GUESTS, links=LINKS, quick=QUICK)


def _with_distance(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with the round trip in ms and the guest time lost."""
    return with_lost_time(results).assign(rtt_ms=1e3 * results["link.rtt"])


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the means over the seeds at the greatest distance, guests by algorithms."""
    runs = _with_distance(results)
    far = runs[runs["rtt_ms"] == runs["rtt_ms"].max()]
    return {
        "total time at 100 ms (s)": matrix(far, "total_seconds"),
        "downtime at 100 ms (ms)": matrix(far, "downtime_seconds", 1e3),
        "guest time lost at 100 ms (ms)": matrix(far, "lost_seconds", 1e3),
    }


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what the results must bear out."""
    runs = _with_distance(results)
    ours = runs[runs["algorithm"].isin(ALGORITHMS)]
    key = ["label", "rtt_ms", "seed"]
    by = {name: ours[ours["algorithm"] == name].set_index(key) for name in ALGORITHMS}
    bound, post, hybrid = by["clairvoyant"], by["postcopy"], by["hybrid"]
    near, far = ours["rtt_ms"].min(), ours["rtt_ms"].max()
    mean = ours.groupby(["algorithm", "rtt_ms"])["total_seconds"].mean().unstack()
    times = mean[far] / mean[near]
    faulted = post[post["faults"] > 0]
    latency = faulted["fault_mean_seconds"] / faulted["link.rtt"]
    distant = latency[latency.index.get_level_values("rtt_ms") >= 10]
    least = min(
        float((by[name][column] / bound[column]).min())
        for name in ALGORITHMS
        for column in ("total_seconds", "downtime_seconds", "bytes_sent")
    )
    steady = [label for label in ours["label"].unique() if label in STEADY]
    spared = {
        rtt: paired_difference(
            post.loc[(steady, rtt), "stalled_seconds"], hybrid.loc[(steady, rtt), "stalled_seconds"]
        )
        for rtt in sorted(ours["rtt_ms"].unique())
    }
    return [
        all_complete(ours),
        Claim(
            "no algorithm beats the clairvoyant bound by more than a packet costs that the full "
            "queue drops at the wrong moment",
            least >= 0.8,
            f"least ratio {least:.4f}",
        ),
        Claim(
            "with Linux's default buffers, 100 ms at least triple every algorithm's total time",
            bool((times >= 3).all()),
            f"{times.min():.1f} to {times.max():.1f} times the total time on a LAN",
        ),
        Claim(
            "a fault waits for one round trip, or for two where the push fills the path's queue",
            bool((latency >= 0.5).all() and (distant <= 2.25).all()),
            f"mean latency {distant.min():.2f} to {distant.max():.2f} round trips",
        ),
        Claim(
            "one round of pre-copy before the switch shortens post-copy's stalls at any distance, "
            "for guests whose working set does not move on meanwhile",
            all(saved.low > 0 for saved in spared.values()),
            ", ".join(f"{rtt:g} ms: {saved.mean:.2f} s less" for rtt, saved in spared.items()),
        ),
    ]


def figure(results: pd.DataFrame) -> Figure:
    """Return total time, downtime and lost guest time against the round trip."""
    panels = [
        Panel("total_seconds", "total time (s)"),
        Panel("downtime_seconds", "downtime (s)", log=True),
        Panel("lost_seconds", "guest time lost (s)", log=True),
    ]
    return line_panels(
        _with_distance(results),
        panels,
        x="rtt_ms",
        x_title="round trip (ms)",
        rows="label",
        title="Migrating a 1 GiB guest over 1 Gbit/s and distance",
    )
