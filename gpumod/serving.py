"""The daemon's listeners: which sockets, who may use them, and the application behind them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from gpumod import __version__
from gpumod.access import AccessRules, Key, Scope, digest
from gpumod.api import ApiDeps, create_app, serve
from gpumod.config.schema import json_schema
from gpumod.core.cards import DriverState
from gpumod.core.errors import ConfigError, GpumodError
from gpumod.core.metrics import Metric, Sample
from gpumod.gateway.plane import Gateway, GatewayParts
from gpumod.gateway.web import WebDeps, models_router
from gpumod.runners.activation import address_of, inherited_sockets, keep_by_manager

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpumod.config.settings import Key as ConfiguredKey
    from gpumod.config.settings import Settings
    from gpumod.core.job_ports import Jobs, ScheduleBook
    from gpumod.supervisor.parts import Parts
    from gpumod.supervisor.supervisor import Supervisor

_SOCKET_MODE = 0o660
_BACKLOG = 1024


class Listeners:
    """Bound sockets and the server on them."""

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        parts: Parts,
        jobs: Jobs,
        schedules: ScheduleBook,
    ) -> None:
        access = access_rules(settings)
        limits = {key.name: key.limits for key in settings.keys}
        self._gateway = Gateway(
            GatewayParts(
                switching=supervisor,
                admission=supervisor.gate,
                leases=supervisor.leases,
                clock=parts.clock,
                access=access,
                settings=settings.gateway,
                limits=limits,
                recovering=lambda: supervisor.recovering,
            )
        )
        deps = ApiDeps(
            switching=supervisor,
            leases=supervisor.leases,
            events=supervisor.events,
            store=parts.store,
            jobs=jobs,
            schedules=schedules,
            version=__version__,
            config_dir=str(settings.config_dir),
            access=access,
            ready=lambda: _unready(supervisor),
            schema=json_schema,
            metrics=lambda: (*self._gateway.metrics(), _refusals(supervisor.refusals)),
            requests=self._gateway.ledger.accounts,
        )
        models = WebDeps(
            switching=supervisor,
            context_of=lambda spec: spec.context or parts.footprints.trained_context(spec),
            allowed=lambda name: limits[name].models if name in limits else (),
            created=int(parts.clock.now()),
        )
        self._app = create_app(deps, [models_router(models)])
        self._settings = settings
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sockets: list[socket.socket] = []
        self._kept = False
        self._inode = 0
        self.addresses: tuple[str, ...] = ()

    def bind(self) -> None:
        """Take the addresses; nobody is answered yet. Sockets that the service manager kept are used again.

        Raises:
            GpumodError: an address cannot be bound; the sentence says which and why.
        """
        sockets: list[socket.socket] = []
        path = self._settings.socket
        with contextlib.ExitStack() as unbind:
            here = {address_of(one): unbind.enter_context(one) for one in inherited_sockets()}
            used = here if path.exists() else {key: one for key, one in here.items() if key != str(path)}
            for listen in self._settings.listen:
                kept = used.get(f"{listen.host} {listen.port}")
                sockets.append(kept or unbind.enter_context(_tcp(listen.host, listen.port)))
            sockets.append(used.get(str(path)) or unbind.enter_context(_unix(path)))
            unbind.pop_all()
        unused = [one for one in here.values() if one not in sockets]
        self._sockets = sockets
        self._inode = path.stat().st_ino
        self._kept = keep_by_manager(os.environ.get("NOTIFY_SOCKET", ""), sockets, unused=unused)
        for one in unused:
            one.close()
        names = [f"http://{host}:{port}" for host, port, *_ in (one.getsockname() for one in sockets[:-1])]
        self.addresses = (*names, str(self._settings.socket))

    async def start(self) -> None:
        """Begin to answer.

        Raises:
            GpumodError: the server does not start.
        """
        started = asyncio.Event()
        await self._gateway.start()
        serving = serve(
            self._app, self._sockets, self._stop, on_started=started.set, listen=self._gateway.listen
        )
        self._task = asyncio.create_task(serving)
        starting = asyncio.create_task(started.wait())
        await asyncio.wait({self._task, starting}, return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        if not started.is_set():
            raise GpumodError(f"the HTTP server does not start: {await self.ended()}")

    async def ended(self) -> str:
        """Wait until the server has ended by itself; why, as far as it is known."""
        if self._task is None:
            return "it was never started"
        await asyncio.wait({self._task})
        return "cancelled" if self._task.cancelled() else repr(self._task.exception())

    async def drain(self) -> None:
        """Take no requests any more, and let those that models work on finish; at most `gateway.drain`."""
        await self._gateway.drain()

    async def close(self) -> None:
        """Finish what is under way and close the sockets."""
        self._stop.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._gateway.close()
        for one in self._sockets:
            one.close()
        if self._sockets and not self._kept:
            _unlink_own(self._settings.socket, self._inode)


def access_rules(settings: Settings) -> AccessRules:
    """Keys and host names as configured.

    Raises:
        ConfigError: a key file cannot be read.
    """
    return AccessRules(
        keys=tuple(_key(key) for key in settings.keys),
        allowed_hosts=settings.allowed_hosts,
        allowed_origins=settings.allowed_origins,
    )


def _key(key: ConfiguredKey) -> Key:
    scopes = frozenset(Scope(scope.value) for scope in key.scopes)
    if key.sha256 is not None:
        return Key(key.name, bytes.fromhex(key.sha256), scopes)
    try:
        text = (key.file or Path()).read_text().strip()
    except OSError as error:
        raise ConfigError(f"key {key.name}: {key.file} cannot be read: {error.strerror}") from error
    if not text:
        raise ConfigError(f"key {key.name}: {key.file} is empty")
    return Key(key.name, digest(text), scopes)


def _refusals(counts: Mapping[str, int]) -> Metric:
    samples = tuple(Sample(count, {"code": code}) for code, count in sorted(counts.items()))
    text = "Reasons for which switches were refused."
    return Metric("gpumod_switch_refusals_total", text, "counter", samples)


def _unready(supervisor: Supervisor) -> str:
    """Why the box cannot be used yet; empty when it can."""
    if supervisor.recovering:
        return "recovery is under way"
    if trouble := supervisor.trouble or supervisor.store_trouble:
        return trouble
    reading = supervisor.reading
    if reading.driver not in {DriverState.OK, DriverState.ABSENT}:
        return reading.reason or f"the driver is {reading.driver}"
    return ""


def _tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        message = f"{host}:{port} cannot be listened on ({error.strerror}): choose another `listen`"
        raise GpumodError(message) from error
    return listener


def _unix(path: Path) -> socket.socket:
    """A Unix socket that its owner and group may use.

    Raises:
        GpumodError: it cannot be made, or another daemon, with a state directory of its own, answers there.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise GpumodError(f"{path} is there and is not a socket: move it, or choose another `socket`")
        if _answers(path):
            raise GpumodError(f"another daemon answers at {path}: stop it, or choose another `socket`")
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(_SOCKET_MODE)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        message = f"the socket {path} cannot be made ({error.strerror}): choose another `socket`"
        raise GpumodError(message) from error
    except GpumodError:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    """Whether somebody listens there; the file alone may be left of a daemon that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a listener whose queue is full would hold us up, and it is one
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def _unlink_own(path: Path, inode: int) -> None:
    """Remove the socket's file, unless another daemon has put its own in its place."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()
