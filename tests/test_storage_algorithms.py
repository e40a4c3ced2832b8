"""Algorithms that move disks: against theory, a slow twin, and each other."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from helpers import Listed, machine
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conductor import Rides
from test_disk import BLOCK, BLOCKS, LINKS, Ios, handle, numbers

from migsim import Disk, Migration, Pages, Task, migrate
from migsim.registry import names
from migsim.result import Result
from migsim.simulate import execute, watched

STORAGE = [name for name in names("algorithm") if name.startswith("storage_")]
DISK = {
    "size": "64MiB", "block": "256KiB", "queue_depth": 8,
    "workload": "hotcold(rate=10MB/s, working_set=32MiB, read_fraction=0.3)",
}  # fmt: skip


@functools.cache
def run(algorithm: str, link: str = "gigabit", **disk: Any) -> Result:
    return migrate(
        algorithm, "hotcold", link, memory="8MiB", workload_args={"rate": 2000},
        disk_args={**DISK, **disk},
    ).result  # fmt: skip


# ---- the contract ------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", names("algorithm"))
def test_a_disk_is_moved_or_its_loss_is_reported(algorithm: str) -> None:
    result = run(algorithm)
    moved = algorithm in STORAGE
    assert result.status == ("completed" if moved else "corrupt"), result.error
    assert (result.corrupt_blocks == 0) == moved
    assert ("blocks of the disk" in result.error) != moved
    assert sum(result.sent_by_kind.values()) == result.bytes_sent
    assert result.sent_disk == result.disk_blocks_sent * 256 * 1024
    assert result.sent_mirrored == result.mirrored_writes * 64 * 1024


@pytest.mark.parametrize("link", ["10g", "long_distance"])
@pytest.mark.parametrize("algorithm", STORAGE)
def test_guest_time_adds_up(algorithm: str, link: str) -> None:
    result = run(algorithm, link)
    assert result.status == "completed", result.error
    lost = result.paused_seconds + result.mirror_seconds + result.disk_stalled_seconds
    assert result.guest_seconds + lost == pytest.approx(result.total_seconds)
    assert (result.mirror_seconds > 0) == (algorithm == "storage_mirror")
    if link == "long_distance" or algorithm != "storage_postcopy":  # the fast link beats the reads
        assert (result.disk_stalled_seconds > 0) == (algorithm == "storage_postcopy")


@pytest.mark.parametrize("algorithm", STORAGE)
def test_looking_on_changes_nothing(algorithm: str) -> None:
    task = Task(
        algorithm=algorithm, workload="hotcold", memory="8MiB", disk_args={**DISK, "size": "32MiB"}
    )
    watched(task.resolve(), instants=50)  # compares


@pytest.mark.parametrize("algorithm", STORAGE)
def test_one_alone_in_a_fleet_gives_the_very_numbers(algorithm: str) -> None:
    one = Task(algorithm=algorithm, workload="hotcold", memory="8MiB", disk_args=DISK)
    rides = Rides({"a": 125e6})
    rides.add(one)
    assert rides.run()[0] == execute(one.resolve()).result


@given(
    algorithm=st.sampled_from(STORAGE),
    link=st.sampled_from(["gigabit", "metro", "unlimited"]),
    seed=st.integers(0, 2**32),
    rate=st.sampled_from(["1MB/s", "30MB/s"]),
    workload=st.sampled_from(["uniform", "sequential", "hotcold", "zipf"]),
    io=st.sampled_from(["4KiB", "64KiB"]),
    depth=st.sampled_from([1, 16]),
    allocated=st.sampled_from([0.0, 0.4, 1.0]),
    device=st.sampled_from(["inf", "40MB/s"]),
)
@settings(max_examples=40)
def test_no_guest_reads_a_stale_block(
    algorithm: str, link: str, seed: int, rate: str, workload: str, io: str, depth: int,
    allocated: float, device: str,
) -> None:  # fmt: skip
    result = migrate(
        algorithm, "uniform", link, memory="2MiB", seed=seed,
        algorithm_args={"max_rounds": 4},
        disk_args={
            "size": "8MiB", "block": "64KiB", "io_bytes": io, "queue_depth": depth,
            "allocated": allocated, "write_rate": device,
            "workload": f"{workload}(rate={rate}, read_fraction=0.3)",
        },
    ).result  # fmt: skip
    assert (result.status, result.corrupt_blocks) == ("completed", 0), result.error
    assert sum(result.sent_by_kind.values()) == result.bytes_sent


# ---- how time is cut changes nothing -----------------------------------------------------------

ios_of = st.lists(
    st.tuples(st.integers(0, 2**17), st.integers(0, 4 * BLOCKS - 1), st.booleans()), max_size=60
).map(lambda drawn: sorted((at * 1000 / 2**20, place, write) for at, place, write in drawn))
cuts = st.lists(st.integers(1, 2**16).map(lambda at: at / 2**20), min_size=1, max_size=5)


def state(migration: Migration) -> tuple[Any, ...]:
    storage, ledger = migration._storage, migration.close()
    assert storage is not None
    sets = [storage.log, storage.child, storage.stale, storage.allocated, storage.unmirrored]
    found = [
        ledger.seconds, ledger.guest, ledger.mirror, ledger.disk_stalled, ledger.disk_faults,
        ledger.requests, ledger.carried, storage.ios, storage.sent.tolist(),
        numbers(migration.missing_blocks),
    ]  # fmt: skip
    return *found, [numbers(blocks) for blocks in sets]


@given(ios_of, cuts, st.sampled_from(sorted(LINKS)), st.booleans())
def test_a_transfer_in_pieces(ios: Ios, parts: list[float], link: str, mirror: bool) -> None:
    whole, pieces = (handle(ios, LINKS[link], io_bytes=BLOCK // 4) for _ in range(2))
    for migration in (whole, pieces):
        migration.connect()
        if mirror:
            migration.mirror()
    whole.send_blocks(whole.all_blocks)
    left = pieces.all_blocks
    for part in parts:
        left = pieces.send_blocks(left, until=pieces.now + part).left
    pieces.send_blocks(left)
    assert state(whole) == state(pieces)


@given(ios_of, cuts, st.sampled_from(["plain", "far", "gigabit"]))
def test_a_wait_in_pieces(ios: Ios, parts: list[float], link: str) -> None:
    whole, pieces = (handle(ios, LINKS[link], io_bytes=BLOCK // 4) for _ in range(2))
    for migration in (whole, pieces):
        migration.mirror(unsent=Pages.range(0, 20, size=BLOCKS))
    whole.wait(sum(parts))
    for part in parts:
        pieces.wait(part)
    assert state(whole) == state(pieces)


@given(ios_of, cuts, st.sampled_from(["plain", "far", "gigabit"]))
def test_fetching_in_pieces(ios: Ios, parts: list[float], link: str) -> None:
    whole, pieces = (handle(ios, LINKS[link], io_bytes=BLOCK // 4) for _ in range(2))
    for migration in (whole, pieces):
        migration.pause()
        migration.send(migration.everything)
        migration.resume(missing_blocks=migration.all_blocks)
    whole.wait(sum(parts))
    whole.push_blocks()
    for part in parts:
        pieces.wait(part)
    pieces.push_blocks()
    (*one, sets), (*other, other_sets) = state(whole), state(pieces)
    # The switch-over ends where sums of parts are not exact.
    assert one[:4] == pytest.approx(other[:4], rel=1e-12, abs=1e-12)
    assert (one[4:], sets) == (other[4:], other_sets)


# ---- a slow twin: version numbers instead of bitmaps -------------------------------------------


@dataclass
class Twin:
    """The source's disk on a link of 1 ms a block without latency; writes are whole blocks."""

    ios: list[tuple[float, int, bool]]
    here: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(BLOCKS), 1))
    frozen: dict[int, int] | None = None
    there: dict[int, int] = field(default_factory=dict)
    now: float = 0.0
    free: float = 0.0
    lag: float = 0.0
    waiting: set[int] | None = None
    """Blocks that the copy has still to come to, where writes are mirrored."""
    mirrored: int = 0

    def run(self, until: float, most: float = float("inf")) -> None:
        """Make the I/Os before ``until``, of which at most so many are mirrored."""
        while self.ios and self.ios[0][0] + self.lag < until:
            at, block, write = self.ios[0]
            goes = write and self.waiting is not None and block not in self.waiting
            if goes and most <= 0:
                return
            self.ios.pop(0)
            if not write:
                continue
            self.here[block] += 1
            if goes:
                most -= 1
                self.mirrored += 1
                self.there[block] = self.here[block]
                self.free = max(self.free, at + self.lag) + 1e-3
                self.lag += self.free - (at + self.lag)

    def send(self, blocks: list[int]) -> None:
        for block in blocks:
            self.run(self.now, most=1)
            self.there[block] = (self.frozen or self.here)[block]
            self.free = max(self.free, self.now) + 1e-3
            self.now = self.free
            if self.waiting is not None:
                self.waiting.discard(block)
        self.run(self.now)

    def snapshot(self) -> None:
        self.frozen = dict(self.here)

    @property
    def stale(self) -> list[int]:
        return [block for block in self.here if self.there.get(block) != self.here[block]]


