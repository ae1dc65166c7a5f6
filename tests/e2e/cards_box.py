"""A real daemon over real processes on the cards of the NVML stand-in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpumod.core.plan import StepKind
from gpumod.core.switch import Phase, StepRecord, StepState, SwitchRecord, SwitchState
from gpumod.testing.engine_server import Script
from tests.e2e.real_box import PATIENCE, RealBox
from tests.nvml.standin import GIB, Standin, card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpumod.core.cards import Card
    from gpumod.core.switch import BoxStatus

_CARDS = """\
cards: nvidia
headroom: {card: 256MiB, host: 64MiB}
"""
_VLLM = """\
#!{python} -P
import json, pathlib, sys
sys.path.insert(0, {checkout!r})  # whose script it is, wherever another one is installed
from gpumod.testing.engine_server import main

words = sys.argv
script = json.loads(pathlib.Path(words[2], "script.json").read_text())
after = lambda flag: words[words.index(flag) + 1]
main(json.dumps(script | {{"port": int(after("--port")), "name": after("--served-model-name")}}))
"""
_CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 320,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}
"""Of a model small enough not to matter beside what a script says that the engine takes."""
_ODD_DAEMON = Path(__file__).with_name("odd_daemon.py")
_CTL_BOUND = 60


@dataclass(frozen=True)
class Told:
    """What a gpumodctl command left behind."""

    code: int
    out: str
    err: str


class CardsBox(RealBox):
    """Cards of 24 GiB, engines that take memory of them, and processes of others."""

    def __init__(
        self, root: Path, library: Path, *, cards: int = 2, oddities: Sequence[str] = (), **options: Any
    ) -> None:
        super().__init__(root, cards=_CARDS, **options)
        self.gpus = Standin(root / "nvml", library, [card(number) for number in range(cards)])
        self.environment = dict(self.gpus.env)
        self.program = [str(_ODD_DAEMON), *oddities]
        self._of_ctl = {"GPUMOD_SOCKET": self.socket, "GPUMOD_CONFIG": str(root / "config")}
        self._others: list[subprocess.Popen[bytes]] = []
        shim = root / "vllm"
        shim.write_text(_VLLM.format(python=sys.executable, checkout=str(Path(__file__).parents[2])))
        shim.chmod(0o755)

    # --- files ---------------------------------------------------------------------------------

    def engine(self, name: str, gib: float, *, takes: float | None = None, **more: Any) -> None:
        """A service that is charged `gib` on each of its cards and takes that, or `takes`.

        `more` are keys of the preset, or of the script.
        """
        script, keys = _split(more)
        script.card_mib = int((gib if takes is None else takes) * 1024)
        env = {"TEST_BOX": f"{self.root}/", **self.gpus.env}
        self.preset(name, script, vram=int(gib * 1024), **{"ram": "64MiB", "env": env, **keys})

    def vllm(self, name: str, gib: float, *, cards: int = 1, **more: Any) -> None:
        """The same as vLLM: nothing listens while it loads, and a child holds the memory."""
        known = {
            "while_loading": "closed",
            "on_sigterm_while_loading": "ignore",
            "metrics": "vllm",
            "children": 1,
            "memory_in": "child",
            "exit_on_child_death": 0,
        }
        script, keys = _split(known | more)
        script.card_mib = int(gib * 1024)
        model = self.root / f"model-{name}"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(_CONFIG))
        (model / "model.safetensors").write_bytes(len(b"{}").to_bytes(8, "little") + b"{}")
        (model / "script.json").write_text(json.dumps(asdict(script)))
        document = {
            "id": name,
            "engine": "vllm",
            "binary": str(self.root / "vllm"),
            "model": str(model),
            "vllm": {"gpu_memory_utilization": 0.9},
            "cards": cards,
            "vram": f"{int(gib * 1024)}MiB",
            "ram": "64MiB",
            "startup_timeout": "120s",
            "drain": {"deadline": "5s"},
            "stop_grace": "60s",
            "env": {"TEST_BOX": f"{self.root}/", **self.gpus.env},
            **keys,
        }
        self.write(f"presets/{name}.yaml", json.dumps(document))

    # --- what others do ------------------------------------------------------------------------

    def other(self, number: int, gib: float) -> int:
        """A process that is not ours, and holds memory of a card."""
        process = subprocess.Popen(["sleep", "600"])
        self._others.append(process)
        if gib:
            self.gpus.hold(process.pid, number, int(gib * GIB))
        return process.pid

    def holders(self, name: str) -> list[int]:
        """Processes of a service that have told the stand-in that they hold memory."""
        ours = self.engines().get(name, [])
        return [pid for pid in ours if any((self.gpus.state / "procs").glob(f"{pid}-*.json"))]

    def end_service(self, pid: int) -> None:
        """SIGKILL one process of a service."""
        os.kill(pid, signal.SIGKILL)

    def control(self, name: str, **changes: Any) -> None:
        """Change the script of a running engine."""
        (port,) = [one.launch.port for one in self.status().services if one.id == name and one.launch]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/control", json.dumps(changes).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()

    def calm_down(self) -> None:
        """End others' processes and everything that was injected; the box goes to blank."""
        for process in self._others:
            process.kill()
            process.wait()
        self._others.clear()
        self.gpus.unhang()
        self.gpus.answer_all()
        if self.daemon is None or self.daemon.poll() is not None:
            self.start()
        self.wait_until("every card is usable", lambda: all(one.usable for one in self.cards()))
        self.wait_until("nothing is being switched", self.settled)
        with self.client() as client:
            record = client.switch("blank", force=True)
        assert record.state is SwitchState.COMMITTED, record.reason
        self.gpus.reset()

    def close(self) -> None:
        """End everything that was started here."""
        for process in self._others:
            process.kill()
            process.wait()
        self.gpus.reset()
        super().close()

    # --- what users see ------------------------------------------------------------------------

    def ctl(self, *words: str) -> Told:
        """Run gpumodctl."""
        done = subprocess.run(
            [sys.executable, "-m", "gpumod.cli.main", *words],
            env={**os.environ, **self._of_ctl, "NO_COLOR": "1", "COLUMNS": "400"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CTL_BOUND,
            check=False,
        )
        return Told(done.returncode, done.stdout, done.stderr)

    def status(self) -> BoxStatus:
        """What the box is like."""
        with self.client() as client:
            return client.status()

    def cards(self) -> tuple[Card, ...]:
        """The cards as last read."""
        return self.status().reading.cards

    def look(self) -> None:
        """Wait until the daemon has looked at the cards twice more: once from beginning to end, at least."""
        for _ in range(2):
            before = self.status().reading.at
            self.wait_until("the daemon looks at the cards", lambda at=before: self.status().reading.at > at)  # type: ignore[misc]

    def switch(self, mode: str) -> SwitchRecord:
        """Switch, and wait for it."""
        with self.client() as client:
            return client.switch(mode)

    def go(self, mode: str) -> SwitchRecord:
        """Switch, which has to work."""
        record = self.switch(mode)
        assert record.state is SwitchState.COMMITTED, f"{record.reason}\n{self.log()}"
        return record

    def ask(self, path: str, body: object) -> socket.socket:
        """Send a request; its answer can be read from the socket."""
        sending = json.dumps(body).encode()
        channel = socket.socket(socket.AF_UNIX)
        channel.settimeout(PATIENCE)
        channel.connect(self.socket)
        head = f"POST /gpumod/v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(sending)}\r\n\r\n"
        channel.sendall(head.encode() + sending)
        return channel

    def begin(self, mode: str) -> str:
        """Begin a switch; its id."""
        with self.client() as client:
            return client.switch(mode, wait=False).id

    def record(self, switch: str, *, wait: float = 0) -> SwitchRecord:
        """A switch as it stands, or once it has ended."""
        with self.client() as client:
            return client.switch_record(switch, wait=wait)

    def wait_for(self, service: str, state: str) -> None:
        """Wait until a service is in a state."""
        self.wait_until(f"{service} is {state}", lambda: self.state(service) == state)

    def state(self, service: str) -> str:
        """A service's state; empty where it is not known."""
        found = [one for one in self.status().services if one.id == service]
        return found[0].state.value if found else ""

    def generation(self, service: str) -> int:
        """A service's attempt."""
        return next(one.generation for one in self.status().services if one.id == service)


def step(record: SwitchRecord, kind: StepKind, service: str | None = None) -> StepRecord:
    """The step of that kind on the way to the target."""
    return next(
        one
        for one in record.steps
        if one.phase is Phase.DO and one.kind is kind and service in {None, one.service}
    )


def begun(record: SwitchRecord, kind: StepKind, service: str | None = None) -> bool:
    """Whether that step was begun."""
    return step(record, kind, service).state not in {StepState.PLANNED, StepState.SKIPPED}


def time_of(record: SwitchRecord, kind: StepKind, service: str | None = None) -> tuple[float, float]:
    """When that step began and ended."""
    found = step(record, kind, service)
    assert found.started is not None
    assert found.ended is not None
    return found.started, found.ended


def used(one: Card) -> int:
    """Bytes in use on a card."""
    return one.total - one.reserved - one.free


def _split(more: dict[str, Any]) -> tuple[Script, dict[str, Any]]:
    """A script, and what is left: keys of the preset."""
    names = set(Script.__dataclass_fields__)
    script = Script(**{key: value for key, value in more.items() if key in names})
    return script, {key: value for key, value in more.items() if key not in names}
