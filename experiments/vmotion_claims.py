"""What do the claims of VMware's first product page for vMotion amount to?

The page (VMware VMotion, product datasheet, about 2004 to 2007) said: less than two seconds on a
Gigabit Ethernet network; memory transactions tracked in a bitmap, which is copied at the
switch-over; network identity and connections preserved; users do not notice. Later texts add
long-distance vMotion up to a round trip of 150 ms. Four parts, told apart by the label:

- ``gigabit`` and ``borders``: memory, share of zero pages, working set and dirty rate over Gigabit
  Ethernet, with several algorithms and with vMotion alone;
- ``distance``: 5, 10 and 100 ms, buffers, loss, congestion control, one and four connections;
- ``switch-over``: the last pages copied in the pause, or the bitmap and the pages on demand;
- what a TCP client waits, computed from all downtimes (`migsim.network.client`).

Guests write and do not read, so post-copy's stalls are a lower bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migsim.experiment import Claim, Plan, all_complete, with_lost_time
from migsim.network.announcing import announced
from migsim.network.client import Client, Traffic
from migsim.plotting import look_of, use_style
from migsim.units import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim import Task

ALGORITHMS = ("stop_and_copy", "precopy", "vmotion", "hybrid", "postcopy", "clairvoyant")
MEMORIES = (
    "64MiB", "128MiB", "192MiB", "256MiB", "512MiB", "1GiB", "2GiB", "4GiB", "8GiB", "16GiB",
)  # fmt: skip
DIRTY_RATES = (1, 10, 30, 100, 300)
KINDS = {"no zero pages, 10 %": (0.0, 0.1), "90 % zero, 10 %": (0.9, 0.1),
         "90 % zero, all": (0.9, 1.0)}  # fmt: skip
"""Share of zero pages, and working set as a share of the other pages."""
SHARED_MEMORIES = ("64MiB", "192MiB", "512MiB", "2GiB", "16GiB")
SHARED_RATES = (10, 100)
ROUND_TRIPS_MS = (5, 10, 100)
BUFFERS = ("default", "4MiB", "16MiB", "64MiB")
LOSSES = (0.0, 1e-5, 1e-4)
CLAIMED_SECONDS = 2.0
NOTICED_SECONDS = 1.0
LINE = 125e6 * 1448 / 1538 * 4096 / 4104
"""Bytes of pages per second over Gigabit Ethernet: less the headers of packets and pages."""
NEAR, FAR = Client(rtt=0.0002), Client(rtt=0.1)
"""Clients that send a request at the worst moment, on the guest's LAN and far away."""


# ---- what is run --------------------------------------------------------------------------------


def tasks(plan: Plan) -> list[Task]:
    """Return the migrations of the three parts that need any."""
    listed: list[Task] = []
    for seed in range(plan.seeds):
        listed += _gigabit(plan, seed) + _distance(plan.quick, seed) + _switch(plan.quick, seed)
    return listed


def _gigabit(plan: Plan, seed: int) -> list[Task]:
    listed = []
    for kind, shares in KINDS.items():
        for memory in ("64MiB", "192MiB", "512MiB", "2GiB") if plan.quick else MEMORIES:
            for rate in (*SHARED_RATES, 300) if plan.quick else DIRTY_RATES:
                shared = kind != "90 % zero, all" and rate in SHARED_RATES
                shared = shared and memory in SHARED_MEMORIES
                part = "gigabit" if shared else "borders"
                algorithms = (*ALGORITHMS, *plan.algorithms) if shared else ("vmotion",)
                label = f"{part}: {memory}, {kind}, {rate} MB/s"
                listed += [
                    _task(name, label, memory, *shares, rate, "gigabit", {}, seed)
                    for name in algorithms
                ]
    return listed


def _distance(quick: bool, seed: int) -> list[Task]:
    listed = []
    for rtt in (10, 100) if quick else ROUND_TRIPS_MS:
        for buffer in ("default", "64MiB") if quick else BUFFERS:
            size: dict[str, Any] = (
                {} if buffer == "default" else dict.fromkeys(_BUFFER_NAMES, buffer)
            )
            for control in ("cubic", "bbr"):
                for loss in (0.0, 1e-4) if quick else LOSSES:
                    for streams in (1, 4):
                        link = {"rate": "1Gbit/s", "rtt": f"{rtt}ms", "congestion": control,
                                "loss": loss, "streams": streams, **size}  # fmt: skip
                        label = f"distance: {control}, {buffer}"
                        listed.append(
                            _task("vmotion", label, "1GiB", 0.0, 0.25, 30, "custom", link, seed)
                        )
    return listed