# Each at a place of its own between departures, so that no rounding decides what comes first.
off_grid = st.lists(
    st.tuples(st.integers(0, 150), st.integers(0, BLOCKS - 1), st.booleans()), max_size=50
).map(
    lambda drawn: sorted(
        (ms + (k + 1) * 0.618034 % 1.0, block, write) for k, (ms, block, write) in enumerate(drawn)
    )
)


@given(off_grid, st.sampled_from(["plain", "mirror", "snapshot"]))
def test_the_twin_agrees(ios: Ios, how: str) -> None:
    migration = handle(ios)
    twin = Twin([(time / 1000, block, write) for time, block, write in ios])
    if how == "mirror":
        migration.mirror()
        twin.waiting = set(range(BLOCKS))
    for chosen in (range(BLOCKS), range(0, BLOCKS, 3), range(40, BLOCKS)):
        if how == "snapshot":
            migration.snapshot()
            twin.snapshot()
        migration.send_blocks(Pages.of(chosen, size=BLOCKS))
        twin.send(list(chosen))
        assert migration.now == pytest.approx(twin.now)
    storage = migration._storage
    assert storage is not None
    assert numbers(storage.stale) == twin.stale
    assert storage.sent[1, 0] == twin.mirrored
    assert migration._guest.clock.mirror_lag == pytest.approx(twin.lag)


