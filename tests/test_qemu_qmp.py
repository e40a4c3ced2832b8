"""The client of QMP against a server that plays QEMU."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migsim.hypervisor.qmp import Qmp, QmpError

GREETING: dict[str, Any] = {"QMP": {"version": {}, "capabilities": []}}
STOP = {"event": "STOP", "timestamp": {"seconds": 100, "microseconds": 250000}}
Serve = Callable[..., Path]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server that greets and then gives its answers, each to one command."""
    path, threads = tmp_path / "qmp", []

    def start(*answers: list[dict[str, Any]], greeting: dict[str, Any] = GREETING) -> Path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)

        def play() -> None:
            connection, _ = listener.accept()
            with listener, connection, connection.makefile("rw") as file:
                file.write(json.dumps(greeting) + "\n")
                file.flush()
                for answer in ([{"return": {}}], *answers):
                    if not file.readline():
                        return
                    file.write("".join(json.dumps(part) + "\n" for part in answer))
                    file.flush()
                file.readline()

        threads.append(threading.Thread(target=play))
        threads[0].start()
        return path

    yield start
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_a_command_has_its_answer_and_events_are_kept(serve: Serve) -> None:
    qmp = Qmp(serve([STOP, {"return": {"status": "active"}}], [{"return": {}}]))
    assert qmp.command("query-migrate") == {"status": "active"}
    assert qmp.command("migrate", uri="tcp:x:1") == {}
    assert [event["event"] for event in qmp.events] == ["STOP"]
    assert qmp.event_time("STOP") == 100.25
    assert qmp.event_time("RESUME") is None
    qmp.close()


def test_a_refusal_is_told_in_qemus_words(serve: Serve) -> None:
    qmp = Qmp(serve([{"error": {"class": "GenericError", "desc": "No such capability"}}]))
    with pytest.raises(QmpError, match="migrate-set-capabilities: No such capability"):
        qmp.command("migrate-set-capabilities", capabilities=[])
    qmp.close()


def test_a_qemu_that_goes_away_is_told(serve: Serve) -> None:
    qmp = Qmp(serve([]))
    qmp._socket.shutdown(socket.SHUT_WR)  # the server ends
    with pytest.raises(QmpError, match="gone"):
        qmp.command("query-migrate")
    qmp.close()


def test_what_does_not_greet_is_no_qemu(serve: Serve) -> None:
    with pytest.raises(QmpError, match="no QMP greeting"):
        Qmp(serve(greeting={"hello": 1}))


def test_a_socket_that_never_appears(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="cannot connect"):
        Qmp(tmp_path / "none", timeout=0.1)
