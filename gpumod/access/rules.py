"""The rules that a request must pass before anything else looks at it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gpumod.access.keys import ANYBODY, LOCAL, SOCKET, Key, Principal, Scope, identify
from gpumod.core.errors import GpumodError, InvalidRequestError, NotAllowedError, UnauthenticatedError

API: Final = "/gpumod/v1"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ASKING: Final = frozenset({f"{API}/preflight", f"{API}/comparisons"})
"""Posts that change nothing."""
_OPEN: Final = frozenset({"/", "/health", "/ready"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What is configured about access.

    Args:
        keys: with none, callers on loopback and on the Unix socket may do everything, others nothing.
        allowed_hosts: names besides the loopback ones that a Host header may give.
        allowed_origins: pages that may ask for changes besides the daemon's own, as `https://gpu.example`:
            what the daemon is called behind a reverse proxy. No CORS headers go with it.
        body_limit: bytes that the body of a request may have.
    """

    keys: tuple[Key, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    body_limit: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What the rules look at. A header that was not sent, or was sent twice, is None.

    `local_host` is the address of this machine that the request arrived at; `unix` whether it
    came through the Unix socket instead.
    """

    method: str
    path: str
    unix: bool = False
    local_host: str = ""
    host: str | None = None
    origin: str | None = None
    fetch_site: str | None = None
    content_type: str | None = None
    content_length: int | None = None
    chunked: bool = False
    authorization: str | None = None

    @property
    def changes(self) -> bool:
        """Whether the method asks for a change."""
        return self.method not in _SAFE


@dataclass(frozen=True, slots=True)
class Allowed:
    """The request may go on, in this name."""

    principal: Principal


@dataclass(frozen=True, slots=True)
class Denied:
    """The request ends here, with this status and error."""

    status: int
    error: GpumodError


def scope_needed(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None: no key is needed."""
    if path in _OPEN:
        return None
    if path == "/v1" or path.startswith("/v1/"):
        return Scope.INFER
    if method in _SAFE or path in _ASKING:
        return Scope.READ
    return Scope.CONTROL


def judge(request: RequestFacts, rules: AccessRules) -> Allowed | Denied:
    """Whether a request may go on, and as whom."""
    caller = _host(request, rules) or _caller(request, rules)
    if isinstance(caller, Denied):
        return caller
    return _cross_site(request, rules) or _media_type(request) or _length(request, rules) or Allowed(caller)


def _host(request: RequestFacts, rules: AccessRules) -> Denied | None:
    """A foreign name that points here is how a web page reaches a loopback server (DNS rebinding)."""
    if request.unix:
        return None
    name = _host_name(request.host)
    # The address that the request arrived at cannot be forged by a name.
    allowed = {*_LOOPBACK_NAMES, request.local_host.lower(), *(host.lower() for host in rules.allowed_hosts)}
    if name and name in allowed:
        return None
    shown = repr(request.host) if request.host else "none"
    detail = f"this daemon does not answer to the host name {shown}; allow it with `allowed_hosts`"
    return Denied(421, NotAllowedError(detail))


def _host_name(host: str | None) -> str:
    """The name in a Host header, without port and brackets; empty where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or "" if host else ""
    except ValueError:
        return ""


def _caller(request: RequestFacts, rules: AccessRules) -> Principal | Denied:
    if request.unix:
        return SOCKET
    needed = scope_needed(request.method, request.path)
    if not rules.keys:
        return LOCAL if _is_loopback(request.local_host) else _no_keys(needed)
    key = identify(_bearer(request.authorization), rules.keys)
    if key is None:
        return ANYBODY if needed is None else _unauthenticated(request)
    caller = Principal(key.name, key.scopes)
    if needed is None or caller.may(needed):
        return caller
    return Denied(403, NotAllowedError(f"the key {key.name!r} lacks the scope {needed.value!r}"))


def _no_keys(needed: Scope | None) -> Principal | Denied:
    if needed is None:
        return ANYBODY
    return Denied(403, NotAllowedError("no keys are configured, so only this machine is served: add a key"))


def _unauthenticated(request: RequestFacts) -> Denied:
    problem = "this key is not known" if request.authorization else "a key is needed"
    return Denied(401, UnauthenticatedError(f"{problem}: send `Authorization: Bearer KEY`"))


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def _bearer(authorization: str | None) -> str:
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _cross_site(request: RequestFacts, rules: AccessRules) -> Denied | None:
    """A browser sends these headers by itself; a page of another site cannot leave them out."""
    if not request.changes or request.origin in rules.allowed_origins:
        return None
    foreign = request.origin is not None and not _same_origin(request.origin, request.host)
    if foreign or request.fetch_site not in {None, "same-origin", "none"}:
        return Denied(403, NotAllowedError("changes are not accepted from pages of other sites"))
    return None


def _same_origin(origin: str, host: str | None) -> bool:
    try:
        theirs = urlsplit(origin)
        ours = urlsplit(f"//{host}")
        if theirs.scheme not in _DEFAULT_PORTS or not theirs.hostname:
            return False
        default = _DEFAULT_PORTS[theirs.scheme]
        return (theirs.hostname, theirs.port or default) == (ours.hostname, ours.port or default)
    except ValueError:
        return False


def _media_type(request: RequestFacts) -> Denied | None:
    """JSON cannot be sent by an HTML form, nor across sites without asking first."""
    has_body = request.chunked or bool(request.content_length)
    if not request.changes or not (has_body or request.method == "POST"):
        return None
    media_type = (request.content_type or "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return None
    detail = f"send `Content-Type: application/json`, not {media_type or 'nothing'}; `{{}}` is an empty body"
    return Denied(415, InvalidRequestError(detail))


def _length(request: RequestFacts, rules: AccessRules) -> Denied | None:
    if request.content_length is None or request.content_length <= rules.body_limit:
        return None
    return Denied(413, too_large(rules.body_limit))


def too_large(limit: int) -> InvalidRequestError:
    """What is said of a body over the limit."""
    return InvalidRequestError(f"the body is larger than {limit} bytes", {"limit": limit})
