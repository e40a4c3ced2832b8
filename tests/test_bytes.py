"""Guests with bytes: nothing is lost whatever happens, faults are named, both levels agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ENDING, Listed, small_arguments, small_trace
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim import Migration, codecs, make_codec, migrate
from migsim.codecs import Codec
from migsim.guest import Guest
from migsim.registry import names
from migsim.result import Result

BYTES = {"memory_model": "bytes"}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_trace(tmp_path_factory.mktemp("traces") / "bytes.mtrace")


@pytest.mark.parametrize("algorithm", names("algorithm"))
@pytest.mark.parametrize("workload", names("workload"))
def test_both_memories_are_equal_in_the_end(algorithm: str, workload: str, trace: Path) -> None:
    """Over a lossy link that is down for a while, with pages of every class and silent writes."""
    result = migrate(
        algorithm,
        workload,
        "long_distance",
        memory="4MiB",
        seed=3,
        algorithm_args=ENDING.get(algorithm, {}),
        workload_args={
            **small_arguments(workload, trace),
            "content": "heap:4+text:2+code+encrypted+zero+uniform",
            "silent_fraction": 0.2,
        },
        link_args={"rtt": "10ms", "loss": 0.01, "outages": "300ms+500ms"},
        vm_args={**BYTES, "vcpus": 3, "zero_fraction": 0.1},
    ).result
    assert (result.status, result.error) == ("completed", "")
    assert result.total_seconds > 0.8


CODECS = [
    "raw", "uniform", "scaled(ratio=0.3, rate=1GB/s)", "lz4", "zlib", "zstd(level=3)",
    "zstd(dictionary=true)", "zstd(packet=128, threads=4)", "zlib(packet=64)", "adaptive",
    "xbzrle", "xbzrle(cache=2MiB)", "delta", "delta(compressor=zstd)", "dedup",
]  # fmt: skip
WRITES: list[dict[str, Any]] = [
    {},
    {"write_bytes": 8},
    {"write_bytes": 512, "write_pattern": "scattered"},
    {"write_bytes": 4096, "content": "heap"},
    {"content": "heap:5+zero:3+uniform:1", "write_bytes": 128, "silent_fraction": 0.3},
    {"write_bytes": 256, "write_pattern": "fixed", "content": "text"},
]


@pytest.mark.parametrize(
    ("writes", "sent"),
    [
        # What is written silently stays a page of zeros, and is not stale.
        ({"content": "zero", "silent_fraction": 1.0}, 50 * 9),
        # A write makes a page of heap of a uniform one, which then is sent as it is.
        ({"content": "uniform"}, 50 * 4104),
    ],
)
@pytest.mark.parametrize("model", ["sizes", "bytes"])
def test_writes_before_the_first_codec_count(model: str, writes: Any, sent: int) -> None:
    resent = []

    def algorithm(migration: Migration) -> None:
        migration.send(migration.everything)
        migration.wait(1.0)
        codec = codecs.uniform() if "silent_fraction" not in writes else codecs.RAW
        resent.append(migration.send(migration.take_dirty(), codec=codec).bytes)
        migration.pause()
        migration.resume()

    def workload(_vm: object, _seed: int) -> Listed:
        return Listed([(0.5 + 1e-3 * page, page, True) for page in range(50)], 256)

    result = migrate(
        algorithm, workload, memory="1MiB", workload_args={"duplicate_fraction": 0, **writes},
        vm_args={"memory_model": model},
    ).result  # fmt: skip
    assert (result.status, result.error) == ("completed", "")
    assert resent == [sent]


@pytest.mark.parametrize("model", ["sizes", "bytes"])
def test_dedup_knows_only_what_it_has_sent_itself(model: str) -> None:
    sent = []

    def algorithm(migration: Migration) -> None:
        for codec in (codecs.RAW, codecs.dedup(), codecs.dedup(), codecs.RAW, codecs.dedup()):
            sent.append(migration.send(migration.everything, codec=codec).bytes // 256)
        migration.pause()
        migration.resume()

    workload_args = {"duplicate_fraction": 0, "content": "text"}
    migrate(
        algorithm, "idle", memory="1MiB", workload_args=workload_args,
        vm_args={"memory_model": model},
    )  # fmt: skip
    assert sent == [4104, 4104, 8 + 3 + 8, 4104, 4104]


def rounds_of(codec: Codec, rounds: int = 3) -> Any:
    def algorithm(migration: Migration) -> None:
        dirty = migration.everything
        for _ in range(rounds):
            migration.send(dirty, codec=codec)
            dirty = migration.take_dirty()
        migration.pause()
        migration.send(dirty | migration.take_dirty(), codec=codec)
        migration.resume()

    return algorithm


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("writes", WRITES, ids=lambda writes: ",".join(map(str, writes.values())))
def test_sizes_and_bytes_agree(name: str, writes: dict[str, Any]) -> None:
    """Within 5 % on the bytes sent: here within 3 %, and the resent ones within 10 %."""
    sizes, real = (
        migrate(
            rounds_of(make_codec(name)),
            "hotcold",
            memory="24MiB",
            workload_args={"rate": 20_000, "working_set": "8MiB", **writes},
            vm_args={"memory_model": model, "zero_fraction": 0.1},
        ).result
        for model in ("sizes", "bytes")
    )
    assert (sizes.status, real.status) == ("completed", "completed"), real.error
    assert sizes.bytes_sent == pytest.approx(real.bytes_sent, rel=0.03)
    assert sizes.sent_resent == pytest.approx(real.sent_resent, rel=0.10, abs=20_000)
    assert sizes.total_seconds == pytest.approx(real.total_seconds, rel=0.03)
    assert sizes.cpu_seconds == pytest.approx(real.cpu_seconds, rel=0.05, abs=1e-4)
    for count in ("encoded_pages", "unchanged_pages", "cache_misses", "overflows"):
        assert getattr(sizes, count) == pytest.approx(getattr(real, count), rel=0.05, abs=20)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "sync", "wait", "throttle"]),
            st.sampled_from([make_codec(name) for name in CODECS]),
            st.floats(0, 0.004),
        ),
        max_size=12,
    ),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_codecs_may_be_mixed_in_any_order(
    plan: list[tuple[str, Codec, float]], seed: int, post: bool
) -> None:
    """Caches and known pages of one codec stay true when another has sent something."""

    def algorithm(migration: Migration) -> None:
        known = migration.everything
        for act, codec, amount in plan:
            if act == "send":
                known = migration.send(known, codec=codec, until=migration.now + amount).left
            elif act == "sync":
                known |= migration.take_dirty()
            elif act == "wait":
                migration.wait(amount)
            else:
                migration.throttle(min(0.9, amount * 200))
        migration.pause()
        known |= migration.take_dirty()
        if post:
            migration.resume(missing=known)
            migration.push()
        else:
            migration.send(known, codec=plan[-1][1] if plan else codecs.RAW)
            migration.resume()

    result = migrate(
        algorithm, "uniform", "gigabit", memory="1MiB", seed=seed,
        workload_args={"rate": 60_000, "read_fraction": 0.2, "working_set": "512KiB",
                       "content": "heap:4+zero:2+uniform+text", "silent_fraction": 0.3},
        link_args={"loss": 0.01}, vm_args={**BYTES, "vcpus": 2},
    ).result  # fmt: skip
    assert (result.status, result.error) == ("completed", "")


# ---- what goes wrong is caught and named ---------------------------------------------------------


def run(algorithm: Any, **changes: Any) -> Result:
    workload_args = {"rate": 20_000, "working_set": "2MiB"}
    return migrate(
        algorithm, "uniform", memory="4MiB", workload_args=workload_args,
        vm_args={**BYTES, **changes},
    ).result  # fmt: skip


class _Broken:
    """Complements the first byte of one page in a hundred."""

    def encode(self, page: int, old: np.ndarray | None, new: np.ndarray) -> bytes | None:
        return new.tobytes()[:4000]

    def decode(self, page: int, message: bytes, memory: np.ndarray) -> None:
        memory[page, :4000] = np.frombuffer(message, np.uint8)
        memory[page, 4000:] = self.tail(page)

    def forget(self, page: int) -> None:
        pass

    def tail(self, page: int) -> int:
        return 0 if page % 100 else 0xEE


def test_a_broken_codec_is_caught_and_named() -> None:
    wrong = Codec(name="wrong", encoder=_Broken)
    result = run(rounds_of(wrong))
    assert result.status == "corrupt"
    assert "arrived with other bytes: their codec is wrong (pages 0, " in result.error
    assert result.corrupt_pages > 900
    right = run(rounds_of(codecs.zstd()))
    assert (right.status, right.error, right.corrupt_pages) == ("completed", "", 0)


def test_a_dropped_page_is_caught_and_named() -> None:
    def drops(migration: Migration) -> None:
        migration.pause()
        everything = migration.everything
        migration.send(everything - type(everything).of([77], size=everything.size))
        migration.resume()

    result = run(drops)
    assert result.status == "corrupt"
    assert result.error.startswith(
        "1 stale pages were readable at the destination (pages 77): "
        "1 known to be dirty and not sent"
    )


def test_a_bitmap_cleared_too_late_is_caught_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is read, the guest writes on, and only then it is cleared: that is lost."""
    read = Guest.read_log
    late: list[Any] = []

    def reads_now_clears_later(guest: Guest, *, clear: bool) -> Any:
        dirty = read(guest, clear=False)
        if clear:
            guest.syncs += 1
            guest.owed |= dirty
            late.append(dirty)
        return dirty

    monkeypatch.setattr(Guest, "read_log", reads_now_clears_later)

    def algorithm(migration: Migration) -> None:
        migration.send(migration.everything)
        dirty = migration.take_dirty()
        migration.wait(0.01)
        migration._guest.log = migration.nothing  # now
        migration.send(dirty)
        migration.pause()
        migration.send(migration.take_dirty())
        migration.resume()

    result = run(algorithm)
    assert result.status == "corrupt"
    assert "written after they were sent, and the dirty log has lost that" in result.error


def test_a_page_that_lands_on_newer_bytes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Post-copy: bytes at the destination are compared at the very end, too."""

    def algorithm(migration: Migration) -> None:
        migration.pause()
        migration.resume(missing=migration.everything)
        migration.push()
        arrays = migration._guest.memory.arrays
        written = int(np.flatnonzero((arrays.here != arrays.there).any(axis=1))[0])
        arrays.there[written] = arrays.here[written]

    result = run(algorithm)
    assert result.status == "corrupt"
    assert "arrived with other bytes" in result.error


def test_what_is_read_at_the_destination_was_written_there_or_sent() -> None:
    """A guest that only reads finds in the end what the source had."""

    def reads(_vm: object, _seed: int) -> Listed:
        return Listed([(k * 1e-4, k * 97 % 256, k % 7 == 0) for k in range(3000)], 256)

    result = migrate(
        "postcopy", reads, memory="1MiB", link_args={"rate": "100Mbit/s"},
        vm_args={**BYTES, "vcpus": 4},
    ).result  # fmt: skip
    assert (result.status, result.error) == ("completed", "")
    assert result.faults > 0
