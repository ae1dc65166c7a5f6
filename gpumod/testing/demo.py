"""The demonstration behind `make demo`: a real daemon, real llama.cpp, the host's memory as the card.

Everything lives in one temporary folder; nothing is left running and the folder is removed. The
exit code is 0 only if every scene went as announced.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpumod.testing.gguf import of_size, write_gguf
from gpumod.testing.ports import free_port, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MIB = 1024**2
_PATIENCE = 300.0
_CTL = "from gpumod.cli.main import main; main()"
_CHAT_MIB, _CODE_MIB = 160, 240
_CHAT_VRAM, _CODE_VRAM, _BROKEN_VRAM = 350, 450, 200
_CARD_MIB = 700
"""The cap on the host card: chat and code fit one at a time, never together."""

_INTRODUCTION = f"""\
A box that is too small, and a daemon that owns its memory. {_CARD_MIB} MiB of this machine's memory stand
for the GPU; everything else is real: the daemon, llama.cpp, the processes and what they hold. No GPU is
used, nothing outside a temporary folder is touched.

    mode chat      one model,  reserves {_CHAT_VRAM} MiB
    mode code      another,    reserves {_CODE_VRAM} MiB: either fits, never both
    mode both      the two together
    mode half      a model file that was cut in half
    mode broken    a model file whose header is right and whose tokenizer is not
"""

_CONFIG = """\
cards: host
host_limit: {card}MiB
headroom: {{card: 0MiB, host: 256MiB}}
listen: 127.0.0.1:{port}
socket: {root}/gpumod.sock
state_dir: {root}/state
runner: process
on_exit: blank
ports: {first}-{last}
vars: {{MODELS: {root}/models}}
gateway: {{on_demand: auto, residency: 1s}}
engines:
  llama.cpp: {{binary: embedded}}
"""
_PRESET = """\
id: {id}
engine: llama.cpp
model: ${{MODELS}}/{id}.gguf
context: 1024
slots: 1
vram: {vram}MiB
llama: {{threads: 1}}
"""
_MODE = "id: {id}\ndescription: {description}\nservices: [{services}]\n"


class DemoError(Exception):
    """A scene that did not go as announced."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one gpumodctl call printed, and how it ended."""

    code: int
    text: str

    @property
    def document(self) -> Any:
        """The printed JSON."""
        return json.loads(self.text)


class Box:
    """The demonstration's own box: files, daemon and command line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.daemon: subprocess.Popen[bytes] | None = None

    def write_files(self) -> None:
        """Models with random weights, presets, modes and config.yaml."""
        for folder in ("models", "config/presets", "config/modes", "state"):
            (self.root / folder).mkdir(parents=True)
        for name, size in (("chat", _CHAT_MIB), ("code", _CODE_MIB)):
            write_gguf(self.root / f"models/{name}.gguf", of_size(size * MIB), name=name)
        whole = (self.root / "models/chat.gguf").read_bytes()
        (self.root / "models/half.gguf").write_bytes(whole[: len(whole) // 2])
        (self.root / "models/broken.gguf").write_bytes(
            whole.replace(b"tokenizer.ggml.model", b"tokenizer.gone.model", 1)
        )
        first = free_ports(100)
        config = _CONFIG.format(card=_CARD_MIB, port=self.port, root=self.root, first=first, last=first + 99)
        files = {"config.yaml": config}
        for name, vram in (
            ("chat", _CHAT_VRAM),
            ("code", _CODE_VRAM),
            ("half", _BROKEN_VRAM),
            ("broken", _BROKEN_VRAM),
        ):
            files[f"presets/{name}.yaml"] = _PRESET.format(id=name, vram=vram)
            files[f"modes/{name}.yaml"] = _MODE.format(id=name, description=f"{name} alone", services=name)
        files["modes/both.yaml"] = _MODE.format(id="both", description="chat and code", services="chat, code")
        for name, text in files.items():
            (self.root / "config" / name).write_text(text)

    def start_daemon(self) -> None:
        """Start gpumodd and wait until it answers."""
        log = (self.root / "daemon.log").open("ab")
        command = [sys.executable, "-m", "gpumod.daemon", "--config", str(self.root / "config")]
        with log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_for("the daemon to recover", lambda: self.settled)

    def kill_daemon(self) -> None:
        """SIGKILL, as a crash would."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def stop_daemon(self) -> None:
        """SIGTERM, and wait."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(_PATIENCE)

    def ctl(self, *arguments: str) -> Answer:
        """Run gpumodctl."""
        environment = {**os.environ, "GPUMOD_SOCKET": str(self.root / "gpumod.sock"), "COLUMNS": "110"}
        done = subprocess.run(
            [sys.executable, "-c", _CTL, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if "--json" not in arguments else subprocess.DEVNULL,
            timeout=_PATIENCE * 3,
            check=False,
        )
        return Answer(done.returncode, done.stdout.decode(errors="replace"))

    @property
    def settled(self) -> bool:
        """Whether the daemon answers, and what runs is what its mode asks for."""
        answer = self.ctl("status", "--json")
        return answer.code == 0 and answer.document["state"] == "settled"

    def status(self) -> Mapping[str, Any]:
        """The box's status as JSON."""
        document: Mapping[str, Any] = self.ctl("status", "--json").document
        return document

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until something is so; the bound is a minute.

        Raises:
            DemoError: it did not become so.
        """
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if self.daemon is not None and self.daemon.poll() is not None:
                raise DemoError(f"the daemon ended with {self.daemon.returncode} while waiting for {what}")
            if time.monotonic() > deadline:
                raise DemoError(f"waited a minute for {what}")
            time.sleep(0.05)

    def processes(self) -> dict[int, str]:
        """Every living process that was started from this box's folder."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if str(self.root) in command:
                        found[int(entry.name)] = command
        return found


