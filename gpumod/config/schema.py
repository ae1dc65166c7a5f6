"""JSON Schemas of the files, for editors. Made of the same models that check the files.

They describe structure. That a preset exists, that a variable has a value, that services of a mode
agree: only gpumod itself can check.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from gpumod.config.mode_file import ModeFile
from gpumod.config.preset_file import AnyPreset
from gpumod.config.settings_file import SettingsFile

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, dict[str, Any]]:
    """The schemas by kind of file: `preset`, `mode`, `config`."""
    models: dict[str, TypeAdapter[Any]] = {
        "preset": TypeAdapter(AnyPreset),
        "mode": TypeAdapter(ModeFile),
        "config": TypeAdapter(SettingsFile),
    }
    schemas = {kind: {"$schema": _DIALECT, **model.json_schema()} for kind, model in models.items()}
    for schema in schemas.values():
        _close(schema)
    return schemas


def _close(schema: object) -> None:
    """Refuse keys that match no pattern, as the models do; pydantic leaves that out of its schemas."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema.setdefault("additionalProperties", False)
        for inner in schema.values():
            _close(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _close(inner)
