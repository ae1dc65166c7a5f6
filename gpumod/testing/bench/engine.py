"""An engine without gpumod: what a short script does with it, and how long that takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any

from gpumod.testing.bench.box import PATIENCE, BenchError

if TYPE_CHECKING:
    from pathlib import Path

_POLL = 0.005


@dataclass(frozen=True, slots=True)
class Alone:
    """The engine's own times in seconds, as a script sees them.

    Attributes:
        ready: from its start to the first 200 of `/health`, asked every 5 ms.
        answer: from then to the answer of one small request, the one that gpumod warms up with.
        gone: from SIGTERM to its end.
    """

    ready: float
    answer: float
    gone: float

    @property
    def load(self) -> float:
        """From its start to its first answer."""
        return self.ready + self.answer

    @property
    def whole(self) -> float:
        """All of it."""
        return self.load + self.gone


class BareEngine:
    """One engine process with the argv and environment that gpumod gave it."""

    def __init__(self, launch: dict[str, Any], log: Path) -> None:
        self._argv = [str(word) for word in launch["argv"]]
        self._env = dict(map(tuple, launch["env"])) if launch["env"] else dict(os.environ)
        self._port = int(launch["port"])
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def once(self) -> Alone:
        """Start it, ask it, stop it."""
        ready, answer = self.up()
        return Alone(ready, answer, self.down())

    def up(self) -> tuple[float, float]:
        """Start it and ask it once: seconds to ready, and from there to the answer.

        Raises:
            BenchError: it ended, or is not ready in time.
        """
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            return self._answering(self._process, began)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _answering(self, process: subprocess.Popen[bytes], began: float) -> tuple[float, float]:
        while self._status("GET", "/health") != 200:
            if process.poll() is not None or time.monotonic() - began > PATIENCE:
                raise BenchError(f"the engine is not ready: {self._log.read_text(errors='replace')[-500:]}")
            time.sleep(_POLL)
        ready = time.monotonic()
        request = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        if self._status("POST", "/v1/chat/completions", request) != 200:
            raise BenchError("the engine does not answer")
        return ready - began, time.monotonic() - ready

    def down(self) -> float:
        """SIGTERM, and wait for its end: seconds."""
        if self._process is None:
            return 0.0
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)
        self._process = None
        return time.monotonic() - began

    def _status(self, method: str, path: str, body: object = None) -> int:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            return response.status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()
