"""A daemon of its own on real cards, in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from gpumod.client import Client
from gpumod.core.errors import GpumodError
from gpumod.core.units import MIB
from gpumod.testing.ports import free_port, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpumod.core.switch import SwitchRecord
    from tests.gpu.inputs import Model

PATIENCE = 120.0
_CTL = "from gpumod.cli.main import main; main()"
_CONFIG = """\
cards: auto
headroom: {{card: {headroom}MiB, host: 1GiB}}
listen: 127.0.0.1:{port}
socket: {root}/s
state_dir: {root}/state
runner: process
ports: {first}-{last}
boot: last
engines: {{llama.cpp: {{binary: "{server}"}}}}
gateway: {gateway}
"""


class GpuBox:
    """Files, a daemon process and its clients.

    Args:
        root: an empty folder with a short name, since a Unix socket is in it.
        server: the CUDA llama-server.
        headroom: bytes of each card that gpumod is told to leave alone; a large one caps the card.
        gateway: settings under `gateway:`.

    Attributes:
        port: of loopback, where it listens.
    """

    def __init__(
        self, root: Path, server: Path, headroom: int = 512 * MIB, gateway: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        self.port = free_port()
        self.daemon: subprocess.Popen[bytes] | None = None
        for folder in ("config/presets", "config/modes", "state"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        first = free_ports(51)
        self.write(
            "config.yaml",
            _CONFIG.format(
                root=root,
                server=server,
                headroom=headroom // MIB,
                port=self.port,
                first=first,
                last=first + 50,
                gateway=json.dumps(dict(gateway or {})),
            ),
        )

    # --- files ------------------------------------------------------------------------------------

    def write(self, name: str, text: str) -> None:
        """Write one of the user's files."""
        (self.root / "config" / name).write_text(text)

    def service(self, name: str, model: Model, cards: list[str], vram: Any = "auto", **keys: Any) -> None:
        """A preset of a model on these cards, and a mode of the same name with it alone."""
        preset = {
            "id": name,
            "engine": "llama.cpp",
            "model": str(model.path),
            "context": model.context,
            "slots": 1,
            "kv_cache": "q8_0",
            "cards": cards,
            "vram": f"{vram // MIB}MiB" if isinstance(vram, int) else vram,
            "drain": {"deadline": "30s"},
            **keys,
        }
        self.write(f"presets/{name}.yaml", json.dumps(preset))
        self.mode(name, name)

    def mode(self, name: str, *services: str, **keys: Any) -> None:
        """A mode of presets."""
        self.write(f"modes/{name}.yaml", json.dumps({"id": name, "services": list(services), **keys}))

    # --- the daemon -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon and wait until it answers and has adopted what it found."""
        command = [sys.executable, "-m", "gpumod.daemon", "--config", str(self.root / "config")]
        with (self.root / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_until("the daemon answers", self._at_rest)

    def kill(self) -> None:
        """SIGKILL the daemon, as a crash would."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def stop(self) -> int:
        """SIGTERM the daemon and wait; its exit status."""
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        return self.daemon.wait(PATIENCE)

    def wait_until(self, what: str, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait for a condition, bounded; a daemon that dies meanwhile is an error at once."""
        deadline = time.monotonic() + seconds
        while not condition():
            alive = self.daemon is None or self.daemon.poll() is None
            assert alive, f"the daemon died before {what}:\n{self.log()}"
            assert time.monotonic() < deadline, f"waited {seconds} s until {what}:\n{self.log()}"
            time.sleep(0.02)

    def close(self) -> None:
        """End everything that was started here, by pid."""
        if self.daemon is not None and self.daemon.poll() is None:
            with contextlib.suppress(GpumodError), self.client() as client:
                client.switch("blank", force=True)
            self.stop()
        for pid in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in (*psutil.Process(pid).children(recursive=True), psutil.Process(pid)):
                    process.kill()

    def _at_rest(self) -> bool:
        try:
            with self.client() as client:
                return client.status().switch is None
        except GpumodError:
            return False

    # --- what users do ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """A client of the daemon."""
        with Client(str(self.root / "s")) as client:
            yield client

    def switch(self, mode: str) -> SwitchRecord:
        """Switch and wait; the record with its steps."""
        with self.client() as client:
            return client.switch(mode)

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run gpumodctl."""
        return subprocess.run(
            [sys.executable, "-c", _CTL, *arguments],
            env={**os.environ, "GPUMOD_SOCKET": str(self.root / "s")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    # --- what is there ----------------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """Living keepers of this box; its engines are their children."""
        found = {}
        daemon = self.daemon.pid if self.daemon else 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in {daemon, os.getpid()}:
                with contextlib.suppress(OSError):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if str(self.root) in command:
                        found[int(entry.name)] = command
        return found

    def log(self) -> str:
        """The end of the daemon's log."""
        path = self.root / "daemon.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""
