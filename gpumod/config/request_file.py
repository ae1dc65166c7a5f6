"""What presets and modes may say about the requests that come through the gateway."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from gpumod.config.fields import DURATION_PATTERN, MEMBER_PATTERN, Id, LongerThanZero, Strict
from gpumod.core.spec import Idle, IdleAction, RequestShape

_PATHS: Final = frozenset({"model", "messages", "prompt", "input", "stream"})
"""What a request is about: these are the client's."""


def _json(value: object) -> object:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("is not a value that JSON has") from error
    return value


Json = Annotated[Any, PlainValidator(_json), WithJsonSchema({})]
Member = Annotated[str, Field(pattern=MEMBER_PATTERN)]


class RequestsFile(Strict):
    """What is changed in the bodies of requests."""

    defaults: dict[Member, Json] | None = None
    set: dict[Member, Json] | None = None
    strip: list[Member] | None = None
    chat_template_kwargs: dict[Member, Json] | None = None

    def shape(self) -> RequestShape:
        """The value that others use."""
        return RequestShape(
            defaults=_texts(self.defaults),
            set=_texts(self.set),
            strip=tuple(self.strip or ()),
            template=_texts(self.chat_template_kwargs),
        )

    def forbidden(self) -> str:
        """What must not be changed, in a sentence; empty where nothing is."""
        named = {*(self.defaults or {}), *(self.set or {}), *(self.strip or ())}
        wrong = sorted(named & _PATHS)
        return f"{' and '.join(wrong)} cannot be changed: that is what the client asks" if wrong else ""


def _texts(members: dict[str, Any] | None) -> tuple[tuple[str, str], ...]:
    return tuple((name, json.dumps(value, ensure_ascii=False)) for name, value in (members or {}).items())


class RouteFile(RequestsFile):
    """A route that also changes requests."""

    service: Id


class _IdleFile(Strict):
    after: LongerThanZero


class ServiceIdleFile(_IdleFile):
    """What happens to a service that nobody has asked anything for a while."""

    then: Literal["stop", "sleep"] = "stop"

    def idle(self) -> Idle:
        """The value that others use."""
        return Idle(self.after, IdleAction(self.then))


class ModeIdleFile(_IdleFile):
    """What happens to a mode that nobody has asked anything for a while."""

    then: Literal["stop", "blank"] = "blank"

    def idle(self) -> Idle:
        """The value that others use."""
        return Idle(self.after, IdleAction(self.then))


def _after(value: object) -> object:
    return {"after": value} if isinstance(value, str) else value


def _schema(actions: tuple[str, ...]) -> dict[str, Any]:
    after = {"type": "string", "pattern": DURATION_PATTERN}
    long_form = {
        "type": "object",
        "properties": {"after": after, "then": {"enum": list(actions)}},
        "required": ["after"],
        "additionalProperties": False,
    }
    return {"anyOf": [after, long_form]}


ServiceIdle = Annotated[ServiceIdleFile, BeforeValidator(_after), WithJsonSchema(_schema(("stop", "sleep")))]
"""`30m`, or `{after: 30m, then: stop}`."""
ModeIdle = Annotated[ModeIdleFile, BeforeValidator(_after), WithJsonSchema(_schema(("stop", "blank")))]
"""`2h`, or `{after: 2h, then: blank}`."""
