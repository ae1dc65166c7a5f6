"""A real daemon over real processes, in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpumod.client import Client
from gpumod.core.errors import GpumodError
from gpumod.testing.engine_server import Script, command_of
from gpumod.testing.ports import free_port, free_ports
from tests.store.samples import new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE = 120.0
HOST_CARD = """\
cards: host
host_limit: 1GiB
headroom: {card: 0MiB, host: 64MiB}
"""
_CONFIG = """\
{cards}
listen: 127.0.0.1:{port}
socket: {root}/s
state_dir: {root}/state
runner: {runner}
ports: {first}-{last}
boot: last
bounds: {bounds}
"""


def _service_of(command: str) -> str:
    """The name that a scripted engine was told, by its own arguments or by vLLM's; empty for others."""
    before = '"name": "' if "engine_server.py" in command else "--served-model-name "
    return command.partition(before)[2].split('"')[0].split(" ")[0]


class RealBox:
    """Files, a daemon process and a client."""

    def __init__(
        self,
        root: Path,
        *,
        runner: str = "process",
        bounds: dict[str, str] | None = None,
        cards: str = HOST_CARD,
    ) -> None:
        self.root = root
        self.program = ["-m", "gpumod.testing.crashing_daemon", str(root / "fault")]
        self.daemon: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}
        for folder in ("config/presets", "config/modes", "state"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        new_file(root / "state/gpumod.db").chmod(0o600)  # a daemon takes a second to make its own
        first = free_ports(51)
        self.port = free_port()
        # Who waits for a bound to pass gives its box a short one.
        limits = {"barrier": "60s", "after_kill": "60s", "watch_interval": "300ms", **(bounds or {})}
        config = _CONFIG.format(
            cards=cards,
            port=self.port,
            root=root,
            runner=runner,
            first=first,
            last=first + 50,
            bounds=json.dumps(limits),
        )
        self.write("config.yaml", config)

    def write(self, name: str, text: str) -> None:
        """Write one of the user's files."""
        (self.root / "config" / name).write_text(text)

    def preset(self, name: str, script: Script | None = None, *, vram: int = 100, **keys: Any) -> None:
        """A preset whose engine is the scripted server."""
        script = script or Script(host_mib=vram // 2)
        script.name = name
        command = list(command_of(script, port="${PORT}"))
        document = {
            "id": name,
            "engine": "command",
            "command": {
                "cmd": command,
                "ready": "/health",
                "in_flight": "/metrics#llamacpp:requests_processing",
            },
            "vram": f"{vram}MiB",
            "startup_timeout": "120s",
            "drain": {"deadline": "5s"},
            "stop_grace": "60s",
            "env": {"TEST_BOX": f"{self.root}/"},
            **keys,
        }
        self.write(f"presets/{name}.yaml", json.dumps(document))

    def mode(self, name: str, *services: str, **keys: Any) -> None:
        """A mode of presets."""
        self.write(f"modes/{name}.yaml", json.dumps({"id": name, "services": list(services), **keys}))

    @property
    def socket(self) -> str:
        """The daemon's Unix socket."""
        return str(self.root / "s")

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """A client of the daemon."""
        with Client(self.socket) as client:
            yield client

    def start(self, *, fault: str = "", wait: bool = True, options: Sequence[str] = ()) -> None:
        """Start the daemon; `fault` is a point of the journal at which it dies, or a step that fails."""
        self.fault(fault)
        with (self.root / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, *self.program, "--config", str(self.root / "config"), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        if wait:
            self.wait_until("the daemon answers", self.answers)

    def fault(self, point: str) -> None:
        """Arm a fault for the running daemon, or disarm it."""
        if point:
            (self.root / "fault.new").write_text(point)
            (self.root / "fault.new").replace(self.root / "fault")
        else:
            (self.root / "fault").unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether the daemon answers at all."""
        try:
            with self.client() as client:
                client.status()
        except GpumodError:
            return False
        return True

    def settled(self) -> bool:
        """Whether recovery is done and nothing is being switched."""
        with self.client() as client:
            status = client.status()
        return status.switch is None and self.ready()

    def ready(self) -> bool:
        """Whether /ready says so."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(60)
            channel.connect(self.socket)
            channel.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b" 200 " in channel.recv(64)

    def wait_until(self, what: str, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait for a condition, bounded; a daemon that dies meanwhile is an error at once."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.daemon is None or self.daemon.poll() is None, (
                f"the daemon died before {what}:\n{self.log()}"
            )
            assert time.monotonic() < deadline, f"waited {seconds} s until {what}:\n{self.log()}"
            time.sleep(0.02)

    def wait_for_death(self) -> int:
        """Wait until the daemon has died by itself; its exit status."""
        assert self.daemon is not None
        try:
            return self.daemon.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon did not die:\n{self.log()}") from None

    def kill(self) -> None:
        """SIGKILL the daemon."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the daemon and wait; its exit status."""
        assert self.daemon is not None
        self.daemon.send_signal(number)
        return self.daemon.wait(PATIENCE)

    def log(self) -> str:
        """The end of the daemon's log."""
        path = self.root / "daemon.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def processes(self) -> dict[int, str]:
        """Living engines and keepers of this box: they have its folder in their environment or arguments."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != (self.daemon.pid if self.daemon else 0):
                with contextlib.suppress(OSError):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    environment = (entry / "environ").read_bytes()
                    if command and (str(self.root) in command or f"{self.root}/".encode() in environment):
                        found[int(entry.name)] = command
        return found

    def engines(self) -> dict[str, list[int]]:
        """Engine processes by the service they say they are, children included."""
        by_name: dict[str, list[int]] = {}
        for pid, command in self.processes().items():
            if "keeper" not in command and (name := _service_of(command)):
                by_name.setdefault(name, []).append(pid)
        return by_name

    def close(self) -> None:
        """End everything that was started here, by pid."""
        if self.daemon is not None and self.daemon.poll() is None:
            with contextlib.suppress(GpumodError), self.client() as client:
                client.switch("blank", force=True)
            self.kill()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
