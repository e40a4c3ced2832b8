"""Does every algorithm still do what its family is for, on a few guests over three links?

The standard suite of `migsim compare`: all built-in algorithms, on recorded and made-up guests of
which some converge and some do not, over two LANs and a lossy long path. It has to be quick, so the
guests are small; `gigabit`, `distance` and `compression` ask the questions properly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migsim.experiment import Claim, Plan, all_complete, with_lost_time
from migsim.plotting import Panel, heat_panels, look_of, matrix
from migsim.sweep import Guests, algorithm_axis, axis, guest_axis, link_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from migsim import Task

WHOLE_PAGES = (
    "stop_and_copy", "precopy", "multifd", "cloud_hypervisor", "xen", "vmotion", "qemu",
    "hybrid", "postcopy", "xen_postcopy", "clairvoyant",
)  # fmt: skip
"""Algorithms that send pages as they are; what they change is when and which."""
ENCODING = ("delta", "xbzrle", "compressed", "adaptive_compression", "dedup")
ALGORITHMS = (*WHOLE_PAGES, *ENCODING)
SETTINGS: dict[str, dict[str, Any]] = {
    # These would go on until the guest dirties less.
    "cloud_hypervisor": {"timeout": "2min", "on_timeout": "ignore"},
    "qemu": {"auto_converge": True, "postcopy_after": "30s", "max_bandwidth": 0},
}

_WORKING_SET = {"working_set": "512MiB"}
GUESTS: Guests = {
    "Redis (recorded)": ("trace", {"file": "redis"}),
    "SQLite (recorded)": ("trace", {"file": "sqlite"}),
    "hot and cold": ("hotcold", {**_WORKING_SET, "rate": "80MB/s"}),
    "Zipf 0.99": ("zipf", {**_WORKING_SET, "rate": "80MB/s"}),
    "uniform, 10 MB/s": ("uniform", {**_WORKING_SET, "rate": "10MB/s"}),
    "uniform, 60 MB/s": ("uniform", {**_WORKING_SET, "rate": "60MB/s"}),
    "uniform, 150 MB/s": ("uniform", {**_WORKING_SET, "rate": "150MB/s"}),
}
LINKS: dict[str, dict[str, Any]] = {"gigabit": {}, "long_distance": {"loss": 1e-5}, "10g": {}}
QUICK_GUESTS = ("hot and cold", "uniform, 150 MB/s")
QUICK_LINKS = ("gigabit", "long_distance")


def tasks(plan: Plan) -> list[Task]:
    """Return every algorithm on every guest of 1 GiB over every link."""
    guests, links = GUESTS, LINKS
    if plan.quick:
        guests = {label: GUESTS[label] for label in QUICK_GUESTS}
        links = {name: LINKS[name] for name in QUICK_LINKS}
    names = (*ALGORITHMS, *plan.algorithms)
    grid = guest_axis(guests) * link_axis(links) * axis("seed", range(plan.seeds))
    return (grid * algorithm_axis((name, SETTINGS.get(name, {})) for name in names)).tasks(
        memory="1GiB"
    )


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the means over the seeds, guests and links by algorithms."""
    placed = _placed(results)
    return {
        "total time (s)": matrix(placed, "total_seconds"),
        "downtime (ms)": matrix(placed, "downtime_seconds", 1e3),
        "guest time lost to pause, faults and throttling (ms)": matrix(placed, "lost_seconds", 1e3),
    }