_BUFFER_NAMES = ("send_buffer", "receive_buffer")


def _switch(quick: bool, seed: int) -> list[Task]:
    far = dict.fromkeys(_BUFFER_NAMES, "64MiB")
    return [
        _task(name, f"switch-over: {rate} MB/s", "1GiB", 0.0, 0.25, rate, *link, seed, **arguments)
        for link in (("gigabit", {}), ("long_distance", far))
        for rate in (SHARED_RATES if quick else DIRTY_RATES)
        for name, arguments in (
            ("vmotion", {"quick_resume": False}), ("vmotion", {"quick_resume": True}),
            ("precopy", {}), ("hybrid", {}),
        )
    ]  # fmt: skip


def _task(
    algorithm: str, label: str, memory: str, zero: float, share: float, rate: int, link: str,
    link_args: dict[str, Any], seed: int, **algorithm_args: Any,
) -> Task:  # fmt: skip
    from migsim import Task

    pages = int(parse(memory, "size")) // 4096
    written = max(1, round(share * (pages - round(zero * pages))))
    return Task(
        algorithm=algorithm, algorithm_args=algorithm_args,
        workload="uniform",
        workload_args={"rate": f"{rate}MB/s", "working_set": 4096 * written},
        link=link, link_args=link_args, memory=memory, vm_args={"zero_fraction": zero},
        seed=seed, label=label,
    )  # fmt: skip


# ---- parts of the results -----------------------------------------------------------------------


def _prepared(results: pd.DataFrame) -> pd.DataFrame:
    """Return our rows with the part they belong to, and what the parts look at."""
    runs = with_lost_time(results[results["algorithm"].isin(ALGORITHMS)])
    content = runs["vm.memory"] * (1.0 - runs["vm.zero_fraction"])
    return runs.assign(
        part=runs["label"].str.partition(":")[0],
        kind=runs["label"].str.extract(r": [^,]*, (.*), [0-9]+ MB/s$")[0],
        content=content,
        dirtied=(runs["workload.rate"] * runs["vm.page_size"] * 1e-6).round(),
        narrow=runs["workload.working_set"] < 0.5 * content,
        rtt_ms=(1e3 * runs["link.rtt"]).round(6),
        buffer=runs["label"].str.rpartition(", ")[2],
        share=runs["downtime_seconds"] / runs["total_seconds"].clip(lower=1e-9),
        wait=runs["downtime_seconds"].map(NEAR.worst),
        way=runs["algorithm"].where(
            runs["algorithm.quick_resume"].astype(str) != "True", "vmotion, bitmap"
        ),
    )


def _grid(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["part"].isin(["gigabit", "borders"])]


def _alone(runs: pd.DataFrame) -> pd.DataFrame:
    grid = _grid(runs)
    return grid[grid["algorithm"] == "vmotion"]


def _mib(bytes_: float) -> str:
    return f"{bytes_ / 2**20:.0f} MiB" if bytes_ < 2**30 else f"{bytes_ / 2**30:g} GiB"


def _span(values: pd.Series, unit: str, scale: float = 1.0) -> str:
    return f"{values.min() * scale:.3g} to {values.max() * scale:.3g} {unit}"


# ---- claims -------------------------------------------------------------------------------------


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what is true of the page's claims, and what is not."""
    runs = _prepared(results)
    return [
        all_complete(runs),
        _two_seconds(runs), _zero_pages(runs), _line(runs), _downtime_share(runs), _stun(runs),
        _buffers(runs), _loss(runs), _far_downtime(runs),
        _bitmap(runs), _early_switch(runs),
        _unnoticed(runs), _noticed(runs), _survival(runs), _postcopy_clients(runs),
    ]  # fmt: skip


