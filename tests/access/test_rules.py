import hmac
from dataclasses import replace

import pytest

from gpumod.access import (
    AccessRules,
    Allowed,
    Denied,
    Key,
    RequestFacts,
    Scope,
    digest,
    identify,
    judge,
    new_key,
    scope_needed,
)

READER = Key("grafana", digest("read-me"), frozenset({Scope.READ}))
OPERATOR = Key("ops", digest("do-it"), frozenset({Scope.CONTROL}))
CLIENT = Key("app", digest("ask"), frozenset({Scope.INFER}))
KEYS = AccessRules(keys=(READER, OPERATOR, CLIENT))
OPEN = AccessRules()

STATUS = RequestFacts("GET", "/gpumod/v1/status", local_host="127.0.0.1", host="127.0.0.1:7780")
SWITCH = RequestFacts(
    "POST",
    "/gpumod/v1/switches",
    local_host="127.0.0.1",
    host="localhost:7780",
    content_type="application/json",
    content_length=2,
)


def bearer(request: RequestFacts, key: str) -> RequestFacts:
    return replace(request, authorization=f"Bearer {key}")


def denied(request: RequestFacts, rules: AccessRules = OPEN) -> int:
    verdict = judge(request, rules)
    assert isinstance(verdict, Denied), verdict
    return verdict.status


def name(request: RequestFacts, rules: AccessRules = OPEN) -> str:
    verdict = judge(request, rules)
    assert isinstance(verdict, Allowed), verdict
    return verdict.principal.name


def test_without_keys_this_machine_may_do_everything() -> None:
    assert name(STATUS) == name(SWITCH) == "local"


@pytest.mark.parametrize("address", ["192.168.1.5", "0.0.0.0", "::", "fe80::1%eth0", "", "not an address"])
def test_without_keys_nobody_else_may_do_anything(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    request = replace(SWITCH, local_host=address, host=host if address.startswith("192") else "localhost")
    assert denied(request) == 403
    assert denied(replace(request, method="GET", path="/metrics")) == 403


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_every_loopback_address_is_this_machine(address: str) -> None:
    assert name(replace(SWITCH, local_host=address)) == "local"


def test_the_unix_socket_is_guarded_by_its_file_mode_alone() -> None:
    request = replace(SWITCH, unix=True, host="anything", local_host="/run/gpumod.sock")
    assert name(request, KEYS) == "socket"


def test_with_keys_loopback_needs_one_too() -> None:
    assert denied(STATUS, KEYS) == 401


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic read-me", "read-me", "Bearer read-me2"]
)
def test_what_is_not_a_known_key_is_not_let_in(authorization: str) -> None:
    assert denied(replace(STATUS, authorization=authorization), KEYS) == 401


def test_the_name_of_the_key_is_who_did_it() -> None:
    assert name(bearer(SWITCH, "do-it"), KEYS) == "ops"
    assert name(replace(STATUS, authorization="bearer  read-me"), KEYS) == "grafana"


def test_a_key_may_do_what_its_scopes_say() -> None:
    assert denied(bearer(SWITCH, "read-me"), KEYS) == 403
    assert denied(bearer(STATUS, "ask"), KEYS) == 403
    assert name(bearer(STATUS, "do-it"), KEYS) == "ops"
    chat = replace(SWITCH, path="/v1/chat/completions")
    assert name(bearer(chat, "ask"), KEYS) == "app"
    assert denied(bearer(chat, "do-it"), KEYS) == 403


def test_probes_need_no_key_and_an_unknown_path_does() -> None:
    for path in ("/", "/health", "/ready"):
        assert name(replace(STATUS, path=path), KEYS) == "anybody"
    assert denied(replace(STATUS, path="/metrics"), KEYS) == 401
    assert denied(replace(STATUS, path="/no/such/path"), KEYS) == 401


