"""Links: what their parameters mean, and `migsim link` and `migsim validate`."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, preset

from migsim import InputError, Link, Task, migrate
from migsim.network import Flow
from migsim.network.headers import ENCAPSULATIONS


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "migsim", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def link(**changes: Any) -> Link:
    return Link(**{"rate": 125e6, "rtt": 0.1, **changes})


# ---- parameters ---------------------------------------------------------------------------------


def test_headers() -> None:
    plain = link()
    assert (plain.segment, plain.packet) == (1448, 1538)
    for name, wire, segment in [
        ("vlan", 1542, 1448), ("vxlan", 1538, 1398), ("ipsec", 1538, 1394),
        ("vlan,vxlan", 1542, 1398),
    ]:  # fmt: skip
        tunnel = link(encapsulation=name)
        assert (tunnel.packet, tunnel.segment) == (wire, segment), name
    tls = link(encapsulation="tls")
    assert tls.goodput / plain.goodput == pytest.approx(16_384 / 16_406, abs=1e-3)
    assert link(encapsulation=",".join(ENCAPSULATIONS)).goodput < plain.goodput
    assert link(overhead=0, encapsulation="vlan").goodput == 125e6


def test_queues() -> None:
    assert link().queue_bytes == 12.5e6
    assert link(rtt=1.1e-3).queue_bytes == 2**18
    assert link(rtt=1e-3).queue_bytes == 62_500  # the sender's own interface: half a millisecond
    assert link(rtt=1e-3).queue_is_local and not link(rtt=1.1e-3).queue_is_local
    assert link(queue="local").queue_is_local
    assert link(queue="2bdp").queue_bytes == 25e6
    assert link(queue="0.5bdp").queue_bytes == 6.25e6
    assert link(queue="1MiB").queue_bytes == 2**20


def test_buffers() -> None:
    assert link().buffer == 0.943 * 2**22
    assert link(receive_buffer=2**20).buffer == 0.65 * 2**20
    assert link(send_share=1, receive_share=1).buffer == 2**22


def test_bursts() -> None:
    bursts = link(burst_loss="1%:20:50%").bursts
    share = bursts.begins / (bursts.begins + bursts.ends)  # of the time in the bad state
    assert share * bursts.inside == pytest.approx(0.01)
    assert 1 / bursts.ends == pytest.approx(20)
    assert link(burst_loss="0.001").bursts.ends == 0.1


def test_a_trace_file_is_part_of_the_key(tmp_path: Path) -> None:
    file = tmp_path / "rate.csv"
    file.write_text("seconds,rate\n0,1Gbit/s\n1.5,50Mbit/s # rain\n\n3s,1Gbit/s\n")
    plan = link(trace=str(file)).schedule()
    assert plan.at.tolist() == [0.0, 1.5, 3.0]
    assert plan.rate.tolist() == [125e6, 6.25e6, 125e6]
    arguments: Any = {
        "algorithm": "precopy", "workload": "idle", "memory": "64MiB",
        "link_args": {"trace": str(file)},
    }  # fmt: skip
    before = Task(**arguments).key
    slow = migrate(**arguments).result
    file.write_text("0,1Mbit/s\n")
    assert Task(**arguments).key != before
    assert migrate(**arguments).result.total_seconds > 100 * slow.total_seconds


def test_functions_of_time() -> None:
    day = link(trace="diurnal(low=20%, period=24h)").schedule()
    assert day.rate.max() == pytest.approx(125e6)
    assert day.rate.min() == pytest.approx(25e6, rel=0.01)
    assert day.at[int(day.rate[:96].argmin())] == pytest.approx(43_200)
    radio = [link(trace="cellular(low=10%)").schedule(seed) for seed in (1, 1, 2)]
    assert radio[0].rate.tolist() == radio[1].rate.tolist() != radio[2].rate.tolist()
    assert 12.5e6 <= radio[0].rate.min() < radio[0].rate.max() <= 125e6
    assert link(trace="step(at=2s, to=1MB/s)").schedule().rate.tolist() == [125e6, 1e6]


def test_outages_cut_the_trace() -> None:
    plan = link(trace="step(at=5s, to=1MB/s)", outages="1s+1s,4s+2s,10s+inf").schedule()
    assert plan.at.tolist() == [0, 1, 2, 4, 6, 10]
    assert plan.rate.tolist() == [125e6, 0, 125e6, 0, 1e6, 0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"queue": "4G"}, "queue: got '4G', expected a size"),
        ({"congestion": "vegas"}, "congestion is vegas, expected cubic, bbr, reno or none"),
        ({"streams": 0}, "streams is 0, expected 1 to 1,024"),
        ({"loss": 1.0}, "loss is 1.0, expected 0 to 0.99"),
        ({"burst_loss": "1:1:1:1"}, "expected MEAN:LENGTH:INSIDE"),
        ({"burst_loss": "60%"}, "expected MEAN:LENGTH:INSIDE"),
        ({"trace": "no/such.csv"}, "no such file"),
        ({"trace": "step(at=1s)"}, "step needs to"),
        ({"trace": "stepp(at=1s)"}, "did you mean 'step'"),
        ({"trace": "diurnal(lw=1%)"}, "did you mean 'low'"),
        ({"trace": "cellular(every=0s)"}, "expected times of at least 0.001 s"),
        ({"trace": "step(at=1s, to=2Gbit/s)"}, "2 Gbit/s exceeds the link's rate"),
        ({"outages": "inf+2s"}, "write START+LENGTH"),
        ({"send_share": 5}, "send_share is 5, expected 0.01 to 1"),
        ({"background_flows": 1, "congestion": "bbr"}, "expected cubic or reno"),
        ({"outages": "10s"}, "START+LENGTH"),
        ({"outages": "10s+5s,12s+1s"}, "before the one before has ended"),
        ({"background": 125e6}, "background is 125000000.0, expected less than the rate"),
        ({"encapsulation": "vxlna"}, "did you mean 'vxlan'"),
        ({"encapsulation": "tls,tls"}, "given twice"),
        ({"send_buffer": 100}, "send_buffer holds 94 bytes of payload"),
        ({"jitter": math.inf}, "jitter is inf"),
        ({"mtu": 100}, "mtu is 100"),
    ],
)
def test_what_cannot_be_used_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=r".*") as error:
        link(**changes)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("", "no line with a rate"),
        ("1,2,3\n", "line 1: got '1,2,3', expected SECONDS,RATE"),
        ("0,1Gbit/s\n0,1Gbit/s\n", "line 2: 0 s is not after"),
        ("0,fast\n", "line 1: got 'fast'"),
    ],
)
def test_a_wrong_trace_file(tmp_path: Path, rows: str, sentence: str) -> None:
    file = tmp_path / "rate.csv"
    file.write_text(rows)
    with pytest.raises(InputError, match=r".*") as error:
        link(trace=str(file))
    assert sentence in str(error.value)


def test_no_congestion_control_is_the_plain_rate() -> None:
    plain = link(congestion="none", loss=0.5, jitter=0.01)
    assert Flow(plain, 0.0).transmit(0.0, 10**9) == pytest.approx(0.1 + 10**9 / plain.goodput)
    unlimited = preset("unlimited")
    assert Flow(unlimited, 0.0).transmit(0.0, 10**15) == 0.0


# ---- migsim link --------------------------------------------------------------------------------


def test_link_as_json() -> None:
    done = run("link", "--link", "gigabit", "--bytes", "1GiB", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["bytes"] == 2**30
    assert found["mean_rate"] == pytest.approx(found["bytes"] / found["seconds"])
    assert found["mean_rate"] == pytest.approx(117.7e6, rel=0.01)
    last = found["series"][-1]
    assert set(last) == {
        "seconds", "rate", "window", "queue", "reply", "reply_behind_bulk"
    }  # fmt: skip
    assert last["seconds"] == pytest.approx(found["seconds"])


def test_link_as_a_table_and_a_figure(tmp_path: Path) -> None:
    file = tmp_path / "link.png"
    done = run(
        "link", "--link", "custom", "-l", "rate=200Mbit/s", "-l", "rtt=100ms", "-l", "loss=0.01%",
        "-l", "queue=2bdp", "-l", "congestion=bbr", "--duration", "10s", "--seed", "3",
        "--plot", str(file),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "200 Mbit/s, 100 ms round trip, bbr, 1 connection" in done.stdout
    assert len(done.stdout.splitlines()) == 1 + 1 + 20 + 1
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--bytes", "1G"), "--bytes: got '1G'"),
        (("--bytes", "0"), "--bytes 0: expected more than 0"),
        (("--bytes", "1GiB", "--duration", "1s"), "both given"),
        (("--duration", "inf"), "no infinity"),
        (("--plot", "/no/such/dir/x.png"), "there is no such directory"),
        (("-l", "queue=big"), "queue: got 'big'"),
        (("-l", "loss=2"), "loss: got '2'"),
        (("-l", "quue=1MB"), "did you mean 'queue'"),
        (("--seed", str(2**63)), "expected a 64-bit integer"),
    ],
)
def test_link_refuses(arguments: tuple[str, ...], sentence: str) -> None:
    done = run("link", "--link", "gigabit", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "argument",
    ["jitter=1ms", "loss=0.1%", "burst_loss=0.1%", "queue=2bdp", "congestion=reno", "streams=4",
     "send_buffer=1MiB", "receive_buffer=1MiB", "mtu=9000", "overhead=100", "background=10MB/s",
     "trace=step(at=100ms, to=500Mbit/s)", "outages=100ms+50ms", "encapsulation=vlan"],
)  # fmt: skip
def test_migrate_takes_every_parameter(argument: str) -> None:
    name, _, value = argument.partition("=")
    plain, changed = (
        migrate("precopy", "idle", "metro", memory="32MiB", link_args=given).result
        for given in ({}, {name: value})
    )
    assert changed.status == "completed"
    assert changed.total_seconds != plain.total_seconds or name == "queue"


ROW = "200,10,0,cubic,67108864,256,10,3,182.3,170.1,187.3,183.4,0.2"
COLUMNS = ("rate_mbps,rtt_ms,loss,cc,wmem,q_kb,secs,runs,mean_mbps,min_mbps,max_mbps,"
           "mean_after5s_mbps,t90_s")  # fmt: skip


def test_rows_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(f"{COLUMNS}\n{ROW}\n")
    found = json.loads(run("validate", "tcp", "--json", "--rows", str(file)).stdout)
    assert [row["set"] for row in found["rows"]] == [str(file)]
    assert found["rows"][0]["predicted_mbps"] == pytest.approx(187, rel=0.02)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot read the measured rows"),
        (COLUMNS, "there is no measured row"),
        (f"{COLUMNS}\n{ROW.replace('cubic', 'vegas')}", "line 2: cc is 'vegas', expected cubic"),
        (f"{COLUMNS}\n{ROW.replace('182.3', 'fast')}", "line 2: could not convert"),
        (f"{COLUMNS}\n{ROW.replace('200,', '-1,', 1)}", "line 2: link: rate is -125000"),
        (f"{COLUMNS.replace('cc,', 'tcp,')}\n{ROW}", "expected a column 'cc'"),
        (f"{COLUMNS}\n{ROW}\n200,10", "line 3"),
    ],
)
def test_bad_rows_are_told_in_a_sentence(text: str | None, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    if text is not None:
        file.write_text(text + "\n")
    done = run("validate", "tcp", "--rows", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr and str(file) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_validate_tcp(tmp_path: Path) -> None:
    file = tmp_path / "tcp.png"
    done = run("validate", "tcp", "--json", "--seeds", "3", "--plot", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert len(found["rows"]) == 89
    assert {"error", "within", "predicted_mbps"} <= set(found["rows"][0])
    assert sum(share["rows"] for share in found["summary"] if share["name"] != "time to 90 %") == 89
    assert file.read_bytes().startswith(b"\x89PNG")
    text = run("validate", "tcp", "--seeds", "1")
    assert "loss-free within 10%" in text.stdout
