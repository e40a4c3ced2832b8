"""Up to which distance does each algorithm work, and what do loss, buffers and connections change?

Every algorithm over round trips from a LAN to 150 ms, over 1 and 10 Gbit/s, with and without loss,
over one connection and eight, with Linux's default buffers. Beside that: guests that dirty memory
at rising rates, to find where each algorithm stops converging; 64 MiB of buffers; and post-copy
whose demanded pages have no connection of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.experiment import Claim, Plan, all_complete, with_lost_time
from migsim.plotting import Panel, line_panels, look_of
from migsim.stats import paired_difference
from migsim.sweep import Guests, axis, guest_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from migsim import Task

ALGORITHMS = (
    "stop_and_copy", "precopy", "delta", "vmotion", "hybrid", "postcopy", "clairvoyant",
)  # fmt: skip
ROUND_TRIPS_MS = (0.1, 1, 10, 30, 60, 100, 150)
RATES = ("1Gbit/s", "10Gbit/s")
LOSS = 1e-4
STREAMS = (1, 8)
GUESTS: Guests = {
    "Redis (recorded)": ("trace", {"file": "redis"}),
    "hot and cold": ("hotcold", {"working_set": "512MiB", "rate": "50MB/s"}),
}
DIRTY_RATES = ("1MB/s", "3MB/s", "10MB/s", "30MB/s", "100MB/s", "300MB/s")
LARGE_BUFFERS = {"link.send_buffer": "64MiB", "link.receive_buffer": "64MiB"}

CONVERGED_SECONDS = 1.0
"""A downtime that most operators put up with."""


def tasks(plan: Plan) -> list[Task]:
    """Return every algorithm over every path, and the three smaller sweeps beside that."""
    guests = dict(list(GUESTS.items())[:1]) if plan.quick else GUESTS
    paths = axis("link.loss", (0, LOSS)) * axis("link.streams", STREAMS)
    algorithms = axis("algorithm", (*ALGORITHMS, *plan.algorithms))
    every_path = axis("link.rate", RATES) * (
        guest_axis(guests) * paths * algorithms
        + guest_axis(guests, "{}, 64 MiB buffers")
        * axis("buffers", [LARGE_BUFFERS])
        * axis("algorithm", ("stop_and_copy", "precopy"))
        + guest_axis(guests, "{}, one connection")
        * axis("postcopy", [{"algorithm": "postcopy", "algorithm.preempt": False}])
    )
    rising_rates = (
        axis("link.rate", RATES[:1])
        * guest_axis(
            {
                f"dirties {rate}": ("uniform", {"working_set": "512MiB", "rate": rate})
                for rate in DIRTY_RATES[:: 2 if plan.quick else 1]
            }
        )
        * axis("algorithm", ALGORITHMS)
    )
    trips = axis(
        "link.rtt", [f"{rtt}ms" for rtt in ((0.1, 10, 100) if plan.quick else ROUND_TRIPS_MS)]
    )
    grid = axis("seed", range(plan.seeds)) * trips * (every_path + rising_rates)
    return grid.tasks(link="custom", memory="1GiB")


# ---- parts of the sweep -----------------------------------------------------------------------


def _prepared(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with the round trip in ms, the rate in Gbit/s and the guest time lost."""
    return with_lost_time(results).assign(
        rtt_ms=(1e3 * results["link.rtt"]).round(6), gbits=8e-9 * results["link.rate"]
    )


def _over_paths(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["label"].isin(GUESTS)]


