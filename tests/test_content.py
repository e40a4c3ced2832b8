"""What pages hold and what writes change: classes, equal pages, and the rule of writes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers import Listed, machine
from hypothesis import given
from hypothesis import strategies as st

from migsim import InputError, migrate
from migsim._kernels.content import CLASS_MASK, FORCED, HEAP, fill_page, is_zero, write_page
from migsim.calibration import packet_size, sample_pages, size_quantiles
from migsim.codecs import lz4, zlib, zstd
from migsim.content import CLASSES, PAGE_BYTES, Content, ContentRule, parse_content
from migsim.memory import GuestMemory
from migsim.pages import Pages

SEED = np.uint64(11)
kinds = st.sampled_from(sorted(CLASSES.values()))


def page_of(kind: int, page: int = 3, group: int = -1) -> np.ndarray:
    data = np.empty(PAGE_BYTES, np.uint8)
    fill_page(SEED, kind, page, group, data.view(np.uint64))
    return data


def content(pages: int = 4096, seed: int = 0, **rule: Any) -> Content:
    return Content(ContentRule(**rule), Listed([], pages), pages, seed)


# ---- writes -------------------------------------------------------------------------------------


@given(kinds, st.integers(1, 4096), st.data(), st.integers(0, 2**40), st.booleans())
def test_a_write_changes_what_it_says_and_nothing_else(
    kind: int, count: int, data: st.DataObject, access: int, forced: bool
) -> None:
    runs = data.draw(st.integers(1, min(count, 2048)))
    spots = data.draw(st.integers(0, 5))
    before = page_of(kind)
    after = before.copy()
    write_page(SEED, kind, 3, access, count | runs << 16 | (FORCED if forced else 0), spots, after)
    changed = int((before != after).sum())
    assert 1 <= changed <= count
    again = before.copy()
    write_page(SEED, kind, 3, access, count | runs << 16 | (FORCED if forced else 0), spots, again)
    assert (again == after).all()
    if forced and count + runs <= PAGE_BYTES:
        assert changed == count
        differs = np.flatnonzero(before != after)
        gaps = np.diff(np.append(differs, differs[0] + PAGE_BYTES))
        assert (gaps > 1).sum() <= runs


def test_writes_to_fixed_places_meet_the_same_bytes() -> None:
    first, second = page_of(HEAP), page_of(HEAP)
    touched = []
    for access in range(20):
        for data, spots in ((first, 1), (second, 0)):
            before = data.copy()
            write_page(SEED, 0, 3, access, 64 | 8 << 16, spots, data)
            touched.append(set(np.flatnonzero(before != data).tolist()))
    assert len(set().union(*touched[::2])) <= 64
    assert len(set().union(*touched[1::2])) > 640


@pytest.mark.parametrize("name", ["compressed", "text", "code", "heap"])
@pytest.mark.parametrize("codec", [lz4(), zlib(level=1), zstd(level=3)], ids=lambda c: c.name)
def test_written_pages_compress_as_well_as_new_ones(name: str, codec: Any) -> None:
    """Words are drawn one by one, so that a page stays one of its class."""
    kind = CLASSES[name]
    new = sample_pages(kind, 48)
    old = new.copy()
    for page, data in enumerate(old):
        for access in range(300):
            write_page(np.uint64(2026), kind, page, access, 64 | 1 << 16, 0, data)
    assert (old != new).mean() > 0.3 or name == "heap"
    before, after = (np.mean(size_quantiles(codec, pages)) for pages in (new, old))
    assert after == pytest.approx(before, rel=0.02)


def test_the_classes_are_told_apart_by_compressors() -> None:
    sizes = {
        name: np.mean(size_quantiles(zstd(), sample_pages(kind, 32)))
        for name, kind in CLASSES.items()
    }
    order = ["uniform", "heap", "text", "code", "compressed", "encrypted"]
    assert all(sizes[one] <= sizes[other] for one, other in pairwise(order))
    assert sizes["encrypted"] == PAGE_BYTES
    text = sample_pages(CLASSES["text"], 128)
    assert packet_size(zstd(), text, 128) < 0.8 * packet_size(zstd(), text, 1)


# ---- classes ------------------------------------------------------------------------------------


def test_the_shares_of_a_mix() -> None:
    classes = content(1 << 16, content="heap:3+text:1", duplicate_fraction=0.0).classes()
    assert set(classes.tolist()) == {CLASSES["heap"], CLASSES["text"]}
    assert (classes == CLASSES["heap"]).mean() == pytest.approx(0.75, abs=0.01)


def test_zero_pages_of_a_mix_begin_as_zeros_and_become_heap() -> None:
    mix = content(1 << 14, content="zero:1+code:3")
    zeros = mix.zero_pages()
    assert len(zeros) / (1 << 14) == pytest.approx(0.25, abs=0.02)
    assert set(mix.classes()[zeros.indices()].tolist()) == {CLASSES["heap"]}
    assert not content().zero_pages()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_duplicates_are_equal_to_the_byte(share: float) -> None:
    pages = 2048
    vm = machine(pages, memory_model="bytes")
    memory = GuestMemory(
        vm, content(pages, duplicate_fraction=share), Pages.range(0, pages, size=pages)
    )
    here = [row.tobytes() for row in memory.arrays.here]
    counts = {row: here.count(row) for row in set(here)}
    shared = sum(count for count in counts.values() if count > 1) / pages
    assert shared == pytest.approx(share, abs=0.03)


def test_the_content_of_a_guest_depends_on_its_seed_alone() -> None:
    assert (content(seed=1).classes() == content(seed=1).classes()).all()
    assert (content(seed=1).classes() != content(seed=2).classes()).any()


def test_silent_writes_dirty_the_log_and_change_nothing() -> None:
    changes = np.empty(20_000, np.int64)
    content(silent_fraction=0.3, write_bytes=8).changes(5, changes)
    assert (changes == 0).mean() == pytest.approx(0.3, abs=0.01)
    part = np.empty(100, np.int64)
    content(silent_fraction=0.3, write_bytes=8).changes(105, part)
    assert (changes[100:200] == part).all()
    result = migrate(
        "delta", "uniform", memory="16MiB",
        algorithm_args={"max_downtime": "1us"},
        workload_args={"silent_fraction": 1.0, "rate": 20_000},
    ).result  # fmt: skip
    assert result.status == "completed"
    assert result.rounds > 1
    assert result.sent_resent == 0
    assert result.unchanged_pages > 100


def test_a_first_write_fills_a_zero_page() -> None:
    def first_half(migration: Any) -> None:
        migration.send(migration.nothing)  # nothing is known of content yet
        migration.pause()
        here = migration._guest.memory.arrays.here
        kinds = migration._guest.memory.arrays.classes & CLASS_MASK
        assert is_zero(here[0].view(np.uint64)) == False  # noqa: E712 - a NumPy bool
        assert is_zero(here[40].view(np.uint64))
        fresh = here[60]
        assert kinds[60] == CLASSES["text"]
        assert (fresh != 0).mean() > 0.9
        migration.send(migration.everything)
        migration.resume()

    def writes_one(_vm: object, _seed: int) -> Listed:
        return Listed([(0.0, 60, True)], 64)

    outcome = migrate(
        first_half, writes_one, memory="256KiB", workload_args={"content": "text"},
        vm_args={"memory_model": "bytes", "zero_fraction": 0.5},
    )  # fmt: skip
    assert outcome.result.status == "completed", outcome.result.error
    assert outcome.result.zero_pages == 31


# ---- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"content": "txet"}, "did you mean 'text'"),
        ({"content": "text:-1"}, "expected a mix such as"),
        ({"content": "text:x"}, "expected a mix such as"),
        ({"content": "text+text"}, "expected a mix such as"),
        ({"content": ""}, "unknown class ''"),
        ({"write_bytes": 5000}, "at most a page"),
        ({"write_pattern": "all"}, "record, scattered, fixed"),
        ({"silent_fraction": 1.5}, "silent_fraction"),
    ],
)
def test_bad_rules_are_told_in_a_sentence(rule: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        migrate("precopy", "uniform", memory="1MiB", workload_args=rule)


def test_shares_add_up() -> None:
    for text in ("guest", "heap", "heap:2+zero+uniform:0.5"):
        assert sum(parse_content(text).values()) == pytest.approx(1.0)


def test_pages_of_another_size_have_no_content() -> None:
    with pytest.raises(InputError, match="page_size is 2 MiB, expected 4 KiB"):
        migrate("compressed", "uniform", memory="64MiB", vm_args={"page_size": "2MiB"})
    with pytest.raises(InputError, match="memory_model=bytes"):
        migrate("precopy", "idle", memory="64GiB", vm_args={"memory_model": "bytes"})
