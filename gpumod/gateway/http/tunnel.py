"""What a websocket's connection becomes: bytes both ways until either end closes."""

from __future__ import annotations

import math
from collections.abc import Callable

from gpumod.gateway.http.client import Client
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.http.upstream import EngineConnection


class Tunnel:
    """Joins a client and an engine.

    Args:
        on_end: called when the first of the two has closed; it is told whether a silent client was cut off.
    """

    __slots__ = ("_client", "_clock", "_engine", "_full", "_limits", "_on_end")

    def __init__(
        self,
        client: Client,
        engine: EngineConnection,
        *,
        limits: Limits,
        clock: Callable[[], float],
        on_end: Callable[[bool], None],
    ) -> None:
        self._client = client
        self._engine = engine
        self._limits = limits
        self._clock = clock
        self._on_end = on_end
        self._full = False
        engine.user = self
        client.attend(math.inf)
        client.tunnel(self)

    # --- the engine ---

    def answered(self, data: bytes) -> None:
        """What the engine sends."""
        self._client.write(data)

    def lost(self, error: Exception | None) -> None:
        """The engine has closed the connection."""
        del error
        self._on_end(False)
        self._client.done(keep=False)

    def engine_full(self) -> None:
        """The engine takes no more for now."""
        self._client.pause_reading()

    def engine_ready(self) -> None:
        """The engine takes bytes again."""
        self._client.resume_reading()

    # --- the client ---

    def fed(self, data: bytes) -> None:
        """What the client sends."""
        self._engine.transport.write(data)

    def gone(self) -> None:
        """The client has closed the connection."""
        self._engine.cut()
        self._on_end(False)

    def full(self) -> None:
        """The client takes no more for now."""
        self._full = True
        self._engine.pause_reading()
        self._client.attend(self._clock() + self._limits.client_silence)

    def ready(self) -> None:
        """The client takes bytes again."""
        self._full = False
        self._engine.resume_reading()
        self._client.attend(math.inf)

    def overdue(self, now: float) -> None:
        """The client took nothing for too long."""
        del now
        self._engine.cut()
        self._on_end(True)
        self._client.cut(at_once=True)