def _converging(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the guests of rising dirty rates, with what the path carries (bytes per second)."""
    chosen = runs[runs["label"].str.startswith("dirties")]
    stop = chosen[chosen["algorithm"] == "stop_and_copy"]
    carried = (stop["payload_bytes"] / stop["total_seconds"]).groupby(stop["rtt_ms"]).mean()
    dirtied = chosen["workload.rate"] * chosen["vm.page_size"]
    return chosen.assign(
        dirtied=dirtied,
        load=dirtied / chosen["rtt_ms"].map(carried),
        converged=chosen["downtime_seconds"] <= CONVERGED_SECONDS,
    )


def _greatest_rates(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the greatest dirty rate (MB/s) with a short downtime, algorithms by round trips."""
    chosen = _converging(runs)
    good = chosen[chosen["converged"]].groupby(["algorithm", "rtt_ms"])["dirtied"].max() * 1e-6
    table = good.unstack().reindex([name for name in ALGORITHMS if name in good.index.levels[0]])
    table.index = [look_of(name).label for name in table.index]
    return table.rename(columns=lambda rtt: f"{rtt:g} ms").reset_index(names="")


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the borders of convergence, and the latency of faults."""
    runs = _prepared(results)
    post = runs[(runs["algorithm"] == "postcopy") & (runs["link.loss"] == 0)]
    post = post[(post["link.streams"] == 1) & (post["faults"] > 0)]
    post = post[~post["label"].str.startswith("dirties")]
    latency = post.groupby(["label", "gbits", "rtt_ms"])["fault_mean_seconds"].mean().unstack()
    latency = (1e3 * latency).rename(columns=lambda rtt: f"{rtt:g} ms").reset_index()
    latency.insert(0, "", latency.pop("label") + latency.pop("gbits").map(", {:g} Gbit/s".format))
    return {
        "greatest dirty rate (MB/s) with a downtime of at most "
        f"{CONVERGED_SECONDS:g} s, 1 Gbit/s, by round trip": _greatest_rates(runs),
        "mean latency of post-copy's faults (ms), by round trip": latency,
    }


# ---- claims -------------------------------------------------------------------------------------


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what the results must bear out."""
    runs = _prepared(results)
    ours = runs[runs["algorithm"].isin(ALGORITHMS)]
    return [
        all_complete(ours),
        _bound(ours),
        _convergence(ours),
        _postcopy_downtime(ours),
        _fault_latency(ours),
        _preempt(ours),
        _hybrid(ours),
        _connections(ours),
        _buffers(ours),
    ]


def _bound(runs: pd.DataFrame) -> Claim:
    key = ["label", "gbits", "rtt_ms", "link.loss", "link.streams", "seed"]
    paths = _over_paths(runs)
    best = paths[paths["algorithm"] == "clairvoyant"].set_index(key)["bytes_sent"]
    least = min(
        float((group.set_index(key)["bytes_sent"] / best).min())
        for _, group in paths.groupby("algorithm")
    )
    return Claim(
        "no algorithm sends fewer bytes than the clairvoyant bound, over whatever path",
        least >= 1 - 1e-9,
        f"least {least:.4f} x the bound",
    )


def _convergence(runs: pd.DataFrame) -> Claim:
    precopy = _converging(runs)
    precopy = precopy[precopy["algorithm"] == "precopy"]
    light, heavy = precopy[precopy["load"] <= 0.7], precopy[precopy["load"] >= 1.4]
    border = precopy[precopy["converged"]].groupby("rtt_ms")["dirtied"].max() * 1e-6
    return Claim(
        "at any distance pre-copy converges up to a dirty rate of 0.7 of what the path carries, "
        "and from 1.4 of it on it does not",
        bool(light["converged"].all() and not heavy["converged"].any() and len(heavy)),
        ", ".join(f"{rtt:g} ms: {rate:g} MB/s" for rtt, rate in border.items()),
    )


def _postcopy_downtime(runs: pd.DataFrame) -> Claim:
    chosen = _converging(runs)
    chosen = chosen[chosen["algorithm"] == "postcopy"]
    by_trip = chosen.groupby("rtt_ms")["downtime_seconds"]
    spread = float((by_trip.max() / by_trip.min()).max())
    return Claim(
        "post-copy's downtime does not depend on the dirty rate, and stays below a second at any "
        "distance",
        spread <= 1 + 1e-9 and bool((by_trip.max() < 1).all()),
        ", ".join(f"{rtt:g} ms: {1e3 * most:.3g} ms" for rtt, most in by_trip.max().items()),
    )


def _faulted(runs: pd.DataFrame, label_end: str = "") -> pd.DataFrame:
    """Return post-copy over one loss-free connection, where it faulted."""
    labels = [label + label_end for label in GUESTS]
    chosen = runs[(runs["algorithm"] == "postcopy") & runs["label"].isin(labels)]
    chosen = chosen[(chosen["link.loss"] == 0) & (chosen["link.streams"] == 1)]
    return chosen[chosen["faults"] > 0]


def _fault_latency(runs: pd.DataFrame) -> Claim:
    post = _faulted(runs)
    post = post[post["rtt_ms"] >= 10]
    trips = post["fault_mean_seconds"] / post["link.rtt"]
    lost = post[post["rtt_ms"] == post["rtt_ms"].max()]["lost_seconds"]
    return Claim(
        "from 10 ms on demanded pages take 0.75 to 2 round trips with a connection of their own: "
        "distance is what post-copy's guest pays for",
        bool(((trips >= 0.75) & (trips <= 2)).all()),
        f"{trips.min():.2f} to {trips.max():.2f} round trips; at {post['rtt_ms'].max():g} ms the "
        f"guest loses {lost.min():.0f} to {lost.max():.0f} s",
    )


def _preempt(runs: pd.DataFrame) -> Claim:
    key = ["gbits", "rtt_ms", "seed"]
    ratios = []
    for label in GUESTS:
        own = _faulted(runs[runs["label"] == label]).set_index(key)["fault_mean_seconds"]
        shared = _faulted(runs[runs["label"] == f"{label}, one connection"], ", one connection")
        ratios.append(shared.set_index(key)["fault_mean_seconds"] / own)
    near = [ratio[ratio.index.get_level_values("rtt_ms") <= 1] for ratio in ratios]
    low, high = min(r.min() for r in near), max(r.max() for r in near)
    return Claim(
        "behind the bulk data of one connection a fault takes at least 1.5 times as long up to "
        "1 ms, and at no distance more than 5 % shorter than with a connection of its own",
        bool(low >= 1.5 and all((ratio >= 0.95).all() for ratio in ratios)),
        f"{low:.1f} to {high:.1f} times the latency up to 1 ms, at least "
        f"{min(ratio.min() for ratio in ratios):.3f} times anywhere",
    )


def _hybrid(runs: pd.DataFrame) -> Claim:
    paths = _over_paths(runs)
    paths = paths[(paths["link.loss"] == 0) & (paths["link.streams"] == 1)]
    stalls = paths.set_index(["gbits", "label", "rtt_ms", "seed"]).sort_index()
    post = stalls[stalls["algorithm"] == "postcopy"]["stalled_seconds"]
    hybrid = stalls[stalls["algorithm"] == "hybrid"]["stalled_seconds"]
    spared = {
        rtt: paired_difference(post.xs(rtt, level="rtt_ms"), hybrid.xs(rtt, level="rtt_ms"))
        for rtt in sorted(paths["rtt_ms"].unique())
    }
    return Claim(
        "one round of pre-copy before the switch shortens post-copy's stalls at any distance",
        all(saved.mean > 0 for saved in spared.values()),
        ", ".join(f"{rtt:g} ms: {saved.mean:.2g} s less" for rtt, saved in spared.items()),
    )


def _connections(runs: pd.DataFrame) -> Claim:
    paths = _over_paths(runs)
    far = paths[(paths["algorithm"] == "stop_and_copy") & (paths["rtt_ms"] >= 30)]
    mean = far.groupby(["gbits", "rtt_ms", "link.loss", "link.streams"])["total_seconds"].mean()
    gain = (mean.xs(1, level="link.streams") / mean.xs(8, level="link.streams")).unstack()
    lossy, clean = gain[LOSS], gain[0.0]
    return Claim(
        "from 30 ms on eight connections copy at least three times as fast as one where one packet "
        "in 10,000 is lost",
        bool((lossy >= 3).all()),
        f"{lossy.min():.1f} to {lossy.max():.1f} times; without loss {clean.min():.1f} to "
        f"{clean.max():.1f}",
    )


def _buffers(runs: pd.DataFrame) -> Claim:
    key = ["gbits", "rtt_ms"]
    chosen = runs[(runs["algorithm"] == "stop_and_copy") & (runs["link.loss"] == 0)]
    chosen = chosen[(chosen["link.streams"] == 1) & ~chosen["label"].str.startswith("dirties")]
    large = chosen["label"].str.endswith("64 MiB buffers")
    times = [part.groupby(key)["total_seconds"].mean() for part in (chosen[~large], chosen[large])]
    cost = times[0] / times[1]
    far = cost[cost.index.get_level_values("rtt_ms") >= 100]
    near = cost[cost.index.get_level_values("rtt_ms") <= 1]
    return Claim(
        "Linux's default buffers cost nothing up to 1 ms, and from 100 ms on at least half of the "
        "speed that 64 MiB give",
        bool((near <= 1.01).all() and (far >= 2).all()),
        ", ".join(f"{rtt:g} ms at {rate:g} Gbit/s: {x:.1f} x" for (rate, rtt), x in cost.items()
                  if rtt >= 10),
    )  # fmt: skip


# ---- the figure ---------------------------------------------------------------------------------


def figure(results: pd.DataFrame) -> Figure:
    """Return total time and downtime against the round trip, a row for each kind of path."""
    runs = _over_paths(_prepared(results))
    runs = runs[runs["label"] == runs["label"].iloc[-1]]
    columns = []
    key = ["algorithm", "rtt_ms", "link.loss", "link.streams", "seed"]
    for gbits in sorted(runs["gbits"].unique()):
        part = runs[runs["gbits"] == gbits].set_index(key)
        for name in ("total_seconds", "downtime_seconds"):
            columns.append(part[name].rename(f"{name} {gbits:g}"))
    table = columns[0].to_frame().join(columns[1:]).reset_index()
    table["path"] = [
        f"{streams} connection{'s' * (streams > 1)}" + (f"\nloss {loss:g}" if loss else "")
        for streams, loss in zip(table["link.streams"], table["link.loss"], strict=True)
    ]
    panels = [
        Panel(f"{name} {gbits:g}", f"{title} at {gbits:g} Gbit/s (s)", log=True)
        for name, title in (("total_seconds", "total time"), ("downtime_seconds", "downtime"))
        for gbits in sorted(runs["gbits"].unique())
    ]
    return line_panels(
        table.sort_values(["link.loss", "link.streams"], kind="stable"),
        panels,
        x="rtt_ms",
        x_title="round trip (ms)",
        rows="path",
        title=f"Migrating a 1 GiB guest over distance ({runs['label'].iloc[0]})",
    )