def _two_seconds(runs: pd.DataFrame) -> Claim:
    grid = _grid(runs)[lambda table: table["narrow"]]
    small = grid[grid["content"] <= 192 * 2**20]["total_seconds"]
    large = grid[grid["content"] >= 256 * 2**20]["total_seconds"]
    return Claim(
        "over Gigabit Ethernet a guest with up to 192 MiB that are not zero, a tenth of which it "
        "writes to, takes less than two seconds by any algorithm, and none with 256 MiB does",
        bool((small < CLAIMED_SECONDS).all() and (large >= CLAIMED_SECONDS).all()),
        f"{_span(small, 's')} up to 192 MiB, {_span(large, 's')} from 256 MiB on",
    )


def _zero_pages(runs: pd.DataFrame) -> Claim:
    chosen = _alone(runs)[lambda table: table["kind"] == "90 % zero, 10 %"]
    chosen = chosen[chosen["vm.memory"] == 2 * 2**30]
    calm = chosen[chosen["dirtied"] <= 10]["total_seconds"]
    busy = chosen[chosen["dirtied"] >= 30]["total_seconds"]
    return Claim(
        "a guest of 2 GiB of which nine pages of ten are zero takes less than two seconds by "
        "vMotion if it dirties up to 10 MB/s, and longer from 30 MB/s on",
        bool((calm < CLAIMED_SECONDS).all() and (busy >= CLAIMED_SECONDS).all()),
        f"{_span(calm, 's')}; {_span(busy, 's')}",
    )


def _line(runs: pd.DataFrame) -> Claim:
    least = (_grid(runs)["total_seconds"] / (_grid(runs)["content"] / LINE)).min()
    return Claim(
        "nothing takes less than the time of its pages that are not zero on the line, so that two "
        "seconds end at 224 MiB of them whatever the algorithm",
        bool(least >= 1.0) and 223 < CLAIMED_SECONDS * LINE / 2**20 < 225,
        f"at least {least:.3f} times that; two seconds carry {CLAIMED_SECONDS * LINE / 2**20:.0f} "
        "MiB of pages",
    )


def _downtime_share(runs: pd.DataFrame) -> Claim:
    chosen = _alone(runs)[lambda table: table["total_seconds"] < CLAIMED_SECONDS]
    narrow, wide = chosen[chosen["narrow"]], chosen[~chosen["narrow"]]
    return Claim(
        "of vMotion's migrations that take less than two seconds less than a quarter is downtime "
        "where a tenth is written to, up to three fifths where all is, and at most half a second",
        bool((narrow["share"] < 0.25).all() and (wide["share"] < 0.6).all())
        and len(narrow) > 0 and bool((chosen["downtime_seconds"] <= 0.5).all()),
        f"{_span(narrow['share'], '%', 100)} and {_span(wide['share'], '%', 100)}; at most "
        f"{chosen['downtime_seconds'].max():.2f} s",
    )  # fmt: skip


def _stun(runs: pd.DataFrame) -> Claim:
    chosen = _alone(runs)
    chosen = chosen[(chosen["dirtied"] == 300) & (chosen["content"] >= 2 * 2**30)]
    ratio = chosen["throttled_seconds"] / chosen["downtime_seconds"].clip(lower=1e-9)
    most = _alone(runs)["downtime_seconds"].max()
    return Claim(
        "vMotion's downtime stays below 0.6 s however much is dirtied, because the guest is "
        "slowed: at 300 MB/s one of 2 GiB or more loses over five times as long to the stun",
        bool((ratio >= 5).all() and most < 0.6) and len(chosen) > 0,
        f"at most {most:.2f} s of downtime; {_span(chosen['throttled_seconds'], 's')} of stun, "
        f"{_span(ratio, 'times the downtime')}",
    )


def _means(runs: pd.DataFrame) -> pd.Series:
    """Return vMotion's mean total times over distance."""
    key = ["link.congestion", "link.streams", "buffer", "link.loss", "rtt_ms"]
    return runs[runs["part"] == "distance"].groupby(key)["total_seconds"].mean()


