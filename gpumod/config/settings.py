"""Settings: one frozen value from config.yaml and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from gpumod.config.documents import Document, DocumentError, read_document
from gpumod.config.environment import settings_from_environment
from gpumod.config.gateway import GatewaySettings, KeyLimits, gateway_settings, parse_rate
from gpumod.config.overlay import laid_over
from gpumod.config.problems import (
    config_error,
    findings_of,
    known_keys,
    located,
    problem_at,
    validate_or_prune,
)
from gpumod.config.settings_checks import checked_listen, checked_ports, findings
from gpumod.config.settings_file import KeyFile, Scope, SettingsFile, validated
from gpumod.config.variables import Variables, expand, resolve_own
from gpumod.core import paths
from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.spec import Problem
from gpumod.core.units import GIB, MIB

CONFIG_FILE = "config.yaml"
_NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Listen:
    """An address of the daemon's HTTP server."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Key:
    """Somebody's key and what it may do. Exactly one of `sha256` (hex) and `file` is given."""

    name: str
    scopes: frozenset[Scope]
    sha256: str | None = field(default=None, repr=False)
    file: Path | None = None
    limits: KeyLimits = _NO_LIMITS


@dataclass(frozen=True, slots=True)
class EnginePrograms:
    """Configured programs; None: found by name."""

    llama_cpp: str | None = None
    vllm: str | None = None
    container: Literal["podman", "docker"] | None = None


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Bytes of a service's log before it is rotated, and how many old ones are kept."""

    max_size: int = 64 * MIB
    keep: int = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is configured, defaults filled in. Sizes are bytes, durations seconds.

    Args:
        config_dir: where config.yaml, presets/ and modes/ are; it need not exist.
        headroom: what is left alone on every card.
        headroom_of: the same for single cards, by UUID, by index as text, or `host`.
        host_headroom: what is left alone of the host's memory.
        host_limit: the size that the host card pretends to have at most.
        systemd_manager: whose transient units; `auto` follows the user that runs the daemon.
        engine_user: whom engines run as, where the daemon is root.
        ports: first and last port for services without a port of their own.
        boot: `last`, `blank`, or a mode's id.
        modes: shipped modes that are in use, besides what the user's own files name.
        presets: likewise presets.
        variables: values for `${VAR}` in preset and mode files.
        warnings: what is odd, but does not prevent the start.
    """

    config_dir: Path
    state_dir: Path
    runtime_dir: Path
    socket: Path
    listen: tuple[Listen, ...] = (Listen(paths.DEFAULT_HOST, paths.DEFAULT_PORT),)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    cards: Literal["auto", "host", "nvidia"] = "auto"
    headroom: int = 512 * MIB
    headroom_of: Mapping[str, int] = field(default_factory=dict)
    host_headroom: int = 2 * GIB
    host_limit: int | None = None
    runner: Literal["auto", "systemd", "process"] = "auto"
    systemd_manager: Literal["auto", "user", "system"] = "auto"
    engine_user: str | None = None
    ports: tuple[int, int] = (18000, 18999)
    boot: str = "last"
    on_exit: Literal["blank", "keep"] = "blank"
    engines: EnginePrograms = EnginePrograms()
    keys: tuple[Key, ...] = ()
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    log: LogLimits = LogLimits()
    bounds: Bounds = DEFAULT_BOUNDS
    modes: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    variables: Variables = field(default_factory=Variables)
    warnings: tuple[Problem, ...] = ()

    @property
    def config_file(self) -> Path:
        """config.yaml; it need not exist."""
        return self.config_dir / CONFIG_FILE


def config_dir(
    chosen: Path | None = None, env: Mapping[str, str] | None = None, *, may_be_new: bool = False
) -> Path:
    """The folder of the user's files: the chosen one, `$GPUMOD_CONFIG`, the user's, the system's.

    Raises:
        ConfigError: a folder was asked for that is not there, and may not be new.
    """
    environment = os.environ if env is None else env
    candidates = [chosen] if chosen else [Path(one) for one in paths.config_directories(environment)]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate.resolve()
    if (chosen or environment.get("GPUMOD_CONFIG")) and not may_be_new:
        asked = "--config" if chosen else "$GPUMOD_CONFIG"
        raise config_error([Problem(str(candidates[0]), f"{asked} names a folder that is not there")])
    return candidates[0].absolute()


def load_settings(
    chosen: Path | None = None, env: Mapping[str, str] | None = None, *, may_be_new: bool = False
) -> Settings:
    """Settings from config.yaml in the configuration folder and from `GPUMOD_*` variables.

    A folder that was asked for has to be there, unless it may be new.

    Raises:
        ConfigError: something in either is wrong; `facts["problems"]` has all of it.
    """
    settings, problems = read_settings(chosen, env, may_be_new=may_be_new)
    if settings is None or any(not problem.warning for problem in problems):
        raise config_error(problems)
    return settings


def read_settings(
    chosen: Path | None = None, env: Mapping[str, str] | None = None, *, may_be_new: bool = False
) -> tuple[Settings | None, list[Problem]]:
    """Settings as far as they are sound, and everything that is wrong or odd.

    Where there are problems the settings are good for looking at other files, not for starting.

    Raises:
        ConfigError: the folder that was asked for is not there.
    """
    environment = dict(os.environ if env is None else env)
    folder = config_dir(chosen, environment, may_be_new=may_be_new)
    try:
        document = _document(folder / CONFIG_FILE)
    except DocumentError as unreadable:
        return None, [unreadable.problem]
    overrides = settings_from_environment(environment)
    variables, problems = resolve_own(document, environment)
    values, unresolved = _expanded(document, variables)
    merged = replace(document, value=laid_over(values, overrides.values))
    file, error, wrong = validate_or_prune(validated, values, overrides.values)
    found = findings_of(error, merged.value, keys=known_keys(SettingsFile)) if error else []
    settings = None
    if file is not None:
        settings = _settings(file, folder, environment, variables)
        found += findings(file, socket=settings.socket, folder=folder, wrong=wrong)
    for finding in found:
        problem, name = located(merged, finding), overrides.name_at(finding.location)
        problems.append(replace(problem, file="environment", line=None, key=name) if name else problem)
    problems = [*problems, *unresolved, *overrides.warnings]
    if settings is not None:
        settings = replace(settings, warnings=tuple(one for one in problems if one.warning))
    return settings, problems


def _document(path: Path) -> Document:
    if not path.exists():
        return Document(str(path), {})
    document = read_document(path)
    if not isinstance(document.value, dict):
        raise DocumentError(problem_at(document, (), "must be a mapping of settings"))
    return document


def _expanded(document: Document, variables: Variables) -> tuple[dict[str, object], list[Problem]]:
    """The file's values with variables replaced; `vars:` has its resolved ones."""
    value = cast("dict[str, object]", document.value)
    rest = {key: one for key, one in value.items() if key != "vars"}
    expanded, problems = expand(replace(document, value=rest), variables)
    result = cast("dict[str, object]", expanded.value)
    if "vars" in value:
        listed = value["vars"]
        result["vars"] = {**listed, **variables.own} if isinstance(listed, dict) else listed
    return result, problems


