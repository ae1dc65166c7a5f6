"""A daemon in a folder of its own, with scripted engines and llama.cpp, asked by plain HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpumod.testing.engine_server import Script, command_of
from gpumod.testing.ports import free_port, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PATIENCE = 120.0
_POLL = 0.002
_CONFIG = """\
cards: {cards}
{limit}
headroom: {{card: 0MiB, host: 64MiB}}
listen: 127.0.0.1:{port}
socket: {root}/s
state_dir: {root}/state
runner: process
ports: {first}-{last}
boot: last
"""


class BenchError(Exception):
    """Something could not be measured; the message says why."""


class BenchBox:
    """Files of a user, and the daemon that reads them.

    Args:
        root: an empty folder.
        cards: `host` or `nvidia`, as in config.yaml.
        limit: MiB that the host card pretends to have.
        environment: variables for the daemon on top of ours.
    """

    def __init__(
        self,
        root: Path,
        *,
        cards: str = "host",
        limit: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.socket = str(root / "s")
        self.daemon: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, **(environment or {})}
        for folder in ("config/presets", "config/modes", "models", "state"):
            (root / folder).mkdir(parents=True)
        first = free_ports(51)
        text = _CONFIG.format(
            cards=cards,
            limit=f"host_limit: {limit}MiB" if limit else "",
            root=root,
            port=free_port(),
            first=first,
            last=first + 50,
        )
        (root / "config/config.yaml").write_text(text)

    def scripted(self, name: str, script: Script, *, vram: int = 64, **keys: Any) -> None:
        """A preset of the scripted engine, and a mode of the same name with it alone."""
        script.name = name
        command = {
            "cmd": list(command_of(script, port="${PORT}")),
            "ready": "/health",
            "in_flight": "/metrics#llamacpp:requests_processing",
        }
        self._preset(name, {"engine": "command", "command": command, "vram": f"{vram}MiB", **keys})

    def llama(self, name: str, model: Path, *, vram: int) -> None:
        """A preset of the embedded llama.cpp, and a mode of the same name with it alone."""
        keys = {
            "engine": "llama.cpp",
            "binary": "embedded",
            "model": str(model),
            "context": 1024,
            "slots": 1,
            "vram": f"{vram}MiB",
            "llama": {"threads": 2},
        }
        self._preset(name, keys)

    def mode(self, name: str, *services: str) -> None:
        """A mode."""
        (self.root / f"config/modes/{name}.yaml").write_text(
            json.dumps({"id": name, "services": list(services)})
        )

    def _preset(self, name: str, keys: dict[str, Any]) -> None:
        (self.root / f"config/presets/{name}.yaml").write_text(json.dumps({"id": name, **keys}))
        self.mode(name, name)

    def start(self) -> float:
        """Start the daemon; the seconds until its first answer."""
        command = [sys.executable, "-m", "gpumod.daemon", "--config", str(self.root / "config")]
        began = time.monotonic()
        with (self.root / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )
        self._wait("the daemon to answer", self._answers)
        return time.monotonic() - began

    def stop(self) -> None:
        """SIGTERM to the daemon; engines stay."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(PATIENCE)

    def close(self) -> None:
        """Leave nothing running."""
        with contextlib.suppress(OSError, BenchError):
            self.ask("POST", "switches", {"mode": "blank", "force": True, "wait": True})
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop()
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()

    @property
    def pid(self) -> int:
        """The daemon's."""
        if self.daemon is None:
            raise BenchError("the daemon was not started")
        return self.daemon.pid

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """One request on a connection of its own.

        Raises:
            BenchError: the answer is an error.
            OSError: nobody answers.
        """
        connection = _UnixConnection(self.socket)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/gpumod/v1/{path}", text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.load(response)
            if response.status >= 400:
                raise BenchError(f"{method} {path}: {answer.get('detail', answer)}")
            return answer
        finally:
            connection.close()

    def switch(self, mode: str) -> tuple[float, dict[str, Any]]:
        """Switch and wait: the seconds that the request took, and the switch's record.

        Raises:
            BenchError: it did not end in the mode.
        """
        began = time.monotonic()
        record = self.ask("POST", "switches", {"mode": mode, "wait": True})
        took = time.monotonic() - began
        if record["state"] != "committed":
            raise BenchError(f"switch to {mode}: {record['state']}: {record['reason']}\n{self.log()}")
        return took, record

    def launch(self, service: str) -> dict[str, Any]:
        """The launch record of a running service."""
        found = [one["launch"] for one in self.ask("GET", "status")["services"] if one["id"] == service]
        if not found:
            raise BenchError(f"{service} does not run")
        record: dict[str, Any] = found[0]
        return record

    def service_log(self, name: str) -> str:
        """What the service's processes have printed."""
        path = self.root / f"state/logs/{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def log(self) -> str:
        """The end of the daemon's log."""
        return (self.root / "daemon.log").read_text(errors="replace")[-3000:]

    def _answers(self) -> bool:
        try:
            self.ask("GET", "version")
        except OSError:
            return False
        return True

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self.daemon is not None and self.daemon.poll() is not None:
                raise BenchError(f"the daemon ended while waiting for {what}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise BenchError(f"waited {PATIENCE:g} s for {what}")
            time.sleep(_POLL)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that is removed afterwards."""
    root = Path(tempfile.mkdtemp(prefix="gpumod-bench-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def box(root: Path, **keys: Any) -> Iterator[BenchBox]:
    """A box whose daemon and engines are ended afterwards."""
    one = BenchBox(root, **keys)
    try:
        yield one
    finally:
        one.close()
