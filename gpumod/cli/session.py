"""What a running command has in its hands: its options, the daemon, and a way to answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gpumod.cli.outcome import ExitCode, Options, exit_code, print_json, report
from gpumod.cli.screen import show
from gpumod.core.errors import GpumodError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from gpumod.cli.layout import Block
    from gpumod.client import Client
    from gpumod.client.address import Address


class Session(AbstractContextManager["Session"]):
    """One run of gpumodctl."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "client" in vars(self):
            self.client.close()

    @property
    def json(self) -> bool:
        """Whether the answer is for a program."""
        return self.options.json

    @cached_property
    def address(self) -> Address:
        """Where the daemon is."""
        from gpumod.client.address import find_address

        return find_address(self.options.host, self.options.socket)

    @cached_property
    def key(self) -> str | None:
        """The key to show to the daemon."""
        from gpumod.client.address import find_key

        return find_key(key_file=self.options.key_file)

    @cached_property
    def client(self) -> Client:
        """The daemon, not asked anything yet."""
        from gpumod.client import Client

        return Client(self.address, key=self.key)

    def emit(self, value: object, blocks: Iterable[Block]) -> ExitCode:
        """Answer with a core value: its JSON for a program, the blocks for people."""
        if self.json:
            from gpumod.client.calls import encode

            print_json(encode(value))
        else:
            show(blocks)
        return ExitCode.DONE

    def box(self) -> Mapping[str, Any] | None:
        """What the box is like now; None where that cannot be told."""
        from gpumod.client import fast

        try:
            status = fast.get(self.address, "status", self.key, timeout=2.0)
        except GpumodError:
            return None
        if not isinstance(status, dict):
            return None
        return {name: status.get(name) for name in ("state", "mode", "reason")}

    def fail(self, error: GpumodError) -> ExitCode:
        """Tell of an error. Where the daemon failed, what the box is like now belongs to the answer."""
        asked = "client" in vars(self)
        box = self.box() if asked and exit_code(error) is ExitCode.FAILED else None
        return report(error, as_json=self.json, box=box)
