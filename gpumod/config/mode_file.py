"""What a mode file may say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, create_model

from gpumod.config.fields import ID_PATTERN, Id, ModelName, Strict
from gpumod.config.preset_file import PRESET_MODELS
from gpumod.config.request_file import ModeIdle, RouteFile
from gpumod.core.spec import OnDemand, OnFailure


def _override_fields() -> dict[str, Any]:
    """Every key of every engine's presets, each optional; the engine itself cannot be overridden."""
    fields: dict[str, Any] = {}
    for model in PRESET_MODELS.values():
        for name, hint in get_type_hints(model, include_extras=True).items():
            if name in model.model_fields and name not in {"id", "engine"}:
                fields[name] = (_all_optional(hint) | None, None)
    return fields


def _all_optional(hint: Any) -> Any:
    """Within `container:` and `command:` an override need not repeat what the preset requires."""
    if not (isinstance(hint, type) and issubclass(hint, BaseModel)):
        return hint
    inner = get_type_hints(hint, include_extras=True)
    fields: dict[str, Any] = {name: (inner[name] | None, None) for name in hint.model_fields}
    return create_model(f"{hint.__name__}Override", __base__=Strict, __doc__=hint.__doc__, **fields)


class _Named(Strict):
    """A service of a mode: a preset under the service's own id, with any key of it overridden."""

    id: Id
    preset: Id | None = None


if TYPE_CHECKING:
    ServiceFile = _Named
else:
    ServiceFile = create_model("ServiceFile", __base__=_Named, __doc__=_Named.__doc__, **_override_fields())


def _service(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


def _route(value: object) -> object:
    return {"service": value} if isinstance(value, str) else value


def _with_short_form(schema: dict[str, Any]) -> None:
    schema["items"] = {"anyOf": [{"type": "string", "pattern": ID_PATTERN}, schema["items"]]}


Route = Annotated[
    RouteFile,
    BeforeValidator(_route),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": ID_PATTERN}, RouteFile.model_json_schema()]}),
]
"""A service's id, or what also changes requests."""


class ModeFile(Strict):
    """A named set of services."""

    id: Id
    description: str | None = None
    services: Annotated[
        list[Annotated[ServiceFile, BeforeValidator(_service)]], Field(json_schema_extra=_with_short_form)
    ]
    routes: dict[ModelName, Route] | None = None
    on_failure: Annotated[OnFailure, Field(strict=False)] | None = None
    on_demand: Annotated[OnDemand, Field(strict=False)] | None = None
    idle: ModeIdle | None = None