# ---- theory ------------------------------------------------------------------------------------


def test_iterative_copy_of_a_sequential_writer_is_a_geometric_series() -> None:
    """Each round has the blocks that were written in the one before: a share of ``ratio``."""
    ratio = 0.5
    every = [(2.0 * k + 0.01, k % BLOCKS, True) for k in range(5000)]  # half the link's rate
    migration = handle(every)
    blocks, counts = migration.all_blocks, []
    for _ in range(5):
        counts.append(migration.send_blocks(blocks).pages)
        blocks = migration.take_dirty_blocks()
    for earlier, later in itertools.pairwise(counts):
        assert later == pytest.approx(ratio * earlier, abs=1.01)
    assert migration.now == pytest.approx(64e-3 * (1 - ratio**5) / (1 - ratio), rel=0.02)


def test_mirroring_takes_one_pass_and_what_is_written_behind_it() -> None:
    """A uniform writer hits what is copied already in half of the pass, on average."""
    link = {"rate": "100MB/s", "rtt": 0, "overhead": 0}
    result = migrate(
        "storage_mirror", "idle", "custom", memory="4MiB", link_args=link,
        disk_args={
            "size": "1GiB", "queue_depth": 1000,
            "workload": "uniform(rate=5MB/s, working_set=100%)",
        },
    ).result  # fmt: skip
    total = 1024 * 2**20 + result.sent_mirrored + result.sent_first_copy + result.sent_resent
    assert result.total_seconds == pytest.approx(total / 100e6 + 0.01, rel=0.005)
    assert result.disk_blocks_sent == 1024
    seconds = 2**30 / (100e6 - 2.5e6)
    assert result.sent_mirrored == pytest.approx(5e6 * seconds / 2, rel=0.1)
    assert result.downtime_seconds < 0.02


