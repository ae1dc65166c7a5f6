"""Settings in `GPUMOD_*` variables: `GPUMOD_BOOT=code`, `GPUMOD_HEADROOM__CARD=1GiB`.

Two underscores go one level down. Values are read as YAML, so that a list is `[a, b]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpumod.config.documents import DocumentError, Location, parse_document
from gpumod.config.problems import close_to
from gpumod.config.settings_file import SettingsFile
from gpumod.core.spec import Problem

_PREFIX: Final = "GPUMOD_"
_NOT_SETTINGS: Final = frozenset({"CONFIG", "HOST", "KEY", "KEY_FILE"})
"""Where the settings are, and what clients read."""
_SPELT: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    ("engines", "llama_cpp"): ("engines", "llama.cpp")
}
"""A variable's name cannot have a dot."""


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """Settings from variables, and which variable each came from."""

    values: dict[str, Any]
    names: Mapping[Location, str]
    warnings: tuple[Problem, ...] = ()

    def name_at(self, location: Location) -> str:
        """The variable that set this value; empty when none did."""
        for end in range(len(location), 0, -1):
            if name := self.names.get(location[:end]):
                return name
        return ""


def settings_from_environment(env: Mapping[str, str]) -> FromEnvironment:
    """The settings in an environment. A variable that names no setting is only worth a warning."""
    known = {name for name in SettingsFile.model_fields if name != "vars"}
    values: dict[str, Any] = {}
    names: dict[Location, str] = {}
    warnings = []
    for variable, text in sorted(env.items()):
        name = variable.removeprefix(_PREFIX)
        if name == variable or name in _NOT_SETTINGS:
            continue
        steps = tuple(name.lower().split("__"))
        if steps[0] not in known:
            suggestion = close_to(variable, [f"{_PREFIX}{one.upper()}" for one in known])
            warnings.append(
                Problem(
                    "environment",
                    "no setting has this name",
                    key=variable,
                    suggestion=suggestion,
                    warning=True,
                )
            )
            continue
        steps = (*_SPELT.get(steps[:2], steps[:2]), *steps[2:])
        _put(values, steps, _value(text))
        names[steps] = variable
    return FromEnvironment(values, names, tuple(warnings))


def _put(values: dict[str, Any], steps: tuple[str, ...], value: object) -> None:
    for step in steps[:-1]:
        inner = values.get(step)
        if not isinstance(inner, dict):
            inner = values[step] = {}
        values = inner
    values[steps[-1]] = value


def _value(text: str) -> object:
    """The YAML value of a text; what is not YAML (`[::1]:7780`) is a plain text."""
    try:
        return parse_document(text, "environment").value if text.strip() else None
    except DocumentError:
        return text
