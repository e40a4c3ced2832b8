"""The audit log: whatever is done to it is found, and a run that was killed is taken up."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, python
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim import InputError
from migsim.fleet.audit import AuditLog
from migsim.fleet.chain import Entry, read_entries, verify
from migsim.fleet.state import State, follow, replay

DIGEST = "5c" * 32


def story(log: AuditLog) -> Iterator[Entry]:
    """What a small fleet goes through, entry by entry."""
    yield log.record(0.0, "joined", "h1", cores=8)
    yield log.record(0.0, "joined", "h2", cores=8)
    yield log.record(0.0, "placed", "web", host="h1")
    yield log.record(0.0, "placed", "db", host="h2", memory=2**32, deadline=math.inf)
    yield log.record(1.0, "decided", "h1", job="evacuate", because="größer als ½")
    yield log.record(1.0, "started", "web", "ab" * 32, source="h1", destination="h2")
    yield log.record(1.5, "impaired", "uplink")
    yield log.record(1.1 + 2.2, "completed", "web", "ab" * 32, downtime=0.1 + 0.2)
    yield log.record(4.0, "mended", "uplink")


def write(path: Path) -> bytes:
    with AuditLog(path, "small", DIGEST) as log:
        for _ in story(log):
            pass
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("whole") / "audit.jsonl")


def verdict_of(content: bytes, folder: Path) -> Any:
    path = folder / "audit.jsonl"
    path.write_bytes(content)
    return verify(path)


# ---- what is found -----------------------------------------------------------------------------


def test_a_closed_log_is_intact_and_says_so(tmp_path: Path, whole: bytes) -> None:
    verdict = verdict_of(whole, tmp_path)
    assert (verdict.status, verdict.entries) == ("intact", 11)
    entries = read_entries(verdict.path)
    assert [entry.number for entry in entries] == list(range(11))
    assert b"".join(entry.line + b"\n" for entry in entries) == whole
    assert verdict.head == entries[-1].hash
    assert verdict.words.endswith(f"intact: 11 entries, the last has hash {entries[-1].hash}")
    assert entries[4].details == {"host": "h2", "memory": 2**32, "deadline": "inf"}


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=400)
def test_any_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, at: int, bit: int
) -> None:
    changed = bytearray(whole)
    changed[at % len(whole)] ^= 1 << bit
    verdict = verdict_of(bytes(changed), tmp_path_factory.getbasetemp())
    line = whole[: at % len(whole)].count(b"\n")
    if at % len(whole) == len(whole) - 1:  # the last line without its end is a torn one
        assert (verdict.status, verdict.torn, verdict.entries) == ("open", True, 10)
    else:
        assert (verdict.status, verdict.entries) == ("broken", line)
        assert verdict.words.startswith(f"{verdict.path}:{line + 1}: broken: ")


@given(data=st.data())
@settings(max_examples=200)
def test_any_other_order_and_any_missing_or_doubled_line_is_found(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    lines = whole.splitlines(keepends=True)
    kept = data.draw(st.lists(st.sampled_from(range(len(lines))), max_size=14))
    changed = [lines[number] for number in kept]
    verdict = verdict_of(b"".join(changed), tmp_path_factory.getbasetemp())
    same = next((n for n, line in enumerate(changed) if lines[n : n + 1] != [line]), len(changed))
    assert verdict.entries == same
    if same < len(changed):
        assert verdict.status == "broken"
    else:
        assert verdict.status == ("intact" if same == len(lines) else "open")


def test_any_line_cut_out_and_any_two_swapped_are_found(tmp_path: Path, whole: bytes) -> None:
    lines = whole.splitlines(keepends=True)
    for n in range(len(lines) - 1):
        without = lines[:n] + lines[n + 1 :]
        assert verdict_of(b"".join(without), tmp_path).status == "broken"
        swapped = [*lines[:n], lines[n + 1], lines[n], *lines[n + 2 :]]
        verdict = verdict_of(b"".join(swapped), tmp_path)
        assert (verdict.status, verdict.entries) == ("broken", n)


@given(size=st.integers(0, 10**6))
@settings(max_examples=100)
def test_any_cut_at_the_end_is_found(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, size: int
) -> None:
    kept = whole[: size % len(whole)]
    verdict = verdict_of(kept, tmp_path_factory.getbasetemp())
    assert (verdict.status, verdict.entries) == ("open", kept.count(b"\n"))
    assert verdict.torn == (kept != b"" and not kept.endswith(b"\n"))
    assert "none closes the log" in verdict.words
    assert ("cut off, " in verdict.words) == verdict.torn


def rehashed(line: bytes, **changes: Any) -> bytes:
    """A line that somebody changed who knows how to compute a hash."""
    fields = json.loads(line)
    fields.pop("hash")
    return Entry(**{**fields, **changes}).line + b"\n"


@pytest.mark.parametrize(
    ("number", "changes", "message"),
    [
        (3, {"subject": "mail"}, "the hash before it is another one"),
        (3, {"number": 4}, "it is entry 4, expected 3"),
        (0, {"number": 1}, "expected the entry that opens it"),
        (0, {"kind": "decided"}, "expected the entry that opens it"),
        (0, {"details": {"format": 2}}, "format is 2, expected 1"),
        (3, {"kind": "opened"}, "the log is opened a second time"),
        (6, {"at": 0.5}, r"time is 0\.5 s, expected 1\.0 s or later"),
        (6, {"kind": "exploded"}, "kind is 'exploded', expected one of opened, joined"),
        (10, {"details": {"count": 9}}, "it counts 9, expected 10"),
        (2, {"at": 0}, "expected an entry with number, at, kind"),
    ],
)
def test_what_is_wrong_is_told_even_where_the_hash_is_right(
    tmp_path: Path, whole: bytes, number: int, changes: dict[str, Any], message: str
) -> None:
    lines = whole.splitlines(keepends=True)
    lines[number] = rehashed(lines[number], **changes)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=rf"audit.jsonl:\d+: the log is broken: .*{message}"):
        read_entries(path)


@pytest.mark.parametrize("more", [b"\n", b"x", b"{}\n", b'{"number":11'])
def test_nothing_may_follow_the_end(tmp_path: Path, whole: bytes, more: bytes) -> None:
    verdict = verdict_of(whole + more, tmp_path)
    assert (verdict.status, verdict.entries) == ("broken", 11)
    assert "it follows the entry that closes the log" in verdict.words


# ---- taking up ---------------------------------------------------------------------------------


@given(size=st.integers(0, 10**6))
@settings(max_examples=40)
def test_a_log_that_was_cut_anywhere_is_completed_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "again.jsonl"
    path.write_bytes(whole[: size % (len(whole) + 1)])
    assert write(path) == whole


WRITER = """
import os, sys, time
from pathlib import Path
from migsim.fleet.audit import AuditLog
path, entries, wait_at = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with AuditLog(path, "killed", "d1" * 32) as log:
    for n in range(entries):
        if n == wait_at:
            print("there", flush=True)
        if 0 <= wait_at <= n:
            time.sleep(0.001)
        log.record(n / 8, "decided", f"vm{n}", note="x" * (n % 50))