def test_preflight_changes_nothing_and_may_be_asked_by_a_reader() -> None:
    assert scope_needed("POST", "/gpumod/v1/preflight") is Scope.READ
    assert scope_needed("POST", "/gpumod/v1/switches") is Scope.CONTROL
    assert scope_needed("DELETE", "/gpumod/v1/leases/L1") is Scope.CONTROL


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:7780", "127.0.0.1.evil.example", "[::1", "localhost@evil"],
)
def test_a_name_that_was_made_to_point_here_is_not_answered(host: str | None) -> None:
    assert denied(replace(STATUS, host=host)) == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:7780"])
def test_loopback_names_are_answered(host: str) -> None:
    assert name(replace(STATUS, host=host)) == "local"


def test_the_address_itself_and_configured_names_are_answered() -> None:
    rules = replace(KEYS, allowed_hosts=("gpu-box.lan",))
    request = replace(bearer(STATUS, "read-me"), local_host="192.168.1.5")
    assert name(replace(request, host="192.168.1.5:7780"), rules) == "grafana"
    assert name(replace(request, host="GPU-box.lan"), rules) == "grafana"
    assert denied(replace(request, host="192.168.1.6"), rules) == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:3000",
        "https://localhost:7780.evil",
        "file://",
        "",
        "http://[",
    ],
)
def test_a_page_of_another_site_changes_nothing(origin: str) -> None:
    assert denied(replace(SWITCH, origin=origin)) == 403
    assert name(replace(STATUS, origin=origin)) == "local"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_what_the_browser_calls_foreign_changes_nothing(site: str) -> None:
    assert denied(replace(SWITCH, fetch_site=site)) == 403


def test_a_page_that_is_configured_may_change_something() -> None:
    rules = replace(OPEN, allowed_origins=("https://gpu.example",))
    assert name(replace(SWITCH, origin="https://gpu.example", fetch_site="same-origin"), rules) == "local"
    assert denied(replace(SWITCH, origin="https://gpu.example.evil"), rules) == 403
    assert denied(replace(SWITCH, fetch_site="cross-site"), rules) == 403


def test_a_page_of_our_own_may_change_something() -> None:
    own = replace(SWITCH, origin="http://localhost:7780", fetch_site="same-origin")
    assert name(own) == "local"
    assert name(replace(SWITCH, host="localhost", origin="http://localhost:80")) == "local"


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"],
)
def test_a_form_cannot_change_anything(content_type: str | None) -> None:
    assert denied(replace(SWITCH, content_type=content_type)) == 415
    assert denied(replace(SWITCH, content_type=content_type, content_length=0)) == 415
    chunked = replace(SWITCH, method="DELETE", content_type=content_type, content_length=None, chunked=True)
    assert denied(chunked) == 415


def test_json_may_name_its_charset_and_a_delete_needs_no_body() -> None:
    assert name(replace(SWITCH, content_type="Application/JSON; charset=utf-8")) == "local"
    assert name(replace(SWITCH, method="DELETE", content_type=None, content_length=None)) == "local"


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    limit = OPEN.body_limit
    assert name(replace(SWITCH, content_length=limit)) == "local"
    assert denied(replace(SWITCH, content_length=limit + 1)) == 413


def test_a_verdict_never_repeats_a_key() -> None:
    for request in (bearer(STATUS, "s3cret"), bearer(SWITCH, "s3cret"), bearer(STATUS, "ask")):
        verdict = judge(request, KEYS)
        assert isinstance(verdict, Denied)
        assert "s3cret" not in verdict.error.detail
        assert "ask" not in verdict.error.detail


def test_new_keys_are_long_and_differ() -> None:
    first, second = new_key(), new_key()
    assert first != second
    assert len(first) > 40


def test_every_key_is_compared_wherever_the_match_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    same = hmac.compare_digest

    def compare(wanted: bytes, kept: bytes) -> bool:
        compared.append(kept)
        return same(wanted, kept)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert identify("read-me", KEYS.keys) is READER
    assert compared == [key.digest for key in KEYS.keys]
