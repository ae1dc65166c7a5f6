"""What a request says of where it goes. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlencode

from gpumod.core.errors import InvalidRequestError
from gpumod.gateway.demand.explaining import HEADER
from gpumod.gateway.exchange import Request
from gpumod.gateway.shape import Named, read

_LONGEST: Final = 256
"""Characters of a model's name: it is looked for, compared and told, and a body may have megabytes of it."""


def named_by(request: Request) -> Named | None:
    """What the request says of where it goes; fills in its model and whether it is a stream.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    route = request.route
    if not route.names_model:
        request.model = route.service
        request.stream = route.generates and _asks_for_stream(request)
        return None
    if request.upgrade:
        request.model = _bounded(dict(parse_qsl(request.query.decode("latin-1"))).get("model", ""))
        return None
    named = read(request.headers, request.body)
    request.model, request.stream = _bounded(named.model), named.stream
    return named


def _bounded(model: str) -> str:
    if len(model) > _LONGEST:
        raise InvalidRequestError(f"the model's name is longer than {_LONGEST} characters")
    return model


def _asks_for_stream(request: Request) -> bool:
    """Of an engine's own route, whose body is its business alone."""
    try:
        return read(request.headers, request.body).stream
    except InvalidRequestError:
        return False


def with_model(query: bytes, served: str) -> bytes:
    """A websocket's query with the name that the engine serves the model under."""
    members = [(name, value) for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
    return urlencode([("model", served), *((n, v) for n, v in members if n != "model")]).encode()


def looks_only(request: Request) -> bool:
    """Whether it only reads an engine's state, as monitors do every few seconds: nothing starts for it."""
    return not request.upgrade and request.method in {b"GET", b"HEAD"}


def has_decided(request: Request) -> bool:
    """Whether the client has decided for the switch that it would be asked about."""
    return any(name == HEADER and value.strip().lower() == b"auto" for name, value in request.headers)
