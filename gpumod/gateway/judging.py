"""Whether a request for a model may go on, from its head alone. Pure."""

from __future__ import annotations

from typing import Final

from gpumod.access import AccessRules, Denied, Principal, RequestFacts, judge
from gpumod.gateway.errors import error_answer
from gpumod.gateway.exchange import Answer, Dialect, Head, Headers, Request, Route
from gpumod.gateway.routes import ROUTES, methods_of, route_of

_LOOKED_AT: Final = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"authorization", b"x-api-key", b"api-key"}
)


def judged(head: Head, rules: AccessRules, body_limit: int) -> Request | Answer:
    """The request, or what its client is told.

    Args:
        head: what is known before the body.
        rules: keys and names of hosts; the limit of bodies there is the control plane's.
        body_limit: bytes that the body of a request for a model may have.
    """
    route = route_of(head.method, head.path)
    dialect = route.dialect if route is not None else _dialect(head.path)
    verdict = judge(_facts(head), rules)
    if isinstance(verdict, Denied):
        error = verdict.error
        return _refused(dialect, verdict.status, str(error.code), error.detail, error.facts)
    if route is None:
        return _no_route(dialect, head)
    if head.content_length is not None and head.content_length > body_limit:
        detail = f"the body is larger than {body_limit} bytes"
        return _refused(dialect, 413, "request_too_large", detail, {"limit": body_limit})
    return _request(head, verdict.principal, route)


def _request(head: Head, principal: Principal, route: Route) -> Request:
    return Request(
        method=head.method,
        path=head.path,
        query=head.query,
        headers=head.headers,
        principal=principal,
        route=route,
        received=head.received,
        upgrade=head.upgrade,
    )


def _facts(head: Head) -> RequestFacts:
    """What the rules look at.

    Whatever the method, such a request makes an engine work: a page of another site may send none, least of
    all a websocket, which browsers open across sites without asking. What kind of body it has is the
    engine's business: forms with files are usual here, and browsers tell the origin of all of these.
    """
    found = _values(head.headers)
    return RequestFacts(
        method="POST",
        path="/v1",
        unix=head.unix,
        local_host=head.local_host,
        host=found.get(b"host"),
        origin=found.get(b"origin"),
        fetch_site=found.get(b"sec-fetch-site"),
        content_type="application/json",
        authorization=_key(found),
    )


def _values(headers: Headers) -> dict[bytes, str | None]:
    """The headers that are looked at; None for one that was sent twice."""
    found: dict[bytes, str | None] = {}
    for name, value in headers:
        if name in _LOOKED_AT:
            found[name] = None if name in found else value.decode("latin-1")
    return found


def _key(found: dict[bytes, str | None]) -> str | None:
    """The key, wherever the client's kind puts it: OpenAI's, Anthropic's, Azure's."""
    for name in (b"x-api-key", b"api-key"):
        if found.get(name) and b"authorization" not in found:
            return f"Bearer {found[name]}"
    return found.get(b"authorization")


def _dialect(path: bytes) -> Dialect:
    known = next((route for (_, its), route in ROUTES.items() if its == path), None)
    return known.dialect if known is not None else Dialect.PLAIN


def _no_route(dialect: Dialect, head: Head) -> Answer:
    methods = methods_of(head.path)
    shown = head.path.decode("latin-1")[:200]
    if not methods:
        return _refused(dialect, 404, "not_found", f"there is nothing at {shown}")
    allowed = b", ".join(methods)
    answer = _refused(dialect, 405, "method_not_allowed", f"{shown} takes {allowed.decode()}")
    return Answer(answer.status, answer.body, (*answer.headers, (b"allow", allowed)), close=True)


def _refused(
    dialect: Dialect, status: int, code: str, detail: str, facts: dict[str, object] | None = None
) -> Answer:
    answer = error_answer(dialect, status, code, detail, facts, close=True)
    if status == 401:
        return Answer(status, answer.body, (*answer.headers, (b"www-authenticate", b"Bearer")), close=True)
    return answer
