"""The head of a request as an engine gets it."""

from __future__ import annotations

from gpumod.gateway.exchange import Passage, Request
from gpumod.gateway.http.answers import HOP_BY_HOP
from gpumod.gateway.http.requests import tokens

KEYS = frozenset({b"authorization", b"x-api-key", b"api-key"})
"""Where clients put their keys. Those are the gateway's business: an engine gets its own."""
_PROTOCOLS = b"sec-websocket-protocol"
_KEY_PROTOCOL = b"openai-insecure-api-key."
"""Before a key: a page that opens a websocket can send no other headers (OpenAI's Realtime API)."""
_LEFT_OUT = HOP_BY_HOP | KEYS | {b"host", b"content-length", b"expect", b"http2-settings", _PROTOCOLS}
_LEFT_OUT_PLAIN = _LEFT_OUT | {b"accept-encoding"}
_USUAL = frozenset({b"keep-alive", b"Keep-Alive", b"close", b"Upgrade", b"upgrade"})


def engine_head(request: Request, passage: Passage, *, plain: bool) -> bytes:
    """The head for an engine; `plain` where the answer must not be compressed."""
    target = b"%b?%b" % (passage.path, request.query) if request.query else passage.path
    lines = [b"%b %b HTTP/1.1\r\nhost: 127.0.0.1:%d" % (request.method, target, passage.port)]
    left_out = _LEFT_OUT_PLAIN if plain else _LEFT_OUT
    for name, value in request.headers:
        if name not in left_out:
            lines.append(b"%b: %b" % (name, value))
        elif name == b"connection" and value not in _USUAL:
            return _without(request, passage, lines[0], left_out.union(tokens(value)))
    return _finish(lines, request, passage)


def _without(request: Request, passage: Passage, first: bytes, left_out: frozenset[bytes]) -> bytes:
    """As above, without the headers that `Connection` names too, wherever they stand."""
    lines = [first]
    lines += [b"%b: %b" % header for header in request.headers if header[0] not in left_out]
    return _finish(lines, request, passage)


def _protocols(request: Request) -> bytes:
    """The protocols that a websocket offers, without a key among them."""
    offered = (
        one.strip(b" \t")
        for name, value in request.headers
        if name == _PROTOCOLS
        for one in value.split(b",")
    )
    return b", ".join(one for one in offered if not one.lower().startswith(_KEY_PROTOCOL))


def _finish(lines: list[bytes], request: Request, passage: Passage) -> bytes:
    lines += [b"%b: %b" % header for header in passage.headers]
    if request.upgrade:
        if protocols := _protocols(request):
            lines.append(b"%b: %b" % (_PROTOCOLS, protocols))
        lines.append(b"connection: upgrade\r\nupgrade: websocket")
    elif passage.body or request.method not in {b"GET", b"HEAD", b"OPTIONS", b"DELETE"}:
        lines.append(b"content-length: %d" % len(passage.body))
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
