"""Codecs as descriptions, and the tables of what they make of pages and of what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from migsim import InputError, Task, codecs, make_codec, migrate
from migsim.calibration import (
    delta_size,
    measured_codecs,
    packet_size,
    sample_pages,
    size_quantiles,
    write_table,
)
from migsim.codec_costs import costs_path, read_costs
from migsim.codec_sizes import CLASS_COUNT, QUANTILES, class_names, delta_table, grid, page_sizes
from migsim.content import CLASSES


@pytest.mark.parametrize("codec", measured_codecs(), ids=lambda codec: codec.name)
@pytest.mark.parametrize("name", ["text", "heap", "blend-16-28"])
def test_the_table_of_sizes_holds_what_is_measured(codec: Any, name: str) -> None:
    """Other versions of the libraries may compress a little better or worse."""
    kind = class_names()[name]
    table = page_sizes(codec.name, 1, {})
    assert table.shape == (CLASS_COUNT, QUANTILES)
    measured = size_quantiles(codec, sample_pages(kind))
    assert table[kind].tolist() == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize("codec", [codecs.zlib(packet=128), codecs.zstd(packet=128)], ids=str)
def test_packets_hold_what_is_measured(codec: Any) -> None:
    kind = CLASSES["text"]
    alone = {"text": 1.0}
    sizes = [page_sizes(codec.name, packet, alone)[kind][0] for packet in (1, 4, 16, 64, 128)]
    assert sizes[-1] < 0.8 * sizes[0]
    measured = packet_size(codec, sample_pages(kind), 128)
    assert sizes[-1] == pytest.approx(measured, rel=0.03)
    # Few pages of a class in a packet help one another less.
    half = page_sizes(codec.name, 128, {"text": 0.1, "heap": 0.9})[kind][0]
    assert sizes[-1] < half < sizes[0]


@pytest.mark.parametrize("compressor", ["none", "zstd"])
@pytest.mark.parametrize(("written", "runs"), [(8, 1), (64, 8), (512, 64), (4096, 1)])
def test_the_table_of_deltas_holds_what_is_measured(
    compressor: Any, written: int, runs: int
) -> None:
    codec = codecs.delta(compressor=compressor)
    table, _ = delta_table(codec.name)
    steps = grid()
    for name in ("text", "heap"):
        measured = delta_size(codec, CLASSES[name], written, runs, forced=False)
        assert np.exp(table[CLASSES[name], steps.index(written), steps.index(runs)]) == (
            pytest.approx(measured, rel=0.03, abs=0.6)
        )


def test_every_codec_has_costs() -> None:
    costs = read_costs("reference")
    names = {codec.name for codec in measured_codecs()}
    assert names | {"zero", "uniform", "dedup", "xbzrle", "delta-zstd-1"} <= set(costs)
    for codec in measured_codecs():
        assert all((costs[codec.name].of_class(name) or 0) > 0 for name in class_names())
    assert costs["xbzrle"].seconds_per_byte > 0
    # What is compressed in vain is at least given up quickly by lz4 and zstd.
    assert costs["lz4"].of_class("encrypted") < costs["lz4"].of_class("text")


# ---- costs of one's own -------------------------------------------------------------------------


def costs_file(folder: Path, *rows: str) -> Path:
    path = folder / "costs.csv"
    path.write_text(
        "\n".join(["codec,class,seconds_per_page,seconds_per_byte,seconds_per_run", *rows]) + "\n"
    )
    return path


def test_costs_decide_the_pace_and_the_key(tmp_path: Path) -> None:
    def run(seconds: float, threads: int) -> Any:
        path = costs_file(tmp_path, f"zstd-1,any,{seconds},0,0", "zero,any,0,0,0")
        return migrate(
            "compressed", "idle", "gigabit", memory="16MiB",
            algorithm_args={"codec": f"zstd(threads={threads})"},
            workload_args={"content": "encrypted"}, vm_args={"codec_costs": str(path)},
        ).result  # fmt: skip

    slow, two, fast = run(1e-3, 1), run(1e-3, 2), run(1e-6, 1)
    assert slow.total_seconds == pytest.approx(4096e-3, rel=0.02)
    assert two.total_seconds == pytest.approx(2048e-3, rel=0.02)
    assert slow.cpu_seconds == pytest.approx(two.cpu_seconds)
    assert slow.cpu_seconds == pytest.approx(4.096, rel=0.01)
    assert fast.total_seconds == pytest.approx(16 * 2**20 / 117.2e6, rel=0.1)

    def key(seconds: float) -> str:
        path = costs_file(tmp_path, f"zstd-1,any,{seconds},0,0")
        return Task(algorithm="compressed", workload="idle", vm_args={"codec_costs": str(path)}).key

    assert key(1.0) == key(1.0)
    assert key(1.0) != key(2.0)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["zstd-1,any,fast,0,0"], r"line 2: seconds_per_page is 'fast', expected seconds"),
        (["zstd-1,any,0,0,0", "zstd-1,any,1"], r"line 3: seconds_per_byte is 'None'"),
        (["zstd-1,any,-1,0"], r"is '-1', expected seconds from 0"),
        (["lz4,any,1,0,0"], r"unknown for class 'encrypted', expected a row"),
    ],
)
def test_bad_costs_are_told_in_a_sentence(tmp_path: Path, rows: list[str], sentence: str) -> None:
    path = costs_file(tmp_path, *rows)
    with pytest.raises(InputError, match=sentence):
        migrate("compressed", "idle", memory="1MiB", vm_args={"codec_costs": str(path)})


def test_missing_and_foreign_files_of_costs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(InputError, match="run 'migsim calibrate' first"):
        read_costs("measured")
    assert costs_path("measured").is_relative_to(tmp_path)
    path = tmp_path / "other.csv"
    path.write_bytes(b"a,b\n\xff\xfe")
    with pytest.raises(InputError, match="cannot read codec costs"):
        read_costs(str(path))
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected the columns codec, class"):
        read_costs(str(path))


def test_a_table_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    assert write_table(path, iter([{"a": 1, "b": 2}, {"a": 3, "b": 4}])) == 2
    assert path.read_text() == "a,b\n1,2\n3,4\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_table(tmp_path / "file" / "table.csv", iter([{"a": 1}]))


# ---- as text ------------------------------------------------------------------------------------


def test_codecs_as_text() -> None:
    assert make_codec("raw") == codecs.RAW
    assert make_codec("zstd(level=3, threads=4)") == codecs.zstd(level=3, threads=4)
    assert make_codec("xbzrle(cache=4MiB)") == codecs.xbzrle(cache=4 * 2**20)
    assert make_codec("scaled(ratio=30%, rate=1GB/s)").bytes_per_second == 1e9


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("zstdd", "did you mean 'zstd'"),
        ("zstd(levle=1)", "did you mean 'level'"),
        ("zstd(level=1", "expected name"),
        ("xbzrle(cache=3MiB)", "cache is 3145728, expected a power of two"),
        ("lz4(threads=0)", "threads is 0, expected 1 to 1024"),
        ("zlib(packet=0)", "packet is 0"),
        ("scaled(ratio=0.5, rate=0)", "rate"),
        ("zstd(level=7)", "no measured sizes"),
        ("zstd(level=99)", "level is 99, expected 1 to 22"),
        ("zlib(level=0)", "level is 0, expected 1 to 9"),
        ("zstd(level=19, packet=128)", "no measured sizes for packets"),
    ],
)
def test_bad_codecs_are_told_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        migrate("compressed", "idle", memory="1MiB", algorithm_args={"codec": text})


def test_levels_without_sizes_run_on_bytes(tmp_path: Path) -> None:
    costs = costs_file(tmp_path, "zstd-7,any,1e-5,0,0")
    result = migrate(
        "compressed", "idle", memory="1MiB", algorithm_args={"codec": "zstd(level=7)"},
        vm_args={"memory_model": "bytes", "codec_costs": str(costs)},
    ).result  # fmt: skip
    assert result.status == "completed", result.error
    assert result.encoded_pages > 100