class Demo:
    """The scenes, in order."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self._scenes = 0

    def play(self) -> None:
        """Every scene.

        Raises:
            DemoError: one did not go as announced.
        """
        self.title("Nothing of ours runs: the box is in mode blank")
        self.run("status")

        self.title("Switch to chat: a server is started, and is ready only once it has answered")
        self.run("switch", "chat")
        self.run("status")
        self.ask("chat")

        self.title("Switch to code: chat is drained and stopped, its memory proven free, then code starts")
        self.run("switch", "code")
        self.run("status")
        self.ask("code")

        self.title("Both at once do not fit: refused before anything is stopped")
        self.run("switch", "both", code=3)
        self.expect("code")
        self.ask("code")

        self.title("A model file that was cut in half: refused before anything is stopped")
        self.run("switch", "half", code=3)
        self.expect("code")
        self.ask("code")

        self.title("A model that fails to load: what ran before is put back")
        self.run("switch", "broken", code=1)
        self.expect("code")
        self.ask("code")

        self.title("kill -9 of the daemon: the engine goes on, the next daemon takes it over")
        self.adopt()

        self.title("An agent asks the one endpoint of all modes for chat: it waits, and the box switches")
        self.ask("chat")
        self.expect("chat")
        self.run("status")

        self.title("Back to blank: the memory is back")
        self.run("switch", "blank")
        self.run("cards")

    def title(self, text: str) -> None:
        """Announce a scene."""
        self._scenes += 1
        strong, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
        print(f"\n{strong}=== {self._scenes}. {text}{plain}")

    def run(self, *arguments: str, code: int = 0) -> None:
        """Run a gpumodctl command, show what it printed, and check how it ended."""
        print(f"\n$ gpumodctl {' '.join(arguments)}")
        answer = self.box.ctl(*arguments)
        print(answer.text.rstrip())
        if answer.code:
            print(f"[exit code {answer.code}]")
        if answer.code != code:
            raise DemoError(f"expected exit code {code}, not {answer.code}")

    def ask(self, service: str) -> None:
        """Ask a model a question at the gateway and show its answer (the weights are random)."""
        body = {
            "model": service,
            "max_tokens": 24,
            "messages": [{"role": "user", "content": "What are you?"}],
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.box.port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_PATIENCE) as response:  # noqa: S310 - loopback
            answer = json.load(response)
        text = answer["choices"][0]["message"]["content"]
        print(f"\nPOST /v1/chat/completions, model {service}: nonsense, its weights are random: {text!r}")

    def adopt(self) -> None:
        """Kill -9 the daemon: the engine goes on, and the next daemon takes it over."""
        before = self.service("code")
        self.box.kill_daemon()
        port = before["launch"]["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=_PATIENCE) as response:
            print(f"\nThe daemon is gone; code on port {port} still answers: {response.status}")
        self.box.start_daemon()
        after = self.service("code")
        if after["generation"] != before["generation"]:
            raise DemoError("the engine was restarted instead of adopted")
        print("A new daemon has been started:")
        self.run("status")

    def service(self, name: str) -> Mapping[str, Any]:
        """One service's record."""
        found = [one for one in self.box.status()["services"] if one["id"] == name]
        if not found:
            raise DemoError(f"service {name} is not there")
        record: Mapping[str, Any] = found[0]
        return record

    def expect(self, mode: str) -> None:
        """Check where the box is."""
        status = self.box.status()
        if (status["mode"], status["state"]) != (mode, "settled"):
            raise DemoError(f"expected mode {mode}, settled; it is {status['mode']}, {status['state']}")
        print(f"\nThe box is in mode {mode}.")


def main() -> int:
    """Play the demonstration; 0 if all went as announced and nothing is left running."""
    began = time.monotonic()
    with _workspace() as root:
        box = Box(root)
        print(_INTRODUCTION)
        print(f"Writing two models with random weights ({_CHAT_MIB} and {_CODE_MIB} MiB) ...", flush=True)
        box.write_files()
        try:
            box.start_daemon()
            Demo(box).play()
            problem = ""
        except (DemoError, OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            problem = f"{type(error).__name__}: {error}"
        finally:
            _end(box)
        left = box.processes()
        if problem:
            print(f"\nThe demonstration failed: {problem}\nThe daemon's log:")
            print(_last_lines(root / "daemon.log"))
        if left:
            print(f"\nLeft running: {left}")
        if problem or left:
            return 1
    print(
        f"\nDone in {time.monotonic() - began:.0f} s: every scene went as announced, nothing is left running."
    )
    print(
        "README.md, `A 24 GB box`, has the files of a real one. `make run` keeps a daemon in the foreground."
    )
    return 0


def _end(box: Box) -> None:
    """Leave nothing running, however far the scenes came."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        box.ctl("switch", "blank", "--force")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        box.stop_daemon()
    if box.daemon is not None and box.daemon.poll() is None:
        box.kill_daemon()


@contextlib.contextmanager
def _workspace() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="gpumod-demo-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _last_lines(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-30:]) if path.exists() else "(none)"


if __name__ == "__main__":
    sys.exit(main())