def test_what_the_paper_of_2011_found() -> None:
    """Under a busy writer: mirroring takes one pass, dirty blocks and snapshots go again."""
    busy = {"workload": "uniform(rate=15MB/s, working_set=64MiB)"}
    mirror, dirty, snapshot, post = (
        run(f"storage_{name}", **busy) for name in ("mirror", "dbt", "snapshot", "postcopy")
    )
    assert mirror.disk_blocks_sent == post.disk_blocks_sent == 256
    assert min(snapshot.sent_disk, dirty.sent_disk) > 1.3 * mirror.sent_disk
    assert mirror.total_seconds < dirty.total_seconds
    assert mirror.downtime_seconds < dirty.downtime_seconds


def test_fetched_blocks_pay_for_cold_reads_with_round_trips() -> None:
    near, far = (run("storage_postcopy", link) for link in ("gigabit", "long_distance"))
    assert far.disk_stalled_seconds / far.disk_faults > 0.05 / 8
    assert near.disk_stalled_seconds / near.disk_faults < 0.01
    before = run("storage_dbt")
    rounds = migrate(
        "storage_postcopy", "hotcold", memory="8MiB", workload_args={"rate": 2000},
        algorithm_args={"disk_rounds": 2}, disk_args=DISK,
    ).result  # fmt: skip
    assert rounds.disk_faults <= near.disk_faults
    assert rounds.sent_bitmap == 256 // 8
    assert rounds.disk_blocks_sent >= 256
    assert before.disk_faults == 0


def test_a_recorded_disk() -> None:
    """SQLite's checkpoints write pages all over the database: small blocks tell them apart."""

    def moved(algorithm: str, block: str) -> Result:
        disk = {
            "size": "170MiB", "block": block, "io_bytes": "4KiB", "queue_depth": 8,
            "workload": "trace(file=sqlite_disk)",
        }  # fmt: skip
        result = migrate(algorithm, "idle", memory="64MiB", disk_args=disk).result
        assert result.status == "completed", result.error
        return result

    once = 170 * 2**20
    for block in ("64KiB", "1MiB"):
        assert moved("storage_mirror", block).sent_disk == once
    assert once < moved("storage_dbt", "64KiB").sent_disk < 1.3 * once
    assert moved("storage_dbt", "1MiB").sent_disk > 10 * once


def test_a_merged_child_costs_the_downtime() -> None:
    quick, slow = run("storage_snapshot"), run("storage_snapshot", write_rate="30MB/s")
    assert slow.status == "completed"
    assert slow.downtime_seconds > quick.downtime_seconds


def test_memory_is_delayed_by_what_the_disk_waits_for() -> None:
    memory = Listed([(0.001 * k, 0, True) for k in range(1000)], 1)
    disk_ios = Listed([(0.1, 10, False), (0.2, 20, False)], BLOCKS)
    migration = Migration(
        machine(1), memory, LINKS["far"],
        disk=Disk(size=BLOCKS * BLOCK, block=BLOCK, io_bytes=BLOCK), disk_workload=disk_ios,
    )  # fmt: skip
    migration.pause()
    migration.send(migration.everything)
    migration.resume(missing_blocks=migration.all_blocks)
    migration.wait(0.5)
    ledger = migration.close()
    assert ledger.disk_stalled == pytest.approx(2 * 5e-3, rel=1e-2)
    assert ledger.accesses == pytest.approx(ledger.guest / 0.001, abs=1)