def _settings(file: SettingsFile, folder: Path, env: Mapping[str, str], variables: Variables) -> Settings:
    home = env.get("HOME", "")

    def path(text: str) -> Path:
        expanded = home + text[1:] if home and text.startswith("~/") else text
        return folder / expanded

    def keys() -> tuple[Key, ...]:
        return tuple(
            Key(
                name=key.name,
                scopes=frozenset(key.scopes),
                sha256=key.hash.removeprefix("sha256:") if key.hash else None,
                file=path(key.key_file) if key.key_file else None,
                limits=_limits(key),
            )
            for key in file.keys or ()
        )

    runtime = path(file.runtime_dir or paths.runtime_directory(env, os.getuid()))
    given: dict[str, object] = {
        "listen": tuple(Listen(*checked_listen(one)) for one in file.listen) if file.listen else None,
        "allowed_hosts": tuple(file.allowed_hosts or ()),
        "allowed_origins": tuple(file.allowed_origins or ()),
        "cards": file.cards,
        "host_limit": file.host_limit,
        "runner": file.runner,
        "systemd_manager": file.systemd_manager,
        "engine_user": file.engine_user,
        "ports": checked_ports(file.ports) if file.ports else None,
        "boot": file.boot,
        "on_exit": file.on_exit,
        "keys": keys(),
        "modes": tuple(file.modes or ()),
        "presets": tuple(file.presets or ()),
    }
    if file.headroom:
        given |= {"headroom": file.headroom.card, "host_headroom": file.headroom.host}
        given["headroom_of"] = dict(file.headroom.cards or {})
    if file.engines:
        given["engines"] = EnginePrograms(
            llama_cpp=file.engines.llama_cpp.binary if file.engines.llama_cpp else None,
            vllm=file.engines.vllm.binary if file.engines.vllm else None,
            container=file.engines.container.runtime if file.engines.container else None,
        )
    if file.log:
        given["log"] = LogLimits(**file.log.model_dump(exclude_none=True))
    if file.bounds:
        given["bounds"] = Bounds(**file.bounds.model_dump(exclude_none=True))
    given["gateway"] = gateway_settings(file.gateway)
    return Settings(
        config_dir=folder,
        state_dir=path(file.state_dir or paths.state_directory(env)),
        runtime_dir=runtime,
        socket=path(file.socket) if file.socket else runtime / Path(paths.socket_path(env, os.getuid())).name,
        variables=variables,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type] # checked by the model
    )


def _limits(key: KeyFile) -> KeyLimits:
    given = {
        "models": frozenset(key.models) if key.models else None,
        "concurrency": key.concurrency,
        "rate": parse_rate(key.rate) if key.rate else None,
        "priority": key.priority,
        "on_demand": key.on_demand,
    }
    return KeyLimits(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type] # checked by the model
