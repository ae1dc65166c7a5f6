"""What config.yaml may say."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model
from pydantic.config import JsonDict
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from gpumod.config.fields import (
    HASH_PATTERN,
    HOST_PATTERN,
    LISTEN_PATTERN,
    ORIGIN_PATTERN,
    PORTS_PATTERN,
    USER_PATTERN,
    CardName,
    Count,
    CountOrNone,
    Id,
    LongerThanZero,
    ModelName,
    Priority,
    Program,
    Size,
    Strict,
    Text,
    VariableName,
    one_or_many,
)
from gpumod.config.gateway import GatewayFile, Rate
from gpumod.core.bounds import Bounds
from gpumod.core.spec import OnDemand


class Scope(StrEnum):
    """What a key may do."""

    INFER = "infer"
    READ = "read"
    CONTROL = "control"


class HeadroomFile(Strict):
    """Memory that gpumod leaves alone."""

    card: Size | None = None
    host: Size | None = None
    cards: dict[CardName, Size] | None = None


class EngineFile(Strict):
    """An engine's program."""

    binary: Program | None = None


class ContainerEngineFile(Strict):
    """The program that runs containers."""

    runtime: Literal["podman", "docker"] | None = None


class EnginesFile(Strict):
    """Where the engines' programs are, unless a preset says."""

    llama_cpp: EngineFile | None = Field(default=None, alias="llama.cpp")
    vllm: EngineFile | None = None
    container: ContainerEngineFile | None = None


_EXACTLY_ONE: JsonDict = {
    "oneOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in ("hash", "key_file")]
}


class KeyFile(Strict):
    """Somebody's key: its SHA-256, or the file that has it."""

    model_config = ConfigDict(json_schema_extra=_EXACTLY_ONE)

    name: Id
    hash: Annotated[str, Field(pattern=HASH_PATTERN)] | None = None
    key_file: Program | None = None
    scopes: Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1)]
    models: Annotated[list[ModelName], Field(min_length=1)] | None = None
    concurrency: Count | None = None
    rate: Rate | None = None
    priority: Priority | None = None
    on_demand: Annotated[OnDemand, Field(strict=False)] | None = None


class LogFile(Strict):
    """Size of each service's log before it is rotated, and how many old ones are kept."""

    max_size: Size | None = None
    keep: CountOrNone | None = None


if TYPE_CHECKING:

    class BoundsFile(Strict):
        """Overrides of single bounds."""
else:
    _KINDS = {"float": LongerThanZero, "int": Count}
    BoundsFile = create_model(
        "BoundsFile",
        __base__=Strict,
        __doc__="Overrides of single bounds.",
        **{field.name: (_KINDS[field.type] | None, None) for field in dataclasses.fields(Bounds)},
    )

_LISTEN = {"type": "string", "pattern": LISTEN_PATTERN}


class SettingsFile(BaseSettings):
    """config.yaml, with `GPUMOD_*` of the environment over it."""

    model_config = SettingsConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    listen: Annotated[
        list[Annotated[str, Field(pattern=LISTEN_PATTERN)]] | None,
        BeforeValidator(one_or_many),
        WithJsonSchema({"anyOf": [_LISTEN, {"type": "array", "items": _LISTEN}, {"type": "null"}]}),
    ] = None
    socket: Program | None = None
    allowed_hosts: list[Annotated[str, Field(pattern=HOST_PATTERN)]] | None = None
    allowed_origins: list[Annotated[str, Field(pattern=ORIGIN_PATTERN)]] | None = None
    state_dir: Program | None = None
    runtime_dir: Program | None = None
    cards: Literal["auto", "host", "nvidia"] | None = None
    headroom: HeadroomFile | None = None
    host_limit: Size | None = None
    runner: Literal["auto", "systemd", "process"] | None = None
    systemd_manager: Literal["auto", "user", "system"] | None = None
    engine_user: Annotated[str, Field(pattern=USER_PATTERN)] | None = None
    ports: Annotated[str, Field(pattern=PORTS_PATTERN)] | None = None
    boot: Id | None = None
    on_exit: Literal["blank", "keep"] | None = None
    engines: EnginesFile | None = None
    keys: list[KeyFile] | None = None
    gateway: GatewayFile | None = None
    log: LogFile | None = None
    vars: dict[VariableName, Text] | None = None
    bounds: BoundsFile | None = None
    modes: list[Id] | None = None
    presets: list[Id] | None = None


def validated(file: dict[str, Any], environment: dict[str, Any]) -> SettingsFile:
    """Check both together; what the environment says lies over the file.

    Raises:
        ValidationError: something is wrong in either.
    """

    class Sources(SettingsFile):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return InitSettingsSource(settings_cls, environment), InitSettingsSource(settings_cls, file)

    return Sources()
