"""Everything that the supervisor is built from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from gpumod.core.bounds import Bounds
from gpumod.core.names import ServiceId
from gpumod.core.spec import Catalog, EngineKind

T = TypeVar("T")

if TYPE_CHECKING:
    from gpumod.core.ports import Clock, Engine, Footprints, Hardware, HostProbe, Oracle, Runner, Store


class Aside(Protocol):
    """Runs calls that may hang, where nothing else waits for them."""

    async def run(self, call: Callable[[], T], bound: float) -> T:
        """The call's result.

        Raises:
            TimeoutError: not there within `bound` seconds.
        """
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The adapters behind the ports, and the settings that the supervisor needs.

    Args:
        runners: by name; records made by a runner that is no longer the default still find it.
        runner: the name of the one that starts new attempts.
        load_catalog: reads the user's files; called at start and on reload.
        log_path: where a service's output goes.
        port_range: first and last port for services without a port of their own.
        engine_user: whom engines run as, where the daemon is root.
        new_id: makes ids for switches and leases.
        read_models: runs what reads models' files, for at most so long; then it raises TimeoutError.
        run_command: runs a preset's stop command for at most so long; answers why it failed, or nothing.
        boot_id: names this boot of the machine.
        log_size: bytes of a service's log before it is rotated.
        log_keep: how many old logs are kept.
        oracles: the estimators of the engines that have one.
    """

    clock: Clock
    store: Store
    hardware: Hardware
    host: HostProbe
    runners: Mapping[str, Runner]
    runner: str
    engines: Mapping[EngineKind, Engine]
    footprints: Footprints
    load_catalog: Callable[[], Catalog]
    log_path: Callable[[ServiceId], str]
    new_id: Callable[[], str]
    run_command: Callable[[tuple[str, ...], float], Awaitable[str]]
    version: str
    read_models: Aside
    bounds: Bounds = field(default_factory=Bounds)
    port_range: tuple[int, int] = (18000, 18999)
    engine_user: str | None = None
    boot_id: str = ""
    log_size: int = 64 * 1024 * 1024
    log_keep: int = 3
    oracles: Mapping[EngineKind, Oracle] = field(default_factory=dict)

    def engine(self, kind: EngineKind) -> Engine:
        """The adapter for an engine family."""
        return self.engines[kind]
