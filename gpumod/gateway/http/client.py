"""What a client's connection and what runs on it know of each other."""

from __future__ import annotations

from typing import Protocol

from gpumod.gateway.exchange import Answer


class Client(Protocol):
    """A client's connection, as the request that runs on it sees it."""

    @property
    def old(self) -> bool:
        """Whether the client speaks HTTP/1.0: it understands neither chunks nor interim answers."""
        ...

    @property
    def keep(self) -> bool:
        """Whether the connection stays open after this request, as things stand."""
        ...

    @property
    def full(self) -> bool:
        """Whether the client takes no more for now."""
        ...

    def write(self, data: bytes) -> None:
        """Send."""
        ...

    def attend(self, when: float) -> None:
        """Call `overdue` once the clock is there; infinity for never."""
        ...

    def answer(self, answer: Answer) -> None:
        """The request is answered by the gateway itself; it ends with this."""
        ...

    def done(self, *, keep: bool) -> None:
        """The request's answer was sent whole."""
        ...

    def cut(self, *, at_once: bool = False) -> None:
        """Close the connection within an answer, so that the client sees that it is not whole."""
        ...

    def tunnel(self, running: Running) -> None:
        """Whatever comes from now on goes to it, and is no HTTP."""
        ...

    def pause_reading(self) -> None:
        """Let the client wait with what it sends."""
        ...

    def resume_reading(self) -> None:
        """Take what the client sends."""
        ...


class Running(Protocol):
    """What runs on a client's connection: one request."""

    def gone(self) -> None:
        """The client has closed the connection."""
        ...

    def full(self) -> None:
        """The client takes no more for now."""
        ...

    def ready(self) -> None:
        """The client takes bytes again."""
        ...

    def overdue(self, now: float) -> None:
        """The moment has come that was asked for with `attend`."""
        ...

    def fed(self, data: bytes) -> None:
        """Bytes of the client that belong to this request: its body as it comes, or what a tunnel carries."""
        ...
