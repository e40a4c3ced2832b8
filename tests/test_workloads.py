"""The contract of workloads, for every one that the registry finds; and what each one does."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import PAGE, machine, python, small_trace
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from migsim import InputError, VirtualMachine, Workload, child_seed, make_workload
from migsim.registry import find, names
from migsim.trace.format import read_trace

GUEST = VirtualMachine(memory=256 << 20)
NAMES = names("workload")
COUNT = 4000

PHASES = (
    "phases(schedule=10ms uniform(rate=10k, read_fraction=0.3, working_set=64KiB); 5ms idle;"
    "20ms sequential(rate=1000, working_set=64KiB, offset=1MiB); 0.7ms zipf(rate=33333))"
)
# Workloads within workloads, with borders between phases within the first accesses.
NESTED = [
    PHASES,
    f"mix(parts={PHASES} + hotcold(rate=777) + idle + mix(parts=uniform(rate=1e+03)))",
    f"phases(schedule=3ms mix(parts=uniform + {PHASES}); 2ms {PHASES}; 1ms trace)",
]
each = pytest.mark.parametrize("name", NAMES)
each_and_nested = pytest.mark.parametrize(
    "name", [*NAMES, *NESTED], ids=lambda text: text if len(text) < 20 else f"nested-{text[:6]}"
)


def parameters(name: str) -> set[str]:
    return {parameter.name for parameter in find("workload", name).parameters}


def having(*wanted: str) -> Any:
    chosen = [name for name in NAMES if parameters(name).issuperset(wanted)]
    return pytest.mark.parametrize("name", chosen)


def take(workload: Workload, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    pages, times = np.empty(count, np.int64), np.empty(count)
    workload.accesses(first, pages, times)
    return pages, times


def touched(pages: np.ndarray) -> np.ndarray:
    return np.where(pages < 0, ~pages, pages)


def before(workload: Workload, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Return all accesses before a time."""
    return take(workload, 0, workload.index(seconds))


def distinct_writes(workload: Workload, seconds: float) -> int:
    pages, _ = before(workload, seconds)
    return len(np.unique(pages[pages >= 0]))


# ---- the contract -----------------------------------------------------------------------------


@each_and_nested
@given(st.lists(st.tuples(st.integers(0, COUNT), st.integers(1, 700)), min_size=1, max_size=5))
@settings(max_examples=15)
def test_any_block_is_a_slice(name: str, blocks: list[tuple[int, int]]) -> None:
    pages, times = take(make_workload(name, GUEST, 5), 0, COUNT + 700)
    workload = make_workload(name, GUEST, 5)
    for first, count in blocks:
        some_pages, some_times = take(workload, first, count)
        np.testing.assert_array_equal(some_pages, pages[first : first + count])
        np.testing.assert_array_equal(some_times, times[first : first + count])


@each_and_nested
def test_a_block_far_away(name: str) -> None:
    far = make_workload(name, GUEST, 5).index(5e5)
    pages, times = take(make_workload(name, GUEST, 5), far - 50 if far else 0, 100)
    if far:
        assert times[49] < 5e5 <= times[50]
    again = make_workload(name, GUEST, 5)
    for k in (99, 50, 0):
        page, time = take(again, (far - 50 if far else 0) + k, 1)
        assert (page[0], time[0]) == (pages[k], times[k])


@each_and_nested
def test_times_and_index_agree(name: str) -> None:
    workload = make_workload(name, GUEST, 5)
    _, times = take(workload, 0, COUNT)
    assert (np.diff(times[np.isfinite(times)]) >= 0).all()
    assert (times >= 0).all()
    if not np.isfinite(times).any():
        assert workload.index(1e6) == 0
        return
    probes = np.concatenate([
        times[:300], np.nextafter(times[:300], np.inf), np.nextafter(times[:300], 0),
        np.linspace(0, times[-1], 500),
    ])  # fmt: skip
    found = [workload.index(float(probe)) for probe in probes]
    np.testing.assert_array_equal(found, np.searchsorted(times, probes, side="left"))


