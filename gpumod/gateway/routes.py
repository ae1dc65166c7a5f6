"""Which requests the gateway passes on, by their paths."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from gpumod.gateway.exchange import Dialect, Route

_OPENAI: Final = (
    # name, paths below /v1, whether tokens are generated
    ("chat", ("chat/completions",), True),
    ("completions", ("completions",), True),
    ("responses", ("responses",), True),
    ("embeddings", ("embeddings",), False),
    ("rerank", ("rerank", "reranking"), False),
    ("audio", ("audio/transcriptions", "audio/translations", "audio/speech"), False),
    ("images", ("images/generations", "images/edits", "images/variations"), False),
)
_ANTHROPIC: Final = (("messages", "messages", True), ("count_tokens", "messages/count_tokens", False))


def _table() -> dict[tuple[bytes, bytes], Route]:
    found: dict[tuple[bytes, bytes], Route] = {}
    for name, tails, generates in _OPENAI:
        for tail in tails:
            path = f"/v1/{tail}".encode()
            found[b"POST", path] = Route(name, path, Dialect.OPENAI, generates=generates)
    for name, tail, generates in _ANTHROPIC:
        path = f"/v1/{tail}".encode()
        found[b"POST", path] = Route(name, path, Dialect.ANTHROPIC, generates=generates)
    found[b"GET", b"/v1/realtime"] = Route("realtime", b"/v1/realtime", Dialect.OPENAI)
    return found


ROUTES: Final = _table()
"""The routes that name their model in the body (`/v1/realtime`: in the query), by method and path."""
_PATHS: Final = frozenset(path for _, path in ROUTES)

UPSTREAM: Final = b"/upstream/"
_UPSTREAM_PATH: Final = re.compile(rb"/upstream/([A-Za-z0-9][A-Za-z0-9._:@+-]{0,127})(/[\x21-\x7e]*)")
_GENERATING: Final = frozenset({b"/completion", b"/completions", b"/infill"})
_READABLE: Final = frozenset({b"/health", b"/metrics", b"/models", b"/props", b"/slots", b"/version"})
_USABLE: Final = frozenset(
    {
        b"/apply-template", b"/classify", b"/completion", b"/completions", b"/detokenize", b"/embedding",
        b"/embeddings", b"/infill", b"/pooling", b"/rerank", b"/reranking", b"/score", b"/tokenize",
    }
)  # fmt: skip
"""What engines offer besides `/v1`, for whoever may infer. The rest changes the engine itself: adapters,
slots, profiling, sleep. What an engine is asked to hold or to give up is the daemon's to decide alone."""


def is_gateway(path: bytes) -> bool:
    """Whether a path is the gateway's, whatever the method."""
    return path in _PATHS or path.startswith(UPSTREAM)


def route_of(method: bytes, path: bytes) -> Route | None:
    """The route of a request; None where there is none, or not with this method."""
    return ROUTES.get((method, path)) or (_upstream(method, path) if path.startswith(UPSTREAM) else None)


def methods_of(path: bytes) -> tuple[bytes, ...]:
    """The methods that a path has."""
    if path in _PATHS:
        return tuple(method for method, its in ROUTES if its == path)
    return tuple(method for method in (b"GET", b"POST") if _upstream(method, path) is not None)


def _upstream(method: bytes, path: bytes) -> Route | None:
    found = _UPSTREAM_PATH.fullmatch(path)
    if found is None:
        return None
    service, tail = found[1].decode(), found[2]
    known = ROUTES.get((method, tail))
    if known is not None:
        return replace(known, name="upstream", names_model=False, service=service)
    reads = method in {b"GET", b"HEAD"} and (tail in _READABLE or tail == b"/v1/models")
    if not reads and not (method == b"POST" and tail in _USABLE):
        return None
    generates = tail in _GENERATING
    return Route("upstream", tail, Dialect.PLAIN, names_model=False, generates=generates, service=service)
