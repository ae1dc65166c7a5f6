"""Whether a request for a model may go on, from its head alone. Pure."""

from __future__ import annotations

from typing import Final

from gpumod.access import AccessRules, Denied, Principal, RequestFacts, digest, judge
from gpumod.gateway.errors import error_answer
from gpumod.gateway.exchange import Answer, Dialect, Head, Headers, Request, Route
from gpumod.gateway.routes import ROUTES, methods_of, route_of

_LOOKED_AT: Final = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"authorization", b"x-api-key", b"api-key"}
)
_TWICE: Final = {b"origin": "null", b"sec-fetch-site": "cross-site"}
"""What is taken for a header that only foreign pages have: sent twice, it is nobody's that is let in."""
_REMEMBERED: Final = 1024
_Sender = tuple[bool, str, str | None, str | None, str | None, bytes | None]
"""What decides about a sender; of a key its digest alone, as everywhere."""


class Judge:
    """Looks at heads.

    Args:
        rules: keys and names of hosts; the limit of bodies there is the control plane's.
        body_limit: bytes that the body of a request for a model may have.
    """

    def __init__(self, rules: AccessRules, body_limit: int) -> None:
        self._rules = rules
        self._body_limit = body_limit
        self._known: dict[_Sender, Principal] = {}

    def judged(self, head: Head) -> Request | Answer:
        """The request, or what its client is told."""
        route = route_of(head.method, head.path)
        principal = self._principal(head)
        if isinstance(principal, Denied):
            error = principal.error
            dialect = _dialect(head.path)
            return _refused(dialect, principal.status, str(error.code), error.detail, error.facts)
        if route is None:
            return _no_route(_dialect(head.path), head)
        limit = self._body_limit
        if head.content_length is not None and head.content_length > limit:
            detail = f"the body is larger than {limit} bytes"
            return _refused(route.dialect, 413, "request_too_large", detail, {"limit": limit})
        return _request(head, principal, route)

    def _principal(self, head: Head) -> Principal | Denied:
        """Who sends it. The same client sends the same again and again: who was let in is remembered."""
        found = _values(head.headers)
        key = _key(found)
        sender = (
            head.unix,
            head.local_host,
            found.get(b"host"),
            found.get(b"origin"),
            found.get(b"sec-fetch-site"),
            digest(key) if key is not None else None,
        )
        known = self._known.get(sender)
        if known is not None:
            return known
        verdict = judge(_facts(head, found, key), self._rules)
        if isinstance(verdict, Denied):
            return verdict
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[sender] = verdict.principal
        return verdict.principal


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


def _facts(head: Head, found: dict[bytes, str | None], key: str | None) -> RequestFacts:
    """What the rules look at.

    Whatever the method, such a request makes an engine work: a page of another site may send none, least of
    all a websocket, which browsers open across sites without asking. What kind of body it has is the
    engine's business: forms with files are usual here, and browsers tell the origin of all of these.
    """
    return RequestFacts(
        method="POST",
        path="/v1",
        unix=head.unix,
        local_host=head.local_host,
        host=found.get(b"host"),
        origin=found.get(b"origin"),
        fetch_site=found.get(b"sec-fetch-site"),
        content_type="application/json",
        authorization=key,
    )


def _values(headers: Headers) -> dict[bytes, str | None]:
    """The headers that are looked at; None for a key or a host that was sent twice."""
    found: dict[bytes, str | None] = {}
    for name, value in headers:
        if name in _LOOKED_AT:
            found[name] = _TWICE.get(name) if name in found else value.decode("latin-1")
    return found


def _key(found: dict[bytes, str | None]) -> str | None:
    """The key, wherever the client's kind puts it: OpenAI's, Anthropic's, Azure's."""
    for name in (b"x-api-key", b"api-key"):
        if found.get(name) and b"authorization" not in found:
            return f"Bearer {found[name]}"
    return found.get(b"authorization")


def _dialect(path: bytes) -> Dialect:
    """Of a path whose method may be wrong."""
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