def _buffers(runs: pd.DataFrame) -> Claim:
    clean = _means(runs).xs(0.0, level="link.loss").unstack("rtt_ms")
    cost = clean[100.0] / clean[10.0]
    default = cost.xs("default", level="buffer")
    large = cost.xs("64MiB", level="buffer")
    one, four = default.xs(1, level="link.streams"), default.xs(4, level="link.streams")
    return Claim(
        "without loss 100 ms instead of 10 ms take over four times as long with one connection and "
        "Linux's buffers, and at most a quarter longer with buffers of 64 MiB or four connections",
        bool((one > 4).all() and (four < 1.25).all() and (large < 1.25).all()),
        f"{_span(one, 'times')} against {_span(large, 'times')} with 64 MiB and "
        f"{_span(four, 'times')} with four connections",
    )


def _loss(runs: pd.DataFrame) -> Claim:
    far = _means(runs).xs(100.0, level="rtt_ms").unstack("link.loss")
    cost = far[1e-4] / far[0.0]
    large = cost.xs("64MiB", level="buffer")
    cubic, bbr = large["cubic"], large["bbr"]
    return Claim(
        "at 100 ms one lost packet in 10,000 makes CUBIC's migrations over eight times as long "
        "whatever the buffers, over four connections too; BBR's at most a tenth longer",
        bool((cost["cubic"].loc[[1]] > 8).all() and (cubic > 8).all() and (bbr < 1.1).all()),
        f"64 MiB: {cubic[1]:.3g} times over one connection, {cubic[4]:.3g} over four; BBR "
        f"{_span(bbr, 'times')}",
    )


def _far_downtime(runs: pd.DataFrame) -> Claim:
    far = runs[runs["part"] == "distance"]
    lossless = far[far["link.loss"] == 0]["downtime_seconds"]
    return Claim(
        "distance does not lengthen vMotion's downtime beyond a second where nothing is lost",
        bool((lossless < 1).all() and lossless.min() > 0.2),
        f"{_span(lossless, 's')} without loss, {_span(far['downtime_seconds'], 's')} with",
    )