@each
@pytest.mark.parametrize("page_size", [PAGE, 2 << 20])
def test_pages_are_in_range(name: str, page_size: int) -> None:
    guest = VirtualMachine(memory=1 << 30, page_size=page_size)
    workload = make_workload(name, guest, 7)
    assert 0 <= workload.pages <= guest.pages
    pages, times = take(workload, 0, COUNT)
    used = touched(pages[np.isfinite(times)])
    assert ((used >= 0) & (used < workload.pages)).all()
    assert isinstance(workload, Workload)


def fingerprint(name: str, seed: int) -> str:
    pages, times = take(make_workload(name, GUEST, seed), 100, COUNT)
    return hashlib.sha256(pages.tobytes() + times.tobytes()).hexdigest()


@each
def test_seeds(name: str) -> None:
    prints = [fingerprint(name, seed) for seed in (0, 1, 2, -3, 2**63 - 1, 0)]
    assert prints[0] == prints[-1]
    assert len(set(prints)) == (5 if name != "idle" else 1)


def test_other_processes_see_the_same() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_workloads import NAMES, fingerprint\n"
        "print([fingerprint(name, 11) for name in NAMES])"
    )
    printed = python(code, str(Path(__file__).parent), PYTHONHASHSEED="7")
    assert printed.strip() == str([fingerprint(name, 11) for name in NAMES])


@each
def test_documented_and_typed(name: str) -> None:
    plugin = find("workload", name)
    assert len(plugin.summary) > 20
    assert plugin.summary[0].isupper()
    listed = list(inspect.signature(plugin.call).parameters.values())
    assert [parameter.name for parameter in listed[:2]] == ["vm", "seed"]
    for parameter in listed[2:]:
        assert parameter.kind is parameter.KEYWORD_ONLY, parameter
        assert parameter.default is not parameter.empty, parameter
        assert parameter.annotation is not parameter.empty, parameter


