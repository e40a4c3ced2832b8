"""Where does compressing, delta-coding or deduplicating pages pay, and where is it the bottleneck?

Codecs, with one thread and with eight, on six recorded programs, a server's mix of pages and
encrypted pages, over 1, 10 and 25 Gbit/s. Everything is compared with pre-copy of raw pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from migsim.experiment import Claim, Plan, all_complete
from migsim.plotting import Panel, heat_panels, look_of
from migsim.sweep import Guests, algorithm_axis, axis, guest_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from migsim import Task

LINKS = ("gigabit", "10g", "25g")


class Codec(NamedTuple):
    """An algorithm with those parameters that make it one line of this comparison."""

    algorithm: str
    args: dict[str, Any]
    threads: int = 1


RAW, DELTA, XBZRLE, DEDUP = "raw pages", "delta", "XBZRLE (QEMU)", "dedup"
ADAPTIVE, MULTIFD = "adaptive, 8 threads", "multifd zstd, 8 channels"


def _compressed(codec: str, threads: int) -> Codec:
    return Codec("compressed", {"codec": f"{codec}(threads={threads})"}, threads)


CODECS = {
    RAW: Codec("precopy", {}),
    DELTA: Codec("delta", {"compressor": "none"}),
    "delta with zstd": Codec("delta", {"compressor": "zstd"}),
    XBZRLE: Codec("xbzrle", {}),
    DEDUP: Codec("dedup", {}),
    "lz4, 1 thread": _compressed("lz4", 1),
    "lz4, 8 threads": _compressed("lz4", 8),
    "zstd-1, 1 thread": _compressed("zstd", 1),
    "zstd-1, 8 threads": _compressed("zstd", 8),
    "zlib-1, 1 thread": _compressed("zlib", 1),
    "zlib-1, 8 threads": _compressed("zlib", 8),
    MULTIFD: Codec("multifd", {"channels": 8, "compression": "zstd"}, 8),
    ADAPTIVE: Codec("adaptive_compression", {"threads": 8}, 8),
}
ALGORITHMS = tuple(dict.fromkeys(codec.algorithm for codec in CODECS.values()))
COMPRESSORS = tuple(
    name
    for name, codec in CODECS.items()
    if codec.algorithm in ("compressed", "multifd", "adaptive_compression")
)
ONE_THREAD = tuple(name for name in COMPRESSORS if CODECS[name].threads == 1)
EIGHT_THREADS = tuple(name for name in COMPRESSORS if CODECS[name].threads == 8)

_HOT: dict[str, Any] = {"working_set": "512MiB", "rate": "100MB/s"}
ENCRYPTED = "encrypted"
GUESTS: Guests = {
    "Redis": ("trace", {"file": "redis"}),
    "SQLite": ("trace", {"file": "sqlite"}),
    "Java": ("trace", {"file": "java"}),
    "C++ compiler": ("trace", {"file": "cc1"}),
    "NumPy": ("trace", {"file": "numpy"}),
    "idle shell": ("trace", {"file": "idle"}),
    "server mix": ("hotcold", _HOT),
    # Who encrypts its memory writes whole pages of new random bytes, and no two are equal.
    ENCRYPTED: ("hotcold", {**_HOT, "content": "encrypted", "write_bytes": "4KiB",
                            "duplicate_fraction": 0}),
}  # fmt: skip
REWRITERS = ("NumPy", ENCRYPTED)
"""Guests that write whole pages anew."""

QUICK = ("Redis", "C++ compiler", ENCRYPTED)


def tasks(plan: Plan) -> list[Task]:
    """Return every codec on every guest of 1 GiB over every link."""
    others = [Codec(name, {}) for name in plan.algorithms]
    codecs = algorithm_axis((name, args) for name, args, _ in (*CODECS.values(), *others))
    guests = {label: GUESTS[label] for label in GUESTS if label in QUICK or not plan.quick}
    grid = guest_axis(guests) * axis("link", LINKS) * axis("seed", range(plan.seeds))
    return (grid * codecs).tasks(memory="1GiB")


# ---- what the results come to --------------------------------------------------------------------


def _codec_names(results: pd.DataFrame) -> pd.Series:
    """Return the name of each migration's codec; a user's algorithm keeps its own."""
    algorithms = list(results["algorithm"].unique())
    names = results["algorithm"].map(lambda name: look_of(name, algorithms).short)
    for name, codec in CODECS.items():
        same = results["algorithm"] == codec.algorithm
        for key, value in codec.args.items():
            same &= results[f"algorithm.{key}"] == value
        names = names.mask(same, name)
    return names


def _prepared(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results with codecs, and with each measurement over that of raw pages."""
    import pandas as pd

    runs = results.assign(
        codec=_codec_names(results),
        speed=[f"{8e-9 * rate:g} Gbit/s" for rate in results["link.rate"]],
        busy=results["cpu_seconds"] / results["total_seconds"],
    )
    key = ["label", "link", "seed"]
    raw = runs[runs["codec"] == RAW].set_index(key)
    place = pd.MultiIndex.from_frame(runs[key])

    def of_raw(column: str) -> Any:
        return raw[column].reindex(place).to_numpy()

    return runs.assign(
        time_ratio=runs["total_seconds"] / of_raw("total_seconds"),
        downtime_ratio=runs["downtime_seconds"] / of_raw("downtime_seconds"),
        bytes_ratio=runs["bytes_sent"] / of_raw("bytes_sent"),
        link_seconds=runs["bytes_sent"] / of_raw("bytes_sent") * of_raw("total_seconds"),
        thread_seconds=runs["cpu_seconds"]
        / runs["codec"].map(lambda name: CODECS[name].threads if name in CODECS else 1),
        raw_rounds=of_raw("rounds"),
        thread_gbits=8e-9 * runs["pages_sent"] * runs["vm.page_size"] / runs["cpu_seconds"],
    )


