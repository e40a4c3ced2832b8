"""Disks: what blocks, I/Os, mirrored writes and fetches come to, and what must always hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import PAGE, Listed, machine, preset
from hypothesis import given
from hypothesis import strategies as st

from migsim import Disk, InputError, Link, Migration, Pages, Task, migrate
from migsim.collect import collect
from migsim.recall import task_of
from migsim.results import load_rows
from migsim.store import Store, frame
from migsim.units import KIB, MIB

BLOCKS = 64
BLOCK = 64 * KIB
PLAIN = Link(rate=1000 * BLOCK, rtt=0, overhead=0)  # a block takes 1 ms and nothing else
FAR = Link(rate=1000 * BLOCK, rtt=4e-3, overhead=0, congestion="none")
LINKS = {
    "plain": PLAIN,
    "far": FAR,
    "gigabit": preset("gigabit"),
    "lossy": Link(rate=50e6, rtt=2e-3, loss=0.01, jitter=1e-3, queue="64KiB"),
    "timed": Link(rate=20e6, rtt=1e-3, outages="10ms+5ms", trace="step(at=30ms, to=9MB/s)"),
}
Ios = Sequence[tuple[float, int, bool]]


def handle(ios: Ios, link: Link = PLAIN, **changes: Any) -> Migration:
    """Return a handle over an idle guest of one page whose disk sees the given I/Os.

    Times in milliseconds; places count ``io_bytes``, which is a block unless it is given.
    """
    disk = Disk(**{"size": BLOCKS * BLOCK, "block": BLOCK, "io_bytes": BLOCK, **changes})
    listed = [(time / 1000, place, write) for time, place, write in ios]
    units = disk.size // disk.io_bytes
    return Migration(
        machine(1), Listed([], 1), link, disk=disk, disk_workload=Listed(listed, units)
    )


def writes(*ios: tuple[float, int]) -> Ios:
    return [(time, place, True) for time, place in ios]


def numbers(pages: Pages) -> list[int]:
    return [int(block) for block in pages.indices()]


# ---- the source --------------------------------------------------------------------------------


def test_a_block_is_sent_as_it_is_when_its_turn_comes() -> None:
    migration = handle(writes((10.5, 5), (10.5, 50), (63.5, 2)))
    sent = migration.send_blocks(migration.all_blocks)
    assert (sent.pages, sent.bytes, round(sent.seconds, 9)) == (64, 64 * BLOCK, 0.064)
    assert numbers(migration.take_dirty_blocks()) == [2, 5, 50]
    assert migration._storage is not None
    assert numbers(migration._storage.stale) == [2, 5]


def test_limits_of_a_transfer() -> None:
    migration = handle([])
    some = Pages.range(0, 20, size=BLOCKS)
    sent = migration.send_blocks(some, until=0.0045)
    assert (sent.pages, numbers(sent.left)[0], sent.next_page) == (5, 5, 5)
    assert migration.now == pytest.approx(0.005)
    assert migration.send_blocks(sent.left, max_bytes=2 * BLOCK + 1).pages == 3
    assert migration.send_blocks(some, start=18, max_bytes=1).next_page == 19
    assert migration.seconds_to_send_blocks(some) == pytest.approx(20e-3)
    before = migration.now
    migration.send_blocks(some, rate=500 * BLOCK)
    assert migration.now - before == pytest.approx(19 * 2e-3 + 1e-3)


def test_a_slow_device_paces_the_copy() -> None:
    migration = handle([], read_rate=250 * BLOCK, write_rate=500 * BLOCK)
    assert migration.send_blocks(migration.all_blocks).seconds == pytest.approx(63 * 4e-3 + 1e-3)
    migration.merge_snapshot(Pages.range(0, 10, size=BLOCKS))
    assert migration.now == pytest.approx(63 * 4e-3 + 1e-3 + 10 * (4e-3 + 2e-3))


def test_thin_disks_grow_where_they_are_written() -> None:
    migration = handle(writes((1.5, 40), (3.5, 1), (70.5, 60)), allocated=0.25)
    assert len(migration.all_blocks) == 16
    everywhere = Pages.range(0, BLOCKS, size=BLOCKS)
    assert migration.send_blocks(everywhere).pages == 17  # block 40 was written in time
    migration.wait(0.1)
    assert numbers(migration.take_dirty_blocks()) == [1, 40, 60]
    assert numbers(migration.all_blocks)[-2:] == [40, 60]


def test_a_snapshot_is_read_as_of_its_beginning() -> None:
    migration = handle(writes((10.5, 50)))
    assert migration.snapshot() == migration.all_blocks
    migration.send_blocks(migration.all_blocks)
    assert migration._storage is not None
    assert numbers(migration._storage.stale) == [50]  # though it was sent after the write
    child = migration.snapshot()
    assert numbers(child) == [50]
    migration.send_blocks(child)
    assert not migration._storage.stale


# ---- mirroring ---------------------------------------------------------------------------------


def test_mirrored_writes_follow_the_block_that_is_leaving() -> None:
    """A write ahead of the copy costs nothing, one behind it the wire and the round trip."""
    migration = handle(writes((10.5, 50), (20.5, 3)), FAR, queue_depth=2)
    migration.connect()
    migration.mirror()
    assert migration.send_blocks(migration.all_blocks).seconds == pytest.approx(65e-3)
    migration.pause()
    # It leaves from 21 to 22 ms, behind block 16, and is answered 4 ms later.
    assert migration._guest.clock.mirror_seconds == pytest.approx((1.5e-3 + 4e-3) / 2)
    assert migration._storage is not None
    assert migration._storage.sent.tolist() == [[64, 64 * BLOCK], [1, BLOCK], [0, 0]]
    assert not migration._storage.stale
    assert not (migration.take_dirty_blocks() - Pages.of([50], size=BLOCKS))


def test_mirrored_writes_go_between_pages_of_memory() -> None:
    disk = Disk(size=BLOCKS * BLOCK, block=BLOCK, io_bytes=BLOCK)
    link = Link(rate=1000 * PAGE, rtt=0, overhead=0)  # 1 ms a page, 16 ms a block
    ios = Listed([(0.0105, 0, True), (0.0106, 1, True), (0.0305, 2, True)], BLOCKS)
    memory = Listed([(0.0555, 99, True)], 100)
    migration = Migration(machine(100), memory, link, disk=disk, disk_workload=ios)
    migration.mirror(unsent=migration.no_blocks)
    assert migration.send(migration.everything).seconds == pytest.approx(0.148)
    migration.pause()
    # The first waits from 10.5 to 27, when page 10 and itself have left. So the second is made at
    # 27.1; the pages have now waited for 16 ms and get as much, so that it goes from 44 to 60. The
    # third is made 19.9 ms later, at 79.9, and goes behind the page that leaves then.
    assert migration._guest.clock.mirror_seconds == pytest.approx(16.5e-3 + 32.9e-3 + 16.1e-3)
    assert migration.now == pytest.approx(0.148)
    assert migration._sent_by_kind[0].tolist() == [100, 100 * PAGE]


@given(
    st.integers(1, 8),
    st.floats(0.0, 20e-3),
    st.lists(st.floats(1.0, 500.0), min_size=1, max_size=30),
)
def test_idle_mirroring_costs_a_round_trip_each(depth: int, rtt: float, times: list[float]) -> None:
    """Nothing else on the wire: what the guest loses is writes x (rtt + own time) / depth."""
    link = Link(rate=1000 * BLOCK, rtt=rtt, overhead=0, congestion="none")
    ios = writes(*((1000 * k + 100 + time, 1) for k, time in enumerate(times)))
    migration = handle(ios, link, queue_depth=depth)
    migration.mirror(unsent=migration.no_blocks)
    migration.wait(2.0 * len(times))
    migration.pause()
    lost = len(times) * (rtt + 1e-3) / depth
    assert migration._guest.clock.mirror_seconds == pytest.approx(lost)


def test_a_guest_that_writes_faster_than_the_link_does_not_starve_the_copy() -> None:
    disk = {
        "size": "64MiB", "block": "64KiB", "io_bytes": "64KiB", "queue_depth": 32,
        "workload": "uniform(rate=500MB/s)",
    }  # fmt: skip
    result = migrate("storage_mirror", memory="16MiB", disk_args=disk).result
    assert result.status == "completed", result.error
    assert result.total_seconds < 10


# ---- the destination ---------------------------------------------------------------------------


def switched(ios: Ios, link: Link, **changes: Any) -> Migration:
    migration = handle(ios, link, **changes)
    migration.pause()
    migration.send(migration.everything)
    migration.resume(missing_blocks=migration.all_blocks)
    return migration


def test_blocks_are_fetched_on_demand() -> None:
    ios = [(10.0, 40, False), (100.0, 41, False), (300.0, 40, False)]
    migration = switched(ios, FAR, queue_depth=2)
    migration.wait(0.5)
    # Two round trips and two blocks of 1 ms, each halved by what the guest has outstanding.
    destination = migration._storage_destination
    assert destination is not None
    assert destination.stalled_seconds == pytest.approx(2 * 5e-3 / 2, rel=1e-3)
    assert (destination.faults, destination.requests) == (2, 2)
    assert len(migration.missing_blocks) == 62
    migration.push_blocks()
    assert not migration.missing_blocks
    assert migration.close().breaches(FAR) == []


def test_the_push_goes_on_behind_what_was_demanded() -> None:
    migration = switched([(10.0, 40, False)], PLAIN)
    start = migration.now
    migration.push_blocks(until=start + 0.0205)
    # Blocks 0 to 9 or 10 go first, then 40 on demand and those behind it.
    assert {40, 41, 45} & set(numbers(migration.missing_blocks)) == set()
    assert 20 in migration.missing_blocks
    migration.push_blocks()
    assert migration.now == pytest.approx(start + 0.064, rel=1e-3)


def test_a_whole_block_that_is_written_needs_no_fetch() -> None:
    migration = switched(writes((10.0, 40)), FAR)
    migration.wait(0.1)
    assert migration._disk_faults() == 0
    assert 40 not in migration.missing_blocks
    parts = switched(writes((10.0, 160)), FAR, io_bytes=BLOCK // 4)
    parts.wait(0.1)
    assert (parts._disk_faults(), 40 in parts.missing_blocks) == (1, False)


def test_a_connection_that_dies_loses_a_guest_whose_blocks_are_missing() -> None:
    disk = {"size": "256MiB", "workload": "uniform(rate=1MB/s, read_fraction=0.5)"}
    result = migrate(
        "storage_postcopy", memory="1MiB", disk_args=disk, link_args={"outages": "0.5s+inf"}
    ).result
    assert result.status == "lost"
    assert "blocks of the disk missing at the destination" in result.error
    spent = result.guest_seconds + result.paused_seconds + result.disk_stalled_seconds
    assert spent == pytest.approx(result.total_seconds)


# ---- shared disks, none, and what is found out -------------------------------------------------


def test_a_shared_disk_is_handed_over() -> None:
    alone = migrate("precopy", memory="16MiB").result
    shared = {"size": "1TiB", "shared": True, "lock_seconds": "50ms", "workload": "uniform"}
    for algorithm in ("precopy", "postcopy", "storage_mirror"):
        result = migrate(algorithm, memory="16MiB", disk_args=shared).result
        assert (result.status, result.sent_disk) == ("completed", 0)
    result = migrate("precopy", memory="16MiB", disk_args=shared).result
    assert result.downtime_seconds == pytest.approx(alone.downtime_seconds + 0.05)
    assert result.bytes_sent == alone.bytes_sent


def test_an_algorithm_that_ignores_the_disk_is_found_out() -> None:
    result = migrate("precopy", memory="4MiB", disk_args={"size": "2MiB"}).result
    assert (result.status, result.corrupt_blocks) == ("corrupt", 2)
    assert result.error == (
        "2 stale blocks of the disk were readable at the destination (blocks 0, 1)"
    )


def test_blocks_that_never_arrive_are_found_out() -> None:
    def stops_early(migration: Migration) -> None:
        migration.pause()
        migration.send(migration.everything)
        migration.resume(missing_blocks=migration.all_blocks)
        migration.push_blocks(until=migration.now)

    result = migrate(stops_early, "idle", memory="4MiB", disk_args={"size": "2MiB"}).result
    assert result.status == "corrupt"
    assert "blocks of the disk never reached the destination" in result.error


def test_wrong_uses_are_refused() -> None:
    migration = handle([])
    with pytest.raises(RuntimeError, match="before resume"):
        migration.push_blocks()
    with pytest.raises(ValueError, match="the disk has 64 blocks"):
        migration.send_blocks(migration.everything)
    with pytest.raises(ValueError, match="more than 0"):
        migration.send_blocks(migration.all_blocks, rate=0)
    migration.pause()
    with pytest.raises(RuntimeError, match="pages and blocks missing"):
        migration.resume(migration.everything, missing_blocks=migration.all_blocks)
    migration.resume(missing_blocks=migration.all_blocks)
    for act in (migration.mirror, lambda: migration.send_blocks(migration.all_blocks)):
        with pytest.raises(RuntimeError, match="after resume"):
            act()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"block": "32KiB"}, "disk: block is 32 KiB, expected a power of two from 64 KiB to 1 MiB"),
        ({"size": "1.5MiB"}, "expected a positive multiple of the block, 1 MiB"),
        ({"io_bytes": "2MiB"}, "io_bytes is 2 MiB, expected a power of two from 4 KiB to the"),
        ({"queue_depth": 0}, "disk: queue_depth is 0, expected 1 or more"),
        ({"read_rate": 0}, "disk: read_rate is 0"),
        ({"blocks": 3}, "disk: unknown parameter 'blocks', did you mean 'block'"),
        ({"workload": "unifrom"}, "disk: unknown workload 'unifrom', did you mean 'uniform'"),
        ({"workload": "uniform(working_set=1TiB)"}, "disk: workload: a working_set of 1 TiB"),
    ],
)
def test_bad_disks_are_told_in_a_sentence(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        migrate("precopy", memory="4MiB", disk_args=given)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- keys and rows -----------------------------------------------------------------------------


def test_a_disk_is_part_of_the_key_only_where_there_is_one(tmp_path: Path) -> None:
    plain = Task(algorithm="storage_mirror", workload="idle", memory="4MiB")
    given = {"size": "4MiB", "workload": "uniform(rate=1MB/s)"}
    task = Task(algorithm="storage_mirror", workload="idle", memory="4MiB", disk_args=given)
    other = Task(
        algorithm="storage_mirror", workload="idle", memory="4MiB",
        disk_args={**given, "queue_depth": 2},
    )  # fmt: skip
    assert "disk" not in plain.resolve().describe()
    assert len({plain.key, task.key, other.key}) == 3
    again = Task(
        algorithm="storage_mirror", workload="idle", memory="4MiB",
        disk_args={"size": 4 * MIB, "workload": "uniform(rate=1MB/s)"},
    )  # fmt: skip
    assert again.key == task.key
    with Store(tmp_path) as store:
        collect([plain, task], store, workers=1)
    rows = frame(load_rows(tmp_path).values()).to_dict("records")
    assert {task_of(row).key for row in rows} == {plain.key, task.key}