@having("rate")
@pytest.mark.parametrize("reads", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("rate", ["20k", "40960000B/s", "333.3"])
def test_rate_counts_writes(name: str, rate: str, reads: float) -> None:
    written = {"20k": 20_000, "40960000B/s": 10_000, "333.3": 333.3}[rate]
    workload = make_workload(f"{name}(rate={rate}, read_fraction={reads})", GUEST, 2)
    pages, _ = before(workload, 3000 / written)
    writes = np.count_nonzero(pages >= 0)
    assert writes == pytest.approx(3000, rel=0.01)
    assert pages.size - writes == pytest.approx(3000 * reads / (1 - reads), rel=0.01, abs=1)


@having("rate")
def test_rate_zero_is_idle(name: str) -> None:
    workload = make_workload(f"{name}(rate=0)", GUEST, 2)
    assert workload.index(1e9) == 0
    assert np.isinf(take(workload, 0, 10)[1]).all()


@having("read_fraction")
def test_a_guest_that_only_reads_has_no_write_rate(name: str) -> None:
    with pytest.raises(InputError, match="read_fraction is 1"):
        make_workload(f"{name}(read_fraction=1)", GUEST, 0)


@having("working_set", "rate")
def test_working_set(name: str) -> None:
    # The whole of a small region is used, and nothing beside it.
    text = f"{name}(working_set=64KiB, offset=1MiB, rate=10k)"
    pages, _ = before(make_workload(text, GUEST, 4), 1.0)
    assert set(touched(pages)) == set(range(256, 272))
    assert make_workload(text, GUEST, 4).pages == 272


@having("working_set")
@pytest.mark.parametrize("size", ["257MiB", "working_set=200MiB, offset=100MiB", "1TiB"])
def test_working_set_beyond_the_memory(name: str, size: str) -> None:
    text = size if "=" in size else f"working_set={size}"
    with pytest.raises(InputError, match="does not fit into a memory of 256 MiB"):
        make_workload(f"{name}({text})", GUEST, 0)


def test_trace_beyond_the_memory(tmp_path: Path) -> None:
    path = small_trace(tmp_path / "a.mtrace", pages=300)
    with pytest.raises(InputError, match="does not fit"):
        make_workload(f"trace(file={path})", machine(299), 0)
    assert make_workload(f"trace(file={path})", machine(300), 0).pages == 300


# ---- what each does -----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 1.0, 3.0])
def test_uniform(share: float) -> None:
    """In t seconds W (1 - exp(-Dt/W)) distinct pages; the spread is below sqrt(W)."""
    pages = 16_384
    workload = make_workload("uniform(rate=20k, working_set=64MiB)", GUEST, 1)
    expected = pages * (1 - math.exp(-share))
    found = distinct_writes(workload, share * pages / 20_000)
    assert abs(found - expected) < 4 * math.sqrt(expected)


@pytest.mark.parametrize("share", [0.1, 0.9999, 1.0, 3.0])
@pytest.mark.parametrize("reads", [0.0, 0.4])
def test_sequential(share: float, reads: float) -> None:
    text = f"sequential(rate=20k, working_set=64MiB, read_fraction={reads})"
    found = distinct_writes(make_workload(text, GUEST, 9), share * 16_384 / 20_000)
    assert found == pytest.approx(min(round(share * 16_384), 16_384), abs=1)


def test_sequential_sweeps_from_where_the_seed_says() -> None:
    entries = set()
    for seed in range(8):
        pages, _ = take(make_workload("sequential(working_set=64KiB)", GUEST, seed), 0, 32)
        assert pages.tolist() == [(pages[0] + k) % 16 for k in range(32)]
        assert seed or pages[0] == 0
        entries.add(int(pages[0]))
    assert len(entries) > 3


def test_hotcold() -> None:
    text = "hotcold(working_set=4000KiB, hot_fraction=0.2, hot_probability=0.7, rate=10k)"
    pages, _ = before(make_workload(text, GUEST, 1), 10.0)
    counts = np.bincount(pages, minlength=1000)
    hot = counts[:200].sum()
    assert stats.binomtest(int(hot), pages.size, 0.7).pvalue > 0.01
    assert stats.chisquare(counts[:200]).pvalue > 0.01
    assert stats.chisquare(counts[200:]).pvalue > 0.01


@pytest.mark.parametrize(("hot", "only"), [("0", 1), ("100%", 16)])
def test_hotcold_at_its_ends(hot: str, only: int) -> None:
    text = f"hotcold(working_set=64KiB, hot_fraction={hot}, hot_probability=1)"
    assert len(set(take(make_workload(text, GUEST, 0), 0, 500)[0])) == only


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.99, 1.0, 1.2, 3.0])
def test_zipf(exponent: float) -> None:
    """Frequencies by rank against the exact law."""
    text = f"zipf(working_set=400KiB, exponent={exponent}, scatter=no, rate=10k)"
    pages, _ = before(make_workload(text, GUEST, 3), 5.0)
    law = np.arange(1, 101) ** -exponent
    expected = law / law.sum() * pages.size
    counts = np.bincount(pages, minlength=100)
    # Rare ranks are taken together, as the test asks for.
    common = int(np.count_nonzero(expected >= 10))
    merged = [np.append(x[:common], x[common:].sum())[: common + (common < 100)]
              for x in (counts, expected)]  # fmt: skip
    assert stats.chisquare(*merged).pvalue > 0.01


def test_zipf_scatter_moves_pages_and_loses_none() -> None:
    counts = [
        Counter(take(make_workload(f"zipf(working_set=4MiB, scatter={s})", GUEST, 3), 0, 50_000)[0])
        for s in ("yes", "no")
    ]
    assert sorted(counts[0].values()) == sorted(counts[1].values())
    popular = [page for page, _ in counts[0].most_common(10)]
    assert min(abs(a - b) for a in popular for b in popular if a != b) > 10