def _chosen(runs: pd.DataFrame, codecs: tuple[str, ...], *links: str) -> pd.DataFrame:
    """Return the migrations with some codecs over some links, or over all."""
    return runs[runs["codec"].isin(codecs) & runs["link"].isin(links or LINKS)]


def _recorded(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["workload"] == "trace"]


def _compressible(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["label"] != ENCRYPTED]


def _over_links(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the medians over recorded guests and seeds, codecs by links."""
    runs = _recorded(runs)
    medians = runs.groupby(["codec", "speed"], sort=False)[column].median().unstack()
    speeds = list(dict.fromkeys(runs["speed"]))
    return medians.loc[list(dict.fromkeys(runs["codec"])), speeds].reset_index(names="")


def _thread_speeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what one thread of each compressor takes in, by guest.

    Over 10 Gbit/s, where most of what is sent are first copies: how much is sent again, and thus
    what the average page is, depends on the link.
    """
    runs = _chosen(runs, (DEDUP, *ONE_THREAD, ADAPTIVE), "10g")
    means = runs.groupby(["codec", "label"], sort=False)["thread_gbits"].mean().unstack()
    names = [name for name in CODECS if name in means.index]
    table = means.loc[names, list(dict.fromkeys(runs["label"]))]
    table.index = [name.partition(",")[0] for name in names]
    return table.reset_index(names="")


def tables(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return medians over the recorded guests by codec and link, and the speed of one thread."""
    runs = _prepared(results)
    over = "median of recorded guests"
    return {
        f"total time / raw, {over}": _over_links(runs, "time_ratio"),
        f"downtime / raw, {over}": _over_links(runs, "downtime_ratio"),
        f"bytes sent / raw, {over}": _over_links(runs, "bytes_ratio"),
        f"CPU seconds of the encoder, {over}": _over_links(runs, "cpu_seconds"),
        "pages that one thread encodes (Gbit/s)": _thread_speeds(runs),
    }


# ---- claims -------------------------------------------------------------------------------------


def claims(results: pd.DataFrame) -> list[Claim]:
    """Return what the results must bear out."""
    ours = results[results["algorithm"].isin(ALGORITHMS)]
    runs = _prepared(ours)
    return [
        all_complete(ours),
        _slower_of_two(runs),
        _gigabit(runs),
        _threads_at_a_gigabit(runs),
        _break_even(runs),
        _one_thread_at_25(runs),
        _eight_threads_at_25(runs),
        _zlib(runs),
        _dedup(runs),
        _encrypted(runs),
        _delta_by_guest(runs),
        _delta_bottleneck(runs),
        _xbzrle(runs),
        _svard(runs),
        _mecom(runs),
    ]


def _span(values: pd.Series) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def _slower_of_two(runs: pd.DataFrame) -> Claim:
    chosen = _chosen(runs, COMPRESSORS)
    bound = chosen[["thread_seconds", "link_seconds"]].max(axis=1)
    over = chosen["total_seconds"] / bound
    return Claim(
        "compression takes as long as the slower of its threads and the link, and at most a "
        "quarter more where both hold it up in turn",
        bool((over >= 0.99).all() and (over <= 1.25).all()),
        f"{_span(over)} times, median {over.median():.3f}, of {len(over)} migrations",
    )


def _gigabit(runs: pd.DataFrame) -> Claim:
    ratio = _compressible(_chosen(runs, EIGHT_THREADS, "gigabit")).groupby("label", sort=False)
    most = ratio["time_ratio"].max()
    return Claim(
        "at 1 Gbit/s every compressor with eight threads shortens the migration of every guest "
        "that is not encrypted by at least a tenth",
        bool((most <= 0.9).all()),
        "at most " + ", ".join(f"{label} {value:.2f}" for label, value in most.items())
        + " of the time of raw pages",
    )  # fmt: skip


def _threads_at_a_gigabit(runs: pd.DataFrame) -> Claim:
    key = ["label", "seed"]
    gains = {
        name: _chosen(runs, (f"{name}, 1 thread",), "gigabit").set_index(key)["total_seconds"]
        / _chosen(runs, (f"{name}, 8 threads",), "gigabit").set_index(key)["total_seconds"]
        for name in ("lz4", "zstd-1", "zlib-1")
    }
    return Claim(
        "at 1 Gbit/s one thread of lz4 or zstd-1 is enough: eight are at most a tenth faster; one "
        "of zlib-1 is not",
        bool((gains["lz4"] <= 1.1).all() and (gains["zstd-1"] <= 1.1).all()
             and _compressible_only(gains["zlib-1"]).min() >= 1.5),
        ", ".join(f"{name} {_span(_compressible_only(gain))} times as fast"
                  for name, gain in gains.items()),
    )  # fmt: skip


def _compressible_only(by_label: pd.Series) -> pd.Series:
    return by_label[by_label.index.get_level_values("label") != ENCRYPTED]


def _break_even(runs: pd.DataFrame) -> Claim:
    names = ("lz4, 1 thread", "zstd-1, 1 thread")
    chosen = _compressible(_chosen(runs, names))
    slow, fast = (chosen[chosen["link"] == link]["time_ratio"] for link in ("gigabit", "10g"))
    speeds = chosen[chosen["link"] == "10g"].groupby("codec")["thread_gbits"]
    return Claim(
        "one thread of lz4 or of zstd-1 pays at 1 Gbit/s and does not at 10: the link rate at "
        "which it breaks even lies between",
        bool((slow < 1).all() and (fast > 1).all()),
        ", ".join(f"{name} encodes {_span(values)} Gbit/s" for name, values in speeds),
    )


def _one_thread_at_25(runs: pd.DataFrame) -> Claim:
    chosen = _compressible(_chosen(runs, ONE_THREAD, "25g"))
    return Claim(
        "at 25 Gbit/s one thread of any compressor makes every migration at least 2.5 times as "
        "long as raw pages, and is busy for at least 97 % of it: the processor is the bottleneck",
        bool((chosen["time_ratio"] >= 2.5).all() and (chosen["busy"] >= 0.97).all()),
        ", ".join(f"{name} {_span(part['time_ratio'])} times"
                  for name, part in chosen.groupby("codec", sort=False))
        + f"; busy for at least {100 * chosen['busy'].min():.1f} %",
    )  # fmt: skip


def _eight_threads_at_25(runs: pd.DataFrame) -> Claim:
    chosen = _compressible(_chosen(runs, ("lz4, 8 threads", "zstd-1, 8 threads"), "25g"))
    lz4, zstd = (part["time_ratio"] for _, part in chosen.groupby("codec"))
    return Claim(
        "with eight threads lz4 shortens every migration even at 25 Gbit/s, by at least a quarter; "
        "zstd-1, which sends less, about breaks even",
        bool((lz4 <= 0.75).all() and (zstd >= 0.8).all() and (zstd <= 1.2).all()),
        f"lz4 {_span(lz4)}, zstd-1 {_span(zstd)} of the time of raw pages",
    )


def _zlib(runs: pd.DataFrame) -> Claim:
    chosen = _chosen(runs, ("zlib-1, 8 threads",), "10g", "25g")
    ratios = chosen.groupby("speed", sort=False)["time_ratio"]
    return Claim(
        "zlib-1 with eight threads, as in QEMU's former compress-threads, makes every migration "
        "longer from 10 Gbit/s on",
        bool((chosen["time_ratio"] > 1.1).all()),
        ", ".join(f"{speed}: {_span(values)} times" for speed, values in ratios),
    )


def _dedup(runs: pd.DataFrame) -> Claim:
    chosen = _compressible(_chosen(runs, (DEDUP,)))
    slow = chosen["link"] == "gigabit"
    ratios, hashing = chosen["time_ratio"], chosen["thread_gbits"]
    return Claim(
        "deduplication shortens migrations at 1 Gbit/s and lengthens them from 10 on, where its "
        "one thread hashes (BLAKE2b) more slowly than the link sends",
        bool((ratios[slow] < 1).all() and (ratios[~slow] > 1).all() and (hashing < 10).all()),
        f"{_span(ratios[slow])} of the time at 1 Gbit/s, {_span(ratios[~slow])} beyond; "
        f"hashes {_span(hashing)} Gbit/s",
    )


def _encrypted(runs: pd.DataFrame) -> Claim:
    chosen = _chosen(runs, COMPRESSORS)
    chosen = chosen[chosen["label"] == ENCRYPTED]
    return Claim(
        "no compressor gains bytes or time where pages are encrypted, and some cost time",
        bool((chosen["bytes_ratio"] >= 0.999).all() and (chosen["time_ratio"] >= 0.999).all()
             and chosen["time_ratio"].max() > 1.1),
        f"{_span(chosen['bytes_ratio'])} times the bytes, "
        f"{_span(chosen['time_ratio'])} times the time of raw pages",
    )  # fmt: skip


def _resent_share(runs: pd.DataFrame) -> pd.Series:
    """Return what a page that is sent again comes to, as a share of a page, by guest."""
    again = runs["pages_sent"] - runs["vm.memory"] // runs["vm.page_size"]
    share = runs["sent_resent"] / (again * runs["vm.page_size"])
    return share.groupby(runs["label"], sort=False).mean()


def _delta_by_guest(runs: pd.DataFrame) -> Claim:
    share = _resent_share(_chosen(runs, (DELTA,), "gigabit"))
    anew = share[share.index.isin(REWRITERS)]
    return Claim(
        "a page that is sent again as a delta comes to at most a tenth of a page on average where "
        "a program changes a few bytes (Redis), and to most of it where pages are written anew "
        "(NumPy, encrypted)",
        bool(share["Redis"] <= 0.1 and (anew >= 0.7).all()),
        "sent again at 1 Gbit/s: "
        + ", ".join(f"{label} {100 * value:.0f} %" for label, value in share.items()),
    )


def _delta_bottleneck(runs: pd.DataFrame) -> Claim:
    # How much longer hangs on what a changed byte costs the encoder, which was measured on pages
    # of 64 runs: many short runs cost more, one long run costs less. That it is longer does not.
    chosen = _chosen(runs, (DELTA,), "10g", "25g")
    chosen = chosen[chosen["label"].isin(REWRITERS)]
    return Claim(
        "where pages are written anew and the link is fast, delta encoding is the bottleneck: from "
        "10 Gbit/s on such guests (NumPy, encrypted) take longer to migrate than with raw pages, "
        "with a longer downtime",
        bool((chosen["time_ratio"] > 1).all() and (chosen["downtime_ratio"] > 1).all()),
        f"{_span(chosen['time_ratio'])} times the time, "
        f"{_span(chosen['downtime_ratio'])} times the downtime",
    )


def _xbzrle(runs: pd.DataFrame) -> Claim:
    chosen = _chosen(runs, (XBZRLE,))
    few = chosen["raw_rounds"] <= 2
    share = chosen["bytes_ratio"]
    return Claim(
        "XBZRLE by QEMU's rules saves at most 2 % of the bytes where pre-copy takes one round or "
        "two, which it does from 10 Gbit/s on; only many rounds give it something to gain",
        bool((share[few] >= 0.98).all() and few[chosen["link"] != "gigabit"].all()
             and share[~few].min() <= 0.9),
        f"{_span(share[few])} of the bytes of raw pages in {few.sum()} migrations of few rounds, "
        f"{_span(share[~few])} in {(~few).sum()} others",
    )  # fmt: skip


def _svard(runs: pd.DataFrame) -> Claim:
    chosen = _recorded(_chosen(runs, (DELTA,), "gigabit"))
    stuck = chosen[chosen["raw_rounds"] >= chosen["algorithm.max_rounds"]]
    converged = stuck["rounds"] < stuck["algorithm.max_rounds"]
    freed, rest = stuck[converged], set(stuck[~converged]["label"])
    return Claim(
        "at 1 Gbit/s delta compression makes every guest converge that takes all rounds of "
        "pre-copy, with a downtime at most half as long, as Svärd et al. (VEE 2011) report; but "
        "not one that writes its pages anew (NumPy)",
        bool(len(freed) and (freed["downtime_ratio"] <= 0.5).all() and rest <= {"NumPy"}),
        f"{len(freed)} of {len(stuck)} migrations, {', '.join(sorted(set(freed['label'])))}: "
        f"{freed['rounds'].max():.0f} rounds at most, {_span(freed['downtime_ratio'])} of the "
        f"downtime, {_span(freed['time_ratio'])} of the time; not: "
        f"{', '.join(sorted(rest)) or 'none'}",
    )


def _mecom(runs: pd.DataFrame) -> Claim:
    chosen = _recorded(_chosen(runs, (ADAPTIVE,), "gigabit"))
    saved = {
        what: 100 * (1 - chosen[f"{column}_ratio"].mean())
        for what, column in (("time", "time"), ("downtime", "downtime"), ("bytes", "bytes"))
    }
    return Claim(
        "adaptive compression saves at least a quarter each of time, downtime and bytes at "
        "1 Gbit/s; Jin et al. (Cluster 2009) report 32 %, 27 % and 68.8 % for other guests",
        bool(min(saved.values()) >= 25),
        ", ".join(f"{what} {value:.0f} %" for what, value in saved.items())
        + ", mean over the recorded guests",
    )


# ---- the figure ---------------------------------------------------------------------------------


def figure(results: pd.DataFrame) -> Figure:
    """Return codecs by guests, a column of panels for each link and a row for each measurement."""
    panels = [
        Panel("time_ratio", "total time / raw", log=True),
        Panel("downtime_ratio", "downtime / raw", log=True),
        Panel("bytes_ratio", "bytes sent / raw", log=True),
    ]
    return _map(results, panels, "Codecs against pre-copy of raw pages, guests of 1 GiB")


def figures(results: pd.DataFrame) -> dict[str, Figure]:
    """Return how many processors the encoders keep busy."""
    panels = [Panel("busy", "processors busy")]
    return {"processors": _map(results, panels, "Processors that codecs keep busy")}


def _map(results: pd.DataFrame, panels: list[Panel], title: str) -> Figure:
    return heat_panels(
        _prepared(results), panels, rows="codec", columns="label", across="speed", title=title
    )
