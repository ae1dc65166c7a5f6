"""Presets, modes and settings as the text of files. Pure."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gpumod.core.spec import EngineKind, ServiceSpec, Task
from gpumod.discovery.presets import Preset

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9 /._+@=-]*[A-Za-z0-9/._+@=-]|[A-Za-z/]")
"""A text that YAML reads as itself without quotes, if it is none of the words below."""
_WORDS: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_REASON_AT: Final = 32
_WIDTH: Final = 110


def preset_text(preset: Preset, variables: Mapping[str, str]) -> str:
    """The file of a preset.

    Args:
        preset: what it says and why.
        variables: folders by the names that stand for them in paths.
    """
    lines = list(_comment(preset.about))
    for name, value in keys(preset.spec, variables).items():
        written = f"{name}: {_flow(value)}"
        reason = preset.reasons.get(name, "")
        lines.append(f"{written:<{_REASON_AT - 2}}  # {reason}" if reason else written)
    lines += _comment(preset.remarks)
    return "\n".join(lines) + "\n"


def keys(spec: ServiceSpec, variables: Mapping[str, str]) -> dict[str, Any]:
    """What a preset's file says of a service, in the order in which people read it."""
    found: dict[str, Any] = {"id": str(spec.id), "engine": spec.engine.value}
    found["binary"] = with_variables(spec.binary, {}) if spec.binary else None
    found["model"] = with_variables(spec.model, variables) if spec.model else None
    found["mmproj"] = with_variables(spec.mmproj, variables) if spec.mmproj else None
    found["task"] = spec.task.value if spec.task is not Task.CHAT else None
    found["context"], found["slots"] = spec.context, spec.slots
    found["kv_cache"] = {"k": spec.kv_cache.k, "v": spec.kv_cache.v} if spec.kv_cache else None
    if spec.draft is not None:
        model = with_variables(spec.draft.model, variables) if spec.draft.model else None
        found["draft"] = _given({"type": spec.draft.type, "model": model, "n_max": spec.draft.n_max})
    found["cards"] = spec.cards.count if spec.cards.count > 1 else None
    if spec.engine is EngineKind.LLAMA_CPP:
        options = spec.llama
        found["llama"] = _given(
            {"cpu_moe_layers": options.cpu_moe_layers, "batch": options.batch, "ubatch": options.ubatch}
        )
    else:
        found["vllm"] = _given({"gpu_memory_utilization": spec.vllm.gpu_memory_utilization})
    return _given(found)


def mode_text(
    mode: str, description: str, services: Iterable[str], default: str, about: Iterable[str]
) -> str:
    """The file of a mode."""
    listed = "".join(f"  - {_scalar(service)}\n" for service in services)
    head = "".join(f"{line}\n" for line in _comment(about))
    return (
        f"{head}id: {mode}\ndescription: {_scalar(description)}\nservices:\n{listed}"
        f"routes: {{default: {_scalar(default)}}}\n"
    )


def settings_text(variables: Mapping[str, str], programs: Mapping[str, tuple[str, str]]) -> str:
    """config.yaml: folders that presets name, and the engines' programs with what they are."""
    lines: list[str] = []
    if variables:
        lines.append("vars:")
        lines += [f"  {name}: {_scalar(with_variables(path, {}))}" for name, path in variables.items()]
    if programs:
        lines.append("engines:")
        lines += [
            f"  {engine}: {{binary: {_scalar(with_variables(path, {}), inside=True)}}}  # {about}"
            for engine, (path, about) in programs.items()
        ]
    return "\n".join(lines) + "\n"


def with_variables(path: str, variables: Mapping[str, str]) -> str:
    """A path as a file has it: below a variable's folder by that variable, the innermost first."""
    for name, folder in sorted(variables.items(), key=lambda pair: -len(pair[1])):
        if path.startswith(folder.rstrip("/") + "/"):
            return f"${{{name}}}{_escaped(path[len(folder.rstrip('/')) :])}"
    return _escaped(path)


def _escaped(path: str) -> str:
    return path.replace("${", "$${")


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != {}}


def _comment(lines: Iterable[str]) -> Iterator[str]:
    """Lines of comment, wrapped."""
    for line in lines:
        clean = "".join(letter if letter.isprintable() else "?" for letter in line)
        yield from textwrap.wrap(
            clean, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False
        )


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_scalar(one, inside=True)}" for name, one in value.items()) + "}"
    return _scalar(value)


def _scalar(value: Any, *, inside: bool = False) -> str:
    """A value on one line. `inside` braces, where variables have to be quoted."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value.replace("${", "").replace("}", "") if not inside else value
    safe = _PLAIN.fullmatch(plain) and value.lower() not in _WORDS and (inside or not value.startswith("{"))
    return value if safe else json.dumps(value, ensure_ascii=False)