def _ways(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a measurement by round trip and dirty rate, a column for each way to switch."""
    chosen = runs[runs["part"] == "switch-over"]
    return chosen.groupby(["rtt_ms", "dirtied", "way"])[column].mean().unstack("way")


def _bitmap(runs: pd.DataFrame) -> Claim:
    pause, lost = _ways(runs, "downtime_seconds"), _ways(runs, "lost_seconds")
    stalled = _ways(runs, "stalled_seconds")["vmotion, bitmap"]
    saved = pause["vmotion"] - pause["vmotion, bitmap"]
    spared = lost["vmotion"] - lost["vmotion, bitmap"]
    return Claim(
        "copying the bitmap instead of the last pages makes vMotion's downtime independent of the "
        "dirty rate, 20 ms on a LAN and 70 ms at 100 ms at most, and the guest's stalls take no "
        "more than it saves",
        bool((pause["vmotion, bitmap"] < pause.index.get_level_values("rtt_ms").map(
            lambda rtt: 0.02 if rtt < 1 else 0.07)).all() and (spared >= 0).all()),
        f"saves {_span(saved, 'ms', 1e3)} of downtime for {_span(stalled, 'ms', 1e3)} of stalls; "
        f"{_span(spared, 'ms', 1e3)} less is lost",
    )  # fmt: skip


def _early_switch(runs: pd.DataFrame) -> Claim:
    lost = _ways(runs, "lost_seconds")
    rates = lost.index.get_level_values("dirtied")
    cost = (lost["hybrid"] / lost["precopy"])[(rates >= 10) & (rates <= 100)]
    return Claim(
        "switching over with the bitmap after a single round costs a guest of 10 to 100 MB/s at "
        "least 1.5 times the time that pre-copy takes from it",
        bool((cost > 1.5).all()),
        _span(cost, "times"),
    )


def _unnoticed(runs: pd.DataFrame) -> Claim:
    chosen = _alone(runs)
    far = chosen["downtime_seconds"].map(FAR.worst)
    upload = chosen["downtime_seconds"].map(Client(traffic="upload", rtt=NEAR.rtt).gap)
    waits = (chosen["wait"], far, upload)
    return Claim(
        "a request to a guest under vMotion over Gigabit Ethernet, from the LAN or from 100 ms, "
        "waits less than a second whenever it is sent, and so does an upload from the LAN, if the "
        "guest is announced at once and no page is missing",
        all(bool((wait < NOTICED_SECONDS).all()) for wait in waits),
        f"downtime up to {chosen['downtime_seconds'].max():.2f} s; {_span(chosen['wait'], 's')} on "
        f"a LAN, {_span(far, 's')} from 100 ms, uploads {_span(upload, 's')}",
    )


def _noticed(runs: pd.DataFrame) -> Claim:
    chosen = _alone(runs)["downtime_seconds"]
    late = (chosen + announced(3)).map(NEAR.worst)
    border = NEAR.longest_within(NOTICED_SECONDS)
    over = (late >= NOTICED_SECONDS) == (chosen + announced(3) > border)
    return Claim(
        "a request waits for the next retransmission, up to twice the absence, so that a second "
        "ends at an absence of 0.8 s on a LAN; with three announcements lost many wait longer",
        bool(over.all() and (late >= NOTICED_SECONDS).mean() > 0.1) and 0.79 < border < 0.81,
        f"{100 * (late >= NOTICED_SECONDS).mean():.0f} % of the guests, up to {late.max():.2f} s",
    )


def _survival(runs: pd.DataFrame) -> Claim:
    paused = _grid(runs)
    few = Client(rtt=NEAR.rtt, retries=5)
    lost = paused[~paused["downtime_seconds"].map(few.survives)]
    others = paused[paused["algorithm"] != "stop_and_copy"]["downtime_seconds"]
    return Claim(
        "an open connection survives every migration under Linux; where TCP gives up after five "
        "retransmissions only stop-and-copy breaks it, from pauses of 6.4 s on",
        bool(paused["downtime_seconds"].map(NEAR.survives).all())
        and set(lost["algorithm"]) == {"stop_and_copy"} and 6.3 < few.longest < 6.5,
        f"Linux: up to {NEAR.longest:.0f} s; five: {few.longest:.1f} s; paused for up to "
        f"{paused['downtime_seconds'].max():.0f} s, by others {others.max():.2f} s",
    )  # fmt: skip


def _postcopy_clients(runs: pd.DataFrame) -> Claim:
    post = _grid(runs)[lambda table: table["algorithm"] == "postcopy"]
    heavy = post[(post["content"] >= 2 * 2**30) & (post["dirtied"] == 100)]
    return Claim(
        "post-copy's clients miss one retransmission, 0.2 s, but the guest of 2 GiB that they then "
        "talk to stalls for over a second in all",
        bool((post["wait"] < 0.25).all() and (heavy["stalled_seconds"] > 1).all()),
        f"downtime {_span(post['downtime_seconds'], 'ms', 1e3)}, stalls "
        f"{_span(heavy['stalled_seconds'], 's')}",
    )


# ---- tables and numbers -------------------------------------------------------------------------


def _largest(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the largest memory (MiB) under two seconds, kinds by dirty rates."""
    good = _alone(runs)[lambda table: table["total_seconds"] < CLAIMED_SECONDS]
    largest = good.groupby(["kind", "dirtied"])["vm.memory"].max() / 2**20
    return largest.unstack("dirtied")


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the borders of two seconds, the times over distance, and the borders of clients."""
    import pandas as pd

    runs = _prepared(results)
    borders = _largest(runs).rename(columns=lambda rate: f"{rate:g} MB/s").reset_index()
    far = _means(runs).xs(0.0, level="link.loss").unstack("rtt_ms")
    far.columns = [f"{rtt:g} ms" for rtt in far.columns]
    far.insert(0, "", [f"{control}, {streams} x {size}" for control, streams, size in far.index])
    kinds: dict[Traffic, str] = {
        "requests": "requests",
        "upload": "upload",
        "download": "download (downtime)",
    }
    clients = pd.DataFrame(
        [
            {"": title, **{
                f"{1e3 * rtt:g} ms": Client(traffic=name, rtt=rtt).longest_within(NOTICED_SECONDS)
                for rtt in (0.0002, 0.01, 0.1)
            }}
            for name, title in kinds.items()
        ]
    )  # fmt: skip
    return {
        "largest guest (MiB, of those tried) that vMotion moves in two seconds over Gigabit "
        "Ethernet": borders.rename(columns={"kind": ""}),
        "seconds by vMotion over distance, without loss": far.reset_index(drop=True),
        "longest absence (s) in which no client waits a second, by round trip": clients,
    }


def numbers(results: pd.DataFrame) -> dict[str, float]:
    """Return what texts say of the results."""
    runs = _prepared(results)
    alone, cost = _alone(runs), _means(runs)
    quick = alone[alone["total_seconds"] < CLAIMED_SECONDS]
    pause, lost = _ways(runs, "downtime_seconds"), _ways(runs, "lost_seconds")
    near = pause.index.get_level_values("rtt_ms") < 1
    stop = _grid(runs)[lambda table: table["algorithm"] == "stop_and_copy"]
    found: dict[str, float] = {
        "two_seconds_mib": CLAIMED_SECONDS * LINE / 2**20,
        "two_seconds_share": len(quick) / len(alone),
        "greatest_share_narrow": quick[quick["narrow"]]["share"].max(),
        "greatest_share_wide": quick[~quick["narrow"]]["share"].max(),
        "greatest_downtime_seconds": alone["downtime_seconds"].max(),
        "greatest_stun_seconds": alone["throttled_seconds"].max(),
        "greatest_total_seconds": alone["total_seconds"].max(),
        "bitmap_downtime_ms": 1e3 * pause[near]["vmotion, bitmap"].max(),
        "bitmap_far_downtime_ms": 1e3 * pause[~near]["vmotion, bitmap"].max(),
        "pages_downtime_ms": 1e3 * pause[near]["vmotion"].max(),
        "pages_far_downtime_ms": 1e3 * pause[~near]["vmotion"].max(),
        "hybrid_cost": (lost["hybrid"] / lost["precopy"]).max(),
        "near_wait_seconds": alone["wait"].max(),
        "far_wait_seconds": alone["downtime_seconds"].map(FAR.worst).max(),
        "lost_announcements_wait_seconds":
            (alone["downtime_seconds"] + announced(3)).map(NEAR.worst).max(),
        "stop_and_copy_wait_seconds": stop["wait"].max(),
        "longest_unnoticed_seconds": NEAR.longest_within(NOTICED_SECONDS),
        "longest_unnoticed_far_seconds": FAR.longest_within(NOTICED_SECONDS),
        "longest_survived_seconds": NEAR.longest,
    }  # fmt: skip
    for control in ("cubic", "bbr"):
        for streams in (1, 4):
            for size in ("default", "64MiB"):
                for loss, name in ((0.0, "clean"), (1e-4, "lossy")):
                    key = f"{control}_{streams}_{size.lower()}_{name}_seconds"
                    found[key] = cost[(control, streams, size, loss, 100.0)]
    return {name: float(value) for name, value in found.items()}


# ---- figures ------------------------------------------------------------------------------------


def figure(results: pd.DataFrame) -> Figure:
    """Return total time and share of downtime by memory and dirty rate: the border of 2 s."""
    from matplotlib.figure import Figure

    use_style()
    runs = _alone(_prepared(results))
    kinds = [kind for kind in KINDS if kind in set(runs["kind"])]
    drawn = Figure(figsize=(7.0, 1.5 * len(kinds) + 0.7), layout="constrained")
    grid = drawn.subplots(len(kinds), 2, sharex=True, sharey=True, squeeze=False)
    for kind, (left, right) in zip(kinds, grid, strict=True):
        chosen = runs[runs["kind"] == kind]
        total, share = (
            chosen.groupby(["dirtied", "vm.memory"])[name].mean().unstack()
            for name in ("total_seconds", "share")
        )
        _cells(left, total, f"total time (s): {kind} written", (0.05, 2000))
        _cells(right, 100 * share, "of which downtime (%)")
        for axes in (left, right):
            _border(axes, (total < CLAIMED_SECONDS).to_numpy())
        left.set_ylabel("dirtied (MB/s)", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("memory", fontsize=8)
    drawn.suptitle("vMotion over Gigabit Ethernet: two seconds end at the line",
                   fontsize="medium", fontweight="bold")  # fmt: skip
    return drawn


def figures(results: pd.DataFrame) -> dict[str, Figure]:
    """Return a figure for each of the other questions."""
    runs = _prepared(results)
    return {
        "distance": _distance_figure(runs[runs["part"] == "distance"]),
        "switch": _switch_figure(runs[runs["part"] == "switch-over"]),
        "clients": _clients_figure(runs),
    }


def _cells(
    axes: Axes, table: pd.DataFrame, title: str, log: tuple[float, float] | None = None
) -> None:
    """Draw a table as grey cells with their numbers; ``log`` is the range of a logarithmic scale.

    Without it the numbers are percentages.
    """
    import matplotlib as mpl
    from matplotlib.colors import LogNorm, Normalize

    values = table.to_numpy(float)
    norm = LogNorm(*log, clip=True) if log else Normalize(0, 100)
    colours = mpl.colormaps["Greys"]
    axes.pcolormesh(values, cmap=colours, norm=norm, edgecolors="white", linewidth=0.5)
    for i, row in enumerate(values):
        for k, value in enumerate(row):
            text = f"{value:.0f}" if value >= 9.995 or not log else f"{value:.2f}"
            axes.text(k + 0.5, i + 0.5, text, ha="center", va="center", fontsize=6.5,
                      color="white" if norm(value) > 0.55 else "black")  # fmt: skip
    axes.set_title(title, fontsize=8)
    axes.set_yticks([i + 0.5 for i in range(len(table))], [_text(x) for x in table.index])
    axes.set_xticks([k + 0.5 for k in range(len(table.columns))],
                    [_text(x) for x in table.columns])  # fmt: skip
    axes.tick_params(length=0, labelsize=6.5)
    axes.grid(visible=False)


def _text(value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if value < 2**20:
        return f"{value:g}"
    return f"{value / 2**20:.0f}M" if value < 2**30 else f"{value / 2**30:g}G"


def _border(axes: Axes, below: Any) -> None:
    """Draw the line between the cells that are below and those that are not."""
    rows, columns = below.shape
    style: dict[str, Any] = {"color": "#d55e00", "linewidth": 2.0, "solid_capstyle": "round"}
    for i in range(rows):
        for k in range(columns):
            if k + 1 < columns and below[i, k] != below[i, k + 1]:
                axes.plot([k + 1, k + 1], [i, i + 1], **style)
            if i + 1 < rows and below[i, k] != below[i + 1, k]:
                axes.plot([k, k + 1], [i + 1, i + 1], **style)


_LOSS_NAMES = {0.0: "0", 1e-5: "$10^{-5}$", 1e-4: "$10^{-4}$"}


def _distance_figure(runs: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure

    use_style()
    runs = runs.assign(
        path=[
            f"{rtt:g}\n{_LOSS_NAMES[loss]}"
            for rtt, loss in zip(runs["rtt_ms"], runs["link.loss"], strict=True)
        ],
        sockets=[
            f"{streams} x {size.replace('MiB', ' MiB')}"
            for streams, size in zip(runs["link.streams"], runs["buffer"], strict=True)
        ],
    ).sort_values(["rtt_ms", "link.loss"], kind="stable")
    sizes = [size for size in BUFFERS if size in set(runs["buffer"])]
    order = [f"{n} x {size.replace('MiB', ' MiB')}" for n in (4, 1) for size in reversed(sizes)]
    drawn = Figure(figsize=(7.0, 4.6), layout="constrained")
    grid = drawn.subplots(2, 2, sharex=True, sharey=True)
    for column, control in enumerate(("cubic", "bbr")):
        chosen = runs[runs["link.congestion"] == control]
        for row, (name, title, scale) in enumerate(
            (("total_seconds", "total time", (5, 2000)), ("downtime_seconds", "downtime", (0.1, 5)))
        ):
            means = chosen.groupby(["sockets", "path"], sort=False)[name].mean().unstack()
            _cells(grid[row][column], means.loc[order], f"{title} (s), {control.upper()}", scale)
    for axes in grid[:, 0]:
        axes.set_ylabel("connections x buffers", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("round trip (ms), share of packets lost", fontsize=8)
    drawn.suptitle("vMotion of 1 GiB over distance, 1 Gbit/s, 30 MB/s dirtied",
                   fontsize="medium", fontweight="bold")  # fmt: skip
    return drawn


_WAYS = {
    "precopy": ("pre-copy", "precopy", "-"), "vmotion": ("vMotion: last pages", "vmotion", "-"),
    "vmotion, bitmap": ("vMotion: bitmap", "vmotion", ":"), "hybrid": ("hybrid", "hybrid", ":"),
}  # fmt: skip


def _switch_figure(runs: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure

    use_style()
    drawn = Figure(figsize=(7.0, 3.9), layout="constrained")
    trips = sorted(runs["rtt_ms"].unique())
    grid = drawn.subplots(len(trips), 3, sharex=True, sharey=True, squeeze=False)
    panels = {"downtime_seconds": "downtime (s)", "stalled_seconds": "stalled after it (s)",
              "lost_seconds": "guest time lost (s)"}  # fmt: skip
    for rtt, row in zip(trips, grid, strict=True):
        for axes, (column, title) in zip(row, panels.items(), strict=True):
            table = _ways(runs[runs["rtt_ms"] == rtt], column).droplevel("rtt_ms")
            for way, (label, look, line) in _WAYS.items():
                axes.plot(table.index, table[way], line, color=look_of(look).colour, label=label,
                          marker=look_of(look).marker, markersize=4.5,
                          markerfacecolor="white" if line == ":" else None)  # fmt: skip
            axes.set_xscale("log")
            axes.set_yscale("symlog", linthresh=0.01, linscale=0.4)
            axes.set_ylim(0, 10)
            axes.set_yticks([0, 0.01, 0.1, 1, 10], ["0", "0.01", "0.1", "1", "10"])
            axes.set_xticks(table.index, [f"{rate:g}" for rate in table.index])
            axes.minorticks_off()
            axes.tick_params(labelsize=7)
            axes.set_title(f"{title}, {rtt:g} ms", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("dirtied (MB/s)", fontsize=8)
    drawn.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                 frameon=False, fontsize=7.5)  # fmt: skip
    drawn.suptitle("The last pages in the pause, or the bitmap and pages on demand (1 GiB)",
                   fontsize="medium", fontweight="bold")  # fmt: skip
    return drawn


def _clients_figure(runs: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    use_style()
    drawn = Figure(figsize=(7.0, 3.1), layout="constrained")
    left, right = drawn.subplots(1, 2)
    _waits(left)
    shared = runs[(runs["part"] == "gigabit") & (runs["dirtied"] == 100)]
    for name in ALGORITHMS[:-1]:
        chosen = shared[shared["algorithm"] == name].groupby("content")["wait"].mean()
        look = look_of(name)
        right.plot(chosen.index / 2**20, chosen, marker=look.marker, color=look.colour,
                   label=look.label, linewidth=1, markersize=4.5)  # fmt: skip
    right.set_xlabel("memory that is not zero (MiB)", fontsize=8)
    right.set_title("longest wait by algorithm, 100 MB/s, LAN (s)", fontsize=8)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.axhline(NOTICED_SECONDS, color="0.4", linewidth=0.8, linestyle="--")
        axes.tick_params(labelsize=7)
        axes.legend(frameon=False, fontsize=6.5, loc="upper left")
    drawn.suptitle("What a client waits, whose TCP retransmits later and later",
                   fontsize="medium", fontweight="bold")  # fmt: skip
    return drawn


def _waits(axes: Axes) -> None:
    """Draw the wait against the absence: the model, and what Linux did."""
    from migsim.validate.client import recorded

    points = [0.05 * 1.01**i for i in range(500)]
    lines: tuple[tuple[str, str, str, Callable[[float], float]], ...] = (
        ("request, sent as the guest goes", "#0072b2", "-", NEAR.worst),
        ("request, mean over phases", "#0072b2", ":", NEAR.mean),
        ("upload from 100 ms", "#d55e00", "--", Client(traffic="upload", rtt=0.1).gap),
        ("download", "#009e73", "-.", Client(traffic="download", rtt=NEAR.rtt).gap),
    )
    for label, colour, style, wait in lines:
        axes.plot(points, [wait(x) for x in points], style, color=colour, label=label, linewidth=1)
    near = [each for each in recorded() if each.traffic == "requests" and each.path == 0.0]
    axes.plot([each.outage - each.sent for each in near], [each.gap for each in near], ".",
              color="0.2", markersize=3, label="measured requests, Linux 6.18")  # fmt: skip
    axes.set_xlim(0.05, 7)
    axes.set_ylim(0.05, 25)
    axes.set_xlabel("guest away for (s)", fontsize=8)
    axes.set_title("wait of a client (s)", fontsize=8)
