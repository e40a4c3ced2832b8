"""A client of QMP, QEMU's control protocol: JSON objects, one a line, over a Unix socket."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

__all__ = ["Qmp", "QmpError"]


class QmpError(RuntimeError):
    """QEMU refused a command, or is gone."""


class Qmp:
    """A connection to one QEMU.

    Attributes:
        events: all that QEMU has told unasked, in order.
    """

    def __init__(self, path: Path, timeout: float = 20.0) -> None:
        """Connect, waiting for the socket to appear, and leave the negotiation mode."""
        self._socket = _connect(path, timeout)
        # A command that takes this long has hung; a stop phase may block QMP for seconds.
        self._socket.settimeout(max(timeout, 60.0))
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        try:
            if "QMP" not in self._receive():
                raise QmpError(f"{path}: no QMP greeting")
            self.command("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def command(self, name: str, /, **arguments: Any) -> Any:
        """Return QEMU's answer. Raises `QmpError` with QEMU's own words.

        Names of arguments may be written with underscores.
        """
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        return self.execute(name, given)

    def execute(self, name: str, arguments: dict[str, Any]) -> Any:
        """Return QEMU's answer to a command whose arguments are given as they are."""
        message = json.dumps({"execute": name, "arguments": arguments})
        try:
            self._socket.sendall(message.encode() + b"\n")
        except OSError as error:
            raise QmpError(f"{name}: QEMU is gone: {error}") from None
        while True:
            answer = self._receive()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError(f"{name}: {answer['error'].get('desc', answer['error'])}")
            else:
                return answer.get("return")

    def event_time(self, name: str) -> float | None:
        """Return when the last event of that name happened, in seconds of the host's clock."""
        for event in reversed(self.events):
            if event["event"] == name:
                stamp = event["timestamp"]
                return float(stamp["seconds"]) + 1e-6 * float(stamp["microseconds"])
        return None

    def close(self) -> None:
        """Close the connection; QEMU goes on."""
        self._socket.close()

    def _receive(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            try:
                got = self._socket.recv(65536)
            except OSError as error:
                raise QmpError(f"QEMU does not answer: {error}") from None
            if not got:
                raise QmpError("QEMU is gone")
            self._buffer += got
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _connect(path: Path, timeout: float) -> socket.socket:
    deadline = time.monotonic() + timeout
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
        except OSError as error:
            client.close()
            if time.monotonic() > deadline:
                raise QmpError(f"{path}: cannot connect: {error}") from None
            time.sleep(0.05)
        else:
            return client
