"""The outermost layer: access rules, body limits, security headers and a last catch for errors.

Pure ASGI, so that streams pass through it unbuffered.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders

from gpumod.access import Denied, RequestFacts, judge
from gpumod.access.rules import API, too_large
from gpumod.api.problems import internal, model_problem, nothing_at, problem, wrong_method
from gpumod.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gpumod.access import AccessRules
    from gpumod.api.table import RouteTable

_log = logging.getLogger(__name__)
_MODELS: Final = "/v1/"
"""Below it, clients of models ask."""
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware. Puts the caller into the scope's state as `principal`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: AccessRules,
        routes: RouteTable,
        body_seconds: float,
        answers: Counter[tuple[str, int]],
    ) -> None:
        self._app = app
        self._routes = routes
        self._rules = rules
        self._body_seconds = body_seconds
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope["method"], send, self._answers)
        try:
            refusal = await self._pass(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            refusal = internal(error)
        if refusal is not None and not answer.started:
            await refusal(scope, receive, answer.send)

    async def _pass(self, scope: Scope, receive: Receive, answer: _Answer) -> Response | None:
        """Let the request through, or say why not."""
        facts = facts_of(scope)
        verdict = judge(facts, self._rules)
        present = self._routes.methods(facts.path)
        if isinstance(verdict, Denied) and verdict.status == 415 and present and facts.method not in present:
            # How to send a body matters less than that nothing here takes one.
            return wrong_method(facts.path, present)
        elsewhere = not facts.path.startswith((API, _MODELS))
        if isinstance(verdict, Denied) and verdict.status in {401, 403} and elsewhere and not present:
            # Where others have theirs, clients look for what they know; there is nothing to protect.
            return nothing_at(facts.path)
        if isinstance(verdict, Denied):
            _log.info("denied %s: %s", facts.method, verdict.error.detail)
            if facts.path.startswith(_MODELS):
                return model_problem(verdict.error, verdict.status)
            return problem(verdict.error, status=verdict.status)
        scope.setdefault("state", {})["principal"] = verdict.principal
        if not facts.changes:
            await self._app(scope, receive, answer.send)
            return None
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await _read(receive, self._rules.body_limit)
        except TimeoutError:
            late = InvalidRequestError(f"the body did not arrive within {self._body_seconds:g} s")
            return problem(late, status=408, headers={"Connection": "close"})
        if body is None:
            return problem(too_large(self._rules.body_limit), status=413, headers={"Connection": "close"})
        await self._app(scope, _replay(body, receive), answer.send)
        return None


class _Answer:
    """Passes an answer on, with the security headers, and counts it."""

    def __init__(self, method: str, send: Send, answers: Counter[tuple[str, int]]) -> None:
        self._method = method
        self._send = send
        self._answers = answers
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            known = self._method if self._method in _METHODS else "other"
            self._answers[known, message["status"]] += 1
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def facts_of(scope: Scope) -> RequestFacts:
    """What the access rules look at."""
    headers = Headers(scope=scope)

    def only(name: str) -> str | None:
        values = headers.getlist(name)
        return values[0] if len(values) == 1 else None

    length = only("content-length")
    # A Unix socket has a path and no port; see "server" in the ASGI specification.
    server = scope.get("server") or ("", 0)
    return RequestFacts(
        method=scope["method"],
        path=scope["path"],
        unix=server[1] is None,
        local_host=str(server[0]),
        host=only("host"),
        # Sent twice, it is not one of ours.
        origin=only("origin") if len(headers.getlist("origin")) < 2 else "null",
        fetch_site=headers.get("sec-fetch-site"),
        content_type=only("content-type"),
        content_length=int(length) if length and length.isdecimal() else None,
        chunked="transfer-encoding" in headers,
        authorization=only("authorization") or _api_key(scope["path"], only("x-api-key")),
    )


def _api_key(path: str, key: str | None) -> str | None:
    """Where models are asked for, keys also come the way that Anthropic's clients send them."""
    return f"Bearer {key}" if key and path.startswith(_MODELS) else None


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None once it is over the limit."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        more = message.get("more_body", False)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body that was read, and then what else comes."""
    pending = [body]

    async def again() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return again