"""


def writer(path: Path, entries: int, wait_at: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(entries), str(wait_at)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_process_that_is_killed_leaves_a_log_that_another_completes(tmp_path: Path) -> None:
    path, calm, entries = tmp_path / "killed.jsonl", tmp_path / "calm.jsonl", 3000
    python(WRITER, str(calm), str(entries), "-1")
    valid = 0
    for wait_at in (300, 1500):  # killed twice: the second takes up the first
        process = writer(path, entries, wait_at)
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        verdict = verify(path)
        assert verdict.status == "open"
        assert max(valid, wait_at) < verdict.entries < entries + 2
        assert calm.read_bytes().startswith(path.read_bytes())
        valid = verdict.entries
    python(WRITER, str(path), str(entries), "-1")
    assert verify(path).status == "intact"
    assert path.read_bytes() == calm.read_bytes()


def open_log(path: Path, steps: int) -> None:
    log = AuditLog(path, "small", DIGEST)
    for _ in zip(range(steps), story(log), strict=False):
        pass
    log.leave()


def test_a_run_that_does_something_else_is_told_where(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    open_log(path, 4)
    before = path.read_bytes()
    with (
        pytest.raises(
            InputError,
            match=r"audit.jsonl:3: subject is 'h2', expected 'h3', details.cores is 8, expected 4: "
            "it is the log of another run$",
        ),
        AuditLog(path, "small", DIGEST) as log,
    ):
        log.record(0.0, "joined", "h1", cores=8)
        log.record(0.0, "joined", "h3", cores=4)
    with (
        pytest.raises(InputError, match="jsonl:3: kind is 'joined', expected 'closed'"),
        AuditLog(path, "small", DIGEST) as log,
    ):
        log.record(0.0, "joined", "h1", cores=8)
    assert path.read_bytes() == before


def test_a_closed_log_takes_no_more_but_the_same_again(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    assert write(path) == write(path) == whole
    log = AuditLog(path, "small", DIGEST)
    for _ in story(log):
        pass
    with pytest.raises(InputError, match=r"jsonl:11: .*kind is 'closed', expected 'decided'"):
        log.record(5.0, "decided", "h2")
    log.leave()
    assert path.read_bytes() == whole


def test_another_scenario_and_another_model_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    open_log(path, 2)
    with pytest.raises(InputError, match=r"the log of scenario 'small' .*5c5c.*, expected abab"):
        AuditLog(path, "small", "ab" * 32)
    monkeypatch.setattr("migsim.fleet.audit.MODEL_VERSION", 99)
    with pytest.raises(InputError, match=r"written by model version \d+, expected 99"):
        AuditLog(path, "small", DIGEST)
    monkeypatch.undo()
    AuditLog(path, "small", DIGEST).leave()  # those that were refused left no lock


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditLog(path, "small", DIGEST):
        with pytest.raises(InputError, match=r"audit\.jsonl: another migsim is writing to it"):
            AuditLog(path, "small", DIGEST)
        assert verify(path).entries == 1  # readers are not


def test_a_broken_log_is_not_gone_on_with(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    broken = whole.replace(b'"host":"h1"', b'"host":"h2"')
    path.write_bytes(broken)
    with pytest.raises(InputError, match=r"audit\.jsonl:4: the log is broken: its hash is"):
        AuditLog(path, "small", DIGEST)
    assert path.read_bytes() == broken


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda log: log.record(0.5, "joined", "h9"), "expected 1.0 s or later"),
        (lambda log: log.record(math.nan, "joined", "h9"), "expected an entry with"),
        (lambda log: log.record(math.inf, "joined", "h9"), "expected an entry with"),
        (lambda log: log.record(1.0, "joined", "h9", hosts=["a"]), r"hosts is \['a'\]"),
        (lambda log: log.record(1.0, "exploded", "h9"), "kind is 'exploded'"),
    ],
)
def test_what_cannot_be_an_entry_is_not_written(
    tmp_path: Path, act: Callable[[AuditLog], object], message: str
) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, "small", DIGEST)
    log.record(1.0, "joined", "h1")
    with pytest.raises(ValueError, match=message):
        act(log)
    log.close()
    with pytest.raises(RuntimeError, match="after close"):
        log.record(1.0, "joined", "h2")
    assert verify(path).words.startswith(f"{path}: intact: 3 entries")


def test_a_full_disk_is_told_and_leaves_a_log_to_go_on_with(tmp_path: Path, whole: bytes) -> None:
    import resource

    path = tmp_path / "audit.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(InputError, match=r"audit\.jsonl: cannot be written: File too large"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert verify(path).torn
    assert write(path) == whole


# ---- the state ---------------------------------------------------------------------------------


def test_replay_tells_what_the_runner_knows(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, "small", DIGEST)
    held = replay(read_entries(path))
    for entry in story(log):
        held = follow(held, entry)
        assert replay(read_entries(path)) == held
        if entry.kind == "started":
            assert held.under_way == {"web": ("h1", "h2")}
        assert ("uplink" in held.impaired) == (entry.kind in {"impaired", "completed"})
    assert held == State(
        at=4.0, up=frozenset({"h1", "h2"}), runs_at={"web": ("h2",), "db": ("h2",)}
    )
    log.leave()


HOSTS, VMS = ["h0", "h1", "h2"], ["a", "b", "c"]
ACTS = st.tuples(
    st.sampled_from(
        ["joined", "placed", "started", "switched", "completed", "failed", "cancelled", "stopped",
         "crashed", "recovered", "decided", "retried"]
    ),
    st.sampled_from(VMS), st.sampled_from(HOSTS), st.sampled_from(HOSTS),
    st.sampled_from(["source", "destination", "both", "none"]),
    st.sampled_from(["", "the link went down"]),
)  # fmt: skip


@given(acts=st.lists(ACTS, max_size=60))
@settings(max_examples=150)
def test_whatever_happens_nobody_is_astray_without_a_reason(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[Any, ...]]
) -> None:
    """Random entries; those that cannot follow are refused, and the others keep the rules."""
    path = tmp_path_factory.getbasetemp() / "random.jsonl"
    path.unlink(missing_ok=True)
    log = AuditLog(path, "random", DIGEST)
    state = replay(read_entries(path))
    accepted = read_entries(path)
    for host in HOSTS:
        state = follow(state, log.record(0.0, "joined", host))
    for machine in VMS:
        state = follow(state, log.record(0.0, "placed", machine, host="h0"))
    accepted, in_place = read_entries(path), state.copy()
    for n, (kind, machine, host, other, where, reason) in enumerate(acts):
        subject = host if kind in {"joined", "crashed", "recovered"} else machine
        entry = log.record(
            float(n), kind, subject, host=host, source=host, destination=other, runs_at=where,
            reason=reason,
        )  # fmt: skip
        before = (in_place.copy(), state)
        try:
            state = follow(state, entry)
            accepted.append(entry)
            in_place.follow(entry)
        except InputError:
            with pytest.raises(InputError):
                in_place.follow(entry)
            assert (in_place, state) == before
        assert in_place == state
        for name in HOSTS:
            here = [m for m, hosts in state.runs_at.items() if name in hosts]
            coming = [m for m, pair in state.under_way.items() if pair[1] == name]
            assert list(in_place.running(name)) == here
            both = {*here, *coming}
            assert list(in_place.holding(name)) == [m for m in state.runs_at if m in both]
        assert {m for m, hosts in state.runs_at.items() if len(hosts) != 1} == set(state.astray)
        assert all(state.astray.values())
        assert all(host in state.up for hosts in state.runs_at.values() for host in hosts)
        assert set(state.runs_at) == set(VMS)
    assert replay(accepted) == state
    log.leave()


@pytest.mark.parametrize(
    ("kind", "subject", "details", "message"),
    [
        ("joined", "h1", {}, "it is up already"),
        ("crashed", "h9", {}, "it is not up"),
        ("placed", "web", {"host": "h2"}, "it runs at h1 already"),
        ("placed", "mail", {"host": "h9"}, "it cannot run at h9, which is not up"),
        ("placed", "mail", {}, "host is None, expected a text"),
        ("started", "web", {"source": "h2", "destination": "h1"}, "it does not run at h2"),
        ("started", "web", {"source": "h1", "destination": "h9"}, "h9 is not up"),
        ("started", "web", {"source": "h1", "destination": "h1"}, "it is at h1 already"),
        ("completed", "web", {}, "no migration of it is under way"),
        ("stopped", "web", {"host": "h2"}, "it does not run at h2"),
        ("stopped", "web", {"host": "h1", "reason": ""}, "expected why it does not run at one"),
        ("failed", "db", {"runs_at": "here"}, "runs_at is 'here', expected one of source, dest"),
        ("failed", "db", {"runs_at": "both"}, "reason is None, expected a text"),
        ("started", "db", {"source": "h2", "destination": "h1"}, "a migration of it is under way"),
    ],
)
def test_an_entry_that_cannot_follow_is_refused(
    kind: Any, subject: str, details: dict[str, Any], message: str
) -> None:
    state = State(
        up=frozenset({"h1", "h2"}), runs_at={"web": ("h1",), "db": ("h2",)},
        under_way={"db": ("h2", "h1")},
    )  # fmt: skip
    entry = Entry(7, 1.0, kind, subject, details, "", "")
    with pytest.raises(InputError, match=rf"audit log, entry 7 \({kind} {subject}\): .*{message}"):
        follow(state, entry)


def test_a_machine_that_runs_twice_is_astray_until_one_is_stopped() -> None:
    def step(state: State, kind: Any, subject: str, **details: Any) -> State:
        return follow(state, Entry(1, 1.0, kind, subject, details, "", ""))

    state = State(up=frozenset({"h1", "h2"}), runs_at={"web": ("h1",)})
    state = step(state, "started", "web", source="h1", destination="h2")
    state = step(state, "failed", "web", runs_at="both", reason="the answer was lost")
    assert state.runs_at == {"web": ("h1", "h2")}
    assert state.astray == {"web": "the answer was lost"}
    assert step(state, "stopped", "web", host="h1").astray == {}
    once = step(state, "crashed", "h2")
    assert (once.runs_at, once.astray) == ({"web": ("h1",)}, {})
    nowhere = step(once, "crashed", "h1")
    assert (nowhere.runs_at, nowhere.astray) == ({"web": ()}, {"web": "host h1 crashed"})


def test_a_machine_that_was_switched_over_cannot_be_called_back() -> None:
    state = State(up=frozenset({"h1", "h2"}), runs_at={"web": ("h1",)})
    entries = [
        Entry(1, 1.0, "started", "web", {"source": "h1", "destination": "h2"}, "", ""),
        Entry(2, 2.0, "switched", "web", {}, "", ""),
        Entry(3, 3.0, "cancelled", "web", {}, "", ""),
    ]
    switched = follow(follow(state, entries[0]), entries[1])
    assert (switched.runs_at, switched.under_way) == ({"web": ("h2",)}, {"web": ("h1", "h2")})
    with pytest.raises(InputError, match="it does not run at h1 any more: no way back"):
        follow(switched, entries[2])
    assert follow(follow(state, entries[0]), entries[2]).under_way == {}