def test_phases() -> None:
    schedule = (
        "10ms uniform(rate=10k, working_set=64KiB); 5ms idle; "
        "20ms sequential(rate=1000, working_set=64KiB, offset=1MiB)"
    )
    workload = make_workload(f"phases(schedule={schedule})", GUEST, 0)
    pages, times = before(workload, 3 * 0.035)
    into = times % 0.035
    assert (pages[into < 0.010] < 16).all()
    assert (pages[into >= 0.015] >= 256).all()
    assert not ((into >= 0.010) & (into < 0.015)).any()
    assert np.bincount((times // 0.035).astype(int)).tolist() == [120, 120, 120]
    # Each part goes on where it stopped: the sweep does not begin anew.
    swept = pages[pages >= 256]
    assert swept.tolist() == [256 + (swept[0] + k) % 16 for k in range(60)]


def test_mix_is_its_parts_merged() -> None:
    parts = ["uniform(rate=3000)", "sequential(rate=700, offset=50%)", "zipf(rate=1000)"]
    workload = make_workload(f"mix(parts={' + '.join(parts)})", GUEST, 4)
    pages, times = before(workload, 2.0)
    found = sorted(zip(times.tolist(), pages.tolist(), strict=True))
    expected = []
    for k, part in enumerate(parts):
        some, when = before(make_workload(part, GUEST, child_seed(4, k)), 2.0)
        expected += zip(when.tolist(), some.tolist(), strict=True)
    assert found == sorted(expected)


def test_mix_of_equal_times() -> None:
    """Two parts of one rate touch memory at the very same moments; none is lost anywhere."""
    parts = "sequential(rate=1000, working_set=64KiB) + sequential(rate=1000, offset=50%)"
    whole, _ = take(make_workload(f"mix(parts={parts})", GUEST, 0), 0, 400)
    workload = make_workload(f"mix(parts={parts})", GUEST, 0)
    assert [take(workload, k, 1)[0][0] for k in reversed(range(400))] == whole.tolist()[::-1]


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_trace_replays_the_recorded_sets(tmp_path: Path, speed: float) -> None:
    path = small_trace(tmp_path / "a.mtrace")
    recorded = read_trace(path)
    workload = make_workload(f"trace(file={path}, speed={speed})", machine(200), 0)
    pages, times = before(workload, 2 * recorded.duration / speed)
    for turn in range(2):
        for k, end in enumerate(recorded.ends):
            stop = (turn * recorded.duration + end) / speed
            start = stop - 0.01 / speed
            inside = pages[(times > start - 1e-9) & (times < stop + 1e-9)]
            assert sorted(inside) == recorded.pages_of(k).tolist(), (turn, k)


def test_trace_seeds_enter_elsewhere(tmp_path: Path) -> None:
    path = small_trace(tmp_path / "a.mtrace")
    recorded = read_trace(path)
    all_writes = sorted(recorded.pages.tolist())
    first = set()
    for seed in range(5):
        workload = make_workload(f"trace(file={path})", machine(200), seed)
        pages, times = before(workload, recorded.duration)
        assert sorted(pages) == all_writes
        first.add(tuple(sorted(pages[times < 0.01])))
    assert len(first) > 2


def test_trace_reads_pages_of_the_same_interval(tmp_path: Path) -> None:
    path = small_trace(tmp_path / "a.mtrace")
    recorded = read_trace(path)
    text = f"trace(file={path}, read_fraction=0.75)"
    pages, times = before(make_workload(text, machine(200), 0), recorded.duration)
    writes = np.count_nonzero(pages >= 0)
    assert writes == recorded.pages.size
    assert pages.size - writes == pytest.approx(3 * writes, abs=3)
    for page, time in zip(pages, times, strict=True):
        if page < 0:
            assert ~page in recorded.pages_of(int(time / 0.01))


def test_trace_on_large_pages_and_elsewhere(tmp_path: Path) -> None:
    path = small_trace(tmp_path / "a.mtrace", pages=1200)
    small, _ = take(make_workload(f"trace(file={path})", machine(2000), 0), 0, 1000)
    guest = VirtualMachine(memory=1 << 30, page_size=2 << 20)
    large, _ = take(make_workload(f"trace(file={path})", guest, 0), 0, 1000)
    np.testing.assert_array_equal(large, small // 512)
    text = f"trace(file={path}, offset=400KiB, read_fraction=0.5)"
    moved, _ = take(make_workload(text, machine(2000), 0), 0, 1000)
    plain, _ = take(
        make_workload(f"trace(file={path}, read_fraction=0.5)", machine(2000), 0), 0, 1000
    )
    np.testing.assert_array_equal(touched(moved), touched(plain) + 100)
    np.testing.assert_array_equal(moved < 0, plain < 0)


def test_idle() -> None:
    workload = make_workload("idle", GUEST, 0)
    assert (workload.pages, workload.index(1e9)) == (0, 0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("zipf(exponent=-1)", "exponent is -1"),
        ("trace(speed=0)", "speed is 0"),
        ("trace(file=redes)", "did you mean 'redis'"),
        ("trace(file=/nowhere.mtrace)", "there is no such file"),
        ("mix(parts=)", "expected 'name"),
        ("mix(parts=uniform +)", "expected 'name"),
        ("mix(parts=unifrom)", "did you mean 'uniform'"),
        ("phases(schedule=)", "schedule is empty"),
        ("phases(schedule=2 parsecs)", "unknown workload 'parsecs'"),
        ("phases(schedule=soon uniform)", "expected a time"),
        ("phases(schedule=0s uniform)", "needs a time above 0"),
        ("uniform(rate=-5)", "negative"),
        ("uniform(rte=5)", "did you mean 'rate'"),
        ("uniform(rate=5", "expected name"),
        ("uniform(rate)", "expected key=value"),
    ],
)
def test_bad_input_is_told_in_a_sentence(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        make_workload(text, GUEST, 0)
    assert "\n" not in str(caught.value)


# ---- curves -------------------------------------------------------------------------------------

KERNEL = {0.214: 3109, 0.492: 4205, 0.975: 5469, 1.49: 6057, 1.94: 6126, 8.0: 8000}


def curve_of(points: dict[float, int]) -> str:
    return " ".join(f"{seconds}:{pages}" for seconds, pages in points.items())


@pytest.mark.parametrize("scatter", [True, False])
def test_a_curve_is_met_in_every_window(scatter: bool, tmp_path: Path) -> None:
    """Clark et al.'s kernel compile: pages dirtied in windows that begin anywhere."""
    text = f"curve(curve={curve_of(KERNEL)}, scatter={scatter})"
    workload = make_workload(text, GUEST, 3)
    for seconds, pages in KERNEL.items():
        for begin in (0.0, 77.0):
            first = workload.index(begin)
            found, _ = take(workload, first, workload.index(begin + seconds) - first)
            assert len(np.unique(found)) == pytest.approx(pages, rel=0.05)
    file = tmp_path / "kernel.csv"
    file.write_text("seconds,pages\n" + "".join(f"{k}, {v}  # read\n" for k, v in KERNEL.items()))
    same = make_workload(f"curve(curve={file}, scatter={scatter})", GUEST, 3)
    np.testing.assert_array_equal(take(same, 0, COUNT)[0], take(workload, 0, COUNT)[0])


@pytest.mark.parametrize("points", [{1.0: 65536}, {0.1: 20000, 1.0: 60000, 5.0: 65536}])
def test_a_curve_up_to_all_of_the_memory(points: dict[float, int]) -> None:
    workload = make_workload(f"curve(curve={curve_of(points)})", GUEST, 1)
    for seconds, pages in points.items():
        found, _ = before(workload, seconds)
        assert len(np.unique(found)) == pytest.approx(pages, rel=0.05)
    assert before(workload, 20.0)[0].max() < GUEST.pages


def test_a_curve_stays_in_its_working_set() -> None:
    small = "curve(curve=1s:1MiB 10s:5MiB, working_set=10MiB, offset=20MiB)"
    pages, _ = before(make_workload(small, GUEST, 1), 100.0)
    assert 5120 <= pages.min() <= 5130
    assert 7600 < pages.max() < 7680
    spread = make_workload("curve(curve=100ms:100)", GUEST, 1)
    assert np.ptp(before(spread, 1.0)[0]) > 0.95 * GUEST.pages


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ("1s:20 1s:30", "got the window 1s, expected ascending times"),
        ("1s:20 2s:10", "no fewer than before"),
        ("1s:0", "a page or more"),
        ("1s:2 3s", "expected points such as"),
        ("1s:70000", "at most the 65536 of the working set"),
        ("1s:100 2s:200 3s:2000", "bends towards the time axis"),
        ("nowhere.csv", "cannot read nowhere.csv"),
        ("1s:1..2", r"workload 'curve': curve '1s:1\.\.2': got '1\.\.2', expected a number"),
    ],
)
def test_a_curve_that_cannot_be(curve: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_workload(f"curve(curve={curve})", GUEST, 1)