def _placed(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with the guest time lost, and with labels that name the link as well."""
    place = results["label"] + ", " + results["link"]
    return with_lost_time(results).assign(guest=results["label"], label=place)


# ---- claims -------------------------------------------------------------------------------------


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what the results must bear out: what defines each family."""
    ours = with_lost_time(results[results["algorithm"].isin(ALGORITHMS)])
    key = ["label", "link", "seed"]
    by = {name: group.set_index(key).sort_index() for name, group in ours.groupby("algorithm")}
    return [
        all_complete(ours),
        _bound(by),
        _stop_and_copy(by),
        _postcopy(by),
        _hybrid(by),
        _encoding(by),
        _throttling(by),
        _connections(by),
    ]


def _bound(by: dict[str, pd.DataFrame]) -> Claim:
    best = by["clairvoyant"]["bytes_sent"]
    least = {name: float((by[name]["bytes_sent"] / best).min()) for name in WHOLE_PAGES}
    closest = min((ratio, name) for name, ratio in least.items() if name != "clairvoyant")
    return Claim(
        "no algorithm that sends whole pages sends fewer bytes than the clairvoyant bound",
        min(least.values()) >= 1 - 1e-9,
        f"closest is {closest[1]} with {closest[0]:.4f} x the bound",
    )


def _stop_and_copy(by: dict[str, pd.DataFrame]) -> Claim:
    stop = by["stop_and_copy"]
    # Losses come by chance, and Xen keeps to half a gigabit, whatever the link carries.
    stop = stop[(stop["link.rate"] < 1e9) & (stop["link.loss"] == 0)]
    share = {
        name: float((runs["downtime_seconds"] / stop["downtime_seconds"]).max())
        for name, runs in by.items()
        if name != "stop_and_copy"
    }
    worst = max((value, name) for name, value in share.items())
    return Claim(
        "over Gigabit Ethernet stopping and copying has the longest downtime",
        worst[0] < 1,
        f"the next is {worst[1]} with at most {worst[0]:.2f} of it",
    )


def _postcopy(by: dict[str, pd.DataFrame]) -> Claim:
    post = by["postcopy"]
    pages = (post["vm.memory"] // post["vm.page_size"]).iloc[0]
    lossless = post[post["link.loss"] == 0].groupby("link")["downtime_seconds"]
    spread = float((lossless.max() - lossless.min()).max())
    return Claim(
        "post-copy sends each page once, and its downtime depends on the link, not on the guest",
        bool((post["pages_sent"] == pages).all()) and spread < 1e-6,
        ", ".join(f"{link}: {1e3 * value:.3g} ms" for link, value in lossless.max().items()),
    )


def _hybrid(by: dict[str, pd.DataFrame]) -> Claim:
    hybrid, post, pre = by["hybrid"], by["postcopy"], by["precopy"]
    longest = float((hybrid["downtime_seconds"] / pre["downtime_seconds"]).max())
    lost = (hybrid["lost_seconds"] / post["lost_seconds"])[hybrid["link.rtt"] < 1e-3]
    return Claim(
        "hybrid's downtime is no longer than pre-copy's, and on a LAN its guest loses less than "
        "post-copy's",
        longest <= 1 + 1e-9 and bool((lost < 1).all()),
        f"downtime at most {longest:.3f} of pre-copy's, lost time at most {lost.max():.2f} of "
        "post-copy's",
    )


def _encoding(by: dict[str, pd.DataFrame]) -> Claim:
    plain = by["precopy"]["bytes_sent"]
    share = {name: float((by[name]["bytes_sent"] / plain).max()) for name in ENCODING}
    return Claim(
        "whatever encodes pages sends no more than pre-copy",
        max(share.values()) <= 1,
        ", ".join(f"{name} at most {value:.3f} of it" for name, value in share.items()),
    )


def _throttling(by: dict[str, pd.DataFrame]) -> Claim:
    pre, vmotion = by["precopy"], by["vmotion"]
    stuck = (pre["rounds"] == 30) & (pre["link.loss"] == 0)
    slowed = vmotion["throttled_seconds"] > 0
    shorter = vmotion["downtime_seconds"][stuck] / pre["downtime_seconds"][stuck]
    return Claim(
        "where pre-copy runs out of rounds on a LAN, vMotion stuns the guest and has the shorter "
        "downtime",
        bool(stuck.any() and slowed[stuck].all() and (shorter < 1).all()),
        f"{int(stuck.sum())} of {len(stuck)} migrations; "
        f"{shorter.min():.2f} to {shorter.max():.2f} of pre-copy's downtime",
    )


def _connections(by: dict[str, pd.DataFrame]) -> Claim:
    ratio = by["multifd"]["total_seconds"] / by["precopy"]["total_seconds"]
    far = ratio.groupby("link").mean()
    return Claim(
        "two connections are faster than one where packets are lost on a long path",
        float(far["long_distance"]) < 1,
        ", ".join(f"{link}: {value:.2f} of pre-copy's time" for link, value in far.items()),
    )


def figure(results: pd.DataFrame) -> Figure:
    """Return total time, downtime, lost guest time and traffic against pre-copy's."""
    measured = ("total_seconds", "downtime_seconds", "lost_seconds", "bytes_sent")
    placed = with_lost_time(results)
    key = ["label", "link", "seed"]
    base = placed[placed["algorithm"] == "precopy"].set_index(key)[list(measured)]
    there = placed.join(base.add_suffix("_of_precopy"), on=key)
    algorithms = list(dict.fromkeys(placed["algorithm"]))
    ratios = there.assign(
        **{name: there[name] / there[f"{name}_of_precopy"] for name in measured},
        name=[look_of(name, algorithms).label for name in there["algorithm"]],
    )
    titles = ("total time", "downtime", "guest time lost", "bytes sent")
    return heat_panels(
        ratios,
        [Panel(name, title, log=True) for name, title in zip(measured, titles, strict=True)],
        rows="name",
        columns="label",
        across="link",
        title="All algorithms against pre-copy (ratios; guests of 1 GiB)",
    )
