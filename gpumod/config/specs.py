"""Makes a service's specification of a checked preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from gpumod.config.preset_file import (
    AnyPresetFile,
    CommandPreset,
    ContainerPreset,
    LlamaPreset,
    PresetFile,
    VllmPreset,
)
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.spec import (
    CommandOptions,
    ContainerOptions,
    Draft,
    Drain,
    EngineKind,
    KvCache,
    LlamaOptions,
    Mount,
    RestartPolicy,
    ServiceSpec,
    Split,
    VllmOptions,
)


def service_spec(preset: AnyPresetFile, *, preset_id: str, env: Mapping[str, str]) -> ServiceSpec:
    """The service that a preset, with a mode's overrides in it, asks for.

    Keys that are not there take ServiceSpec's defaults. `~/` in paths is `$HOME` of `env`.
    """
    home = env.get("HOME", "")
    keys = _common(preset)
    match preset:
        case LlamaPreset():
            keys |= _language_model(preset, home) | _llama(preset, home)
        case VllmPreset():
            keys |= _language_model(preset, home)
            keys["vllm"] = VllmOptions(**_given(preset.vllm)) if preset.vllm else None
        case ContainerPreset():
            keys["container"] = _container(preset, home)
        case CommandPreset():
            options = {name: _frozen(value) for name, value in _given(preset.command).items()}
            keys["command"] = CommandOptions(**options)
    if isinstance(preset, (ContainerPreset, CommandPreset)) and preset.upstream_key_file:
        keys["upstream_key"] = at_home(preset.upstream_key_file, home)
    if preset.model is not None:
        keys["model"] = at_home(preset.model, home)
    return ServiceSpec(
        id=ServiceId(preset.id),
        preset=PresetId(preset_id),
        engine=EngineKind(preset.engine),
        **{name: value for name, value in keys.items() if value is not None},
    )


def at_home(path: str, home: str) -> str:
    """A path with `~/` at its beginning replaced."""
    return home.rstrip("/") + path[1:] if home and path.startswith("~/") else path


def _common(preset: PresetFile) -> dict[str, Any]:
    return {
        "served_name": preset.served_name,
        "task": preset.task,
        "vram": preset.vram.declared() if preset.vram else None,
        "ram": preset.ram,
        "memory_max": preset.memory_max,
        "cards": preset.cards,
        "aliases": _frozen(preset.aliases),
        "port": preset.port,
        "startup_timeout": preset.startup_timeout,
        "drain": Drain(**_given(preset.drain)) if preset.drain else None,
        "stop_grace": preset.stop_grace,
        "leave": preset.leave,
        "restart": RestartPolicy(**_given(preset.restart)) if preset.restart else None,
        "depends_on": _frozen(preset.depends_on),
        "args": _frozen(preset.args),
        "env": tuple(sorted(preset.env.items())) if preset.env else None,
        "idle": preset.idle.idle() if preset.idle else None,
        "requests": preset.requests.shape() if preset.requests else None,
    }


def _language_model(preset: LlamaPreset | VllmPreset, home: str) -> dict[str, Any]:
    draft = preset.draft
    return {
        "binary": at_home(preset.binary, home) if preset.binary else None,
        "context": preset.context,
        "slots": preset.slots,
        "draft": Draft(draft.type, at_home(draft.model, home) if draft.model else None, draft.n_max)
        if draft
        else None,
        "sampler": tuple(_given(preset.sampler).items()) if preset.sampler else None,
    }


def _llama(preset: LlamaPreset, home: str) -> dict[str, Any]:
    return {
        "mmproj": at_home(preset.mmproj, home) if preset.mmproj else None,
        "kv_cache": KvCache(preset.kv_cache.k, preset.kv_cache.v) if preset.kv_cache else None,
        "split": Split(preset.split.mode, tuple(preset.split.ratio or ())) if preset.split else None,
        "llama": LlamaOptions(**_given(preset.llama)) if preset.llama else None,
    }


def _container(preset: ContainerPreset, home: str) -> ContainerOptions:
    options = {name: value for name, value in _given(preset.container).items() if name != "mounts"}
    mounts = tuple(
        Mount(at_home(mount.source, home), mount.target, mount.read_only)
        for mount in preset.container.mounts or ()
    )
    return ContainerOptions(mounts=mounts, **{name: _frozen(value) for name, value in options.items()})


def _given(model: BaseModel) -> dict[str, Any]:
    """A model's values that are there, in the order of its definition."""
    return {name: value for name, value in dict(model).items() if value is not None}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
