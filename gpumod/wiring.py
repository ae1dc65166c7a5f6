"""Builds the adapters and hands them to the supervisor: the one place that knows them all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpumod import __version__
from gpumod.bench.queue import JobQueue
from gpumod.bench.schedules import Schedules
from gpumod.bench.suites import suites_with
from gpumod.bench.worker import JobWorker, WorkerParts
from gpumod.config import reload_catalog
from gpumod.core.errors import ConfigError
from gpumod.core.job_ports import JobStore
from gpumod.core.spec import EngineKind
from gpumod.discovery.places import hub_cache
from gpumod.engines import engines, run_command
from gpumod.engines.oracle import LlamaOracle
from gpumod.estimate import ModelFootprints
from gpumod.estimate.landmines.trap import HostFacts
from gpumod.hardware.detect import open_hardware
from gpumod.hardware.probe import LocalHostProbe
from gpumod.hardware.procfs import read_stat
from gpumod.hardware.settings import CardKind, HardwareSettings
from gpumod.hardware.worker import Worker
from gpumod.runners.choose import choose_runner, unit_of_this_daemon
from gpumod.store import open_store
from gpumod.supervisor.parts import Parts

if TYPE_CHECKING:
    from gpumod.config.settings import Settings
    from gpumod.core.names import ServiceId
    from gpumod.core.ports import Clock
    from gpumod.supervisor.supervisor import Supervisor

_ID_BYTES = 5
_INSTANCE_DIGITS = 8


class Built(NamedTuple):
    """What the rooms above are built from."""

    parts: Parts
    job_store: JobStore


async def build_parts(settings: Settings, clock: Clock, stack: contextlib.AsyncExitStack) -> Built:
    """Everything the supervisor and the jobs are built from; the stack closes it in the opposite order.

    Raises:
        StoreError: the database cannot be used.
        ConfigError: the configured runner or engine user cannot be used here.
    """
    check_engine_user(settings.engine_user, root=os.geteuid() == 0, in_unit=bool(unit_of_this_daemon()))
    store = await open_store(settings.state_dir / "gpumod.db", clock, bounds=settings.bounds)
    stack.push_async_callback(store.close)
    hardware = open_hardware(_hardware(settings), clock)
    stack.push_async_callback(hardware.close)
    host = LocalHostProbe(settings.bounds)
    stack.push_async_callback(host.close)
    runners, default = await choose_runner(
        settings.runner,
        state_dir=settings.state_dir,
        instance=instance(settings.state_dir),
        manager=settings.systemd_manager,
    )
    for runner in runners.values():
        stack.push_async_callback(runner.close)
    models = Worker("model files")
    stack.push_async_callback(models.close, settings.bounds.driver_call)
    parts = Parts(
        clock=clock,
        store=store,
        hardware=hardware,
        host=host,
        runners=runners,
        runner=default,
        engines=engines(
            host,
            llama_server=settings.engines.llama_cpp or "llama-server",
            vllm=settings.engines.vllm or "vllm",
            container_runtime=settings.engines.container,
            instance=instance(settings.state_dir),
            user=settings.engine_user,
            bounds=settings.bounds,
        ),
        footprints=ModelFootprints(caches=hub_caches(), host=host_facts()),
        load_catalog=partial(reload_catalog, settings),
        log_path=lambda service: log_path(settings.state_dir, service),
        new_id=new_id,
        run_command=partial(run_command, user=settings.engine_user),
        version=__version__,
        read_models=models,
        bounds=settings.bounds,
        port_range=settings.ports,
        engine_user=settings.engine_user,
        boot_id=boot_id(),
        log_size=settings.log.max_size,
        log_keep=settings.log.keep,
        oracles={EngineKind.LLAMA_CPP: LlamaOracle(settings.engine_user)},
    )
    return Built(parts, store.job_store)


class JobRoom(NamedTuple):
    """The queue of benchmark jobs, who works through it, and what fills it by the clock."""

    queue: JobQueue
    worker: JobWorker
    schedules: Schedules


def build_jobs(parts: Parts, job_store: JobStore, supervisor: Supervisor, config_dir: Path) -> JobRoom:
    """The jobs of a box. They reach it through the supervisor's ports alone.

    Suites find packs and recipes of the user's own in folders of the one of config.yaml.
    """
    suites = suites_with(config_dir, parts.engine_user)
    worker = JobWorker(
        WorkerParts(
            store=job_store,
            switching=supervisor,
            leases=supervisor.leases,
            events=supervisor.events,
            clock=parts.clock,
            desired=parts.store.desired,
            owner=f"{os.getpid()}-{parts.new_id()}",
            suites=suites,
        )
    )
    queue = JobQueue(
        store=job_store,
        switching=supervisor,
        events=supervisor.events,
        clock=parts.clock,
        suites=suites,
        new_id=parts.new_id,
        poke=worker.poke,
    )
    return JobRoom(queue, worker, Schedules(job_store, queue.add, parts.clock))


def check_engine_user(user: str | None, *, root: bool, in_unit: bool) -> None:
    """Refuse what would make engines run as root, or not at all.

    Raises:
        ConfigError: there is no such user, it is root, or the daemon cannot change to it; or a unit of
            the system's names nobody.
    """
    if user is None:
        if root and in_unit:
            raise ConfigError(
                "`engine_user` has to name whom engines run as: as a service they never run as root"
            )
        return
    try:
        number = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(f"`engine_user: {user}`: there is no such user on this box") from None
    if number == 0:
        raise ConfigError(f"`engine_user: {user}`: engines never run as root, name an unprivileged user")
    if not root and number != os.geteuid():
        raise ConfigError(
            f"`engine_user: {user}`: only a daemon that runs as root can change to another user"
        )


def instance(state_dir: Path) -> str:
    """Tells this daemon's units and containers from those of another one on the same box."""
    return hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:_INSTANCE_DIGITS]


def log_path(state_dir: Path, service: ServiceId) -> str:
    """Where a service's output goes."""
    return str(state_dir / "logs" / f"{service}.log")


def new_id() -> str:
    """A short id that nobody guesses: ten hexadecimal digits."""
    return secrets.token_hex(_ID_BYTES)


def boot_id() -> str:
    """Names this boot: the kernel's id, and when PID 1 started.

    A container that is restarted keeps the kernel, and ProtectKernelTunables= hides an id of its own.
    """
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    init = read_stat("", 1)
    return f"{kernel}-{init.start_ticks}" if init else kernel


def hub_caches() -> tuple[Path, ...]:
    """Where models that engines fetched from the hub lie; none where there is no home."""
    cache = hub_cache(os.environ)
    return (Path(cache),) if cache else ()


def host_facts() -> HostFacts:
    """What footprints and landmines depend on of this box."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return HostFacts(memory, wsl=Path("/dev/dxg").exists())


def _hardware(settings: Settings) -> HardwareSettings:
    return HardwareSettings(
        cards=CardKind(settings.cards),
        headroom=settings.headroom,
        headroom_of=settings.headroom_of,
        host_headroom=settings.host_headroom,
        host_limit=settings.host_limit,
        bounds=settings.bounds,
        root=os.sep,
    )
