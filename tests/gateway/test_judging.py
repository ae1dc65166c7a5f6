"""Whether a request for a model is let in, before its body is read."""

import json
from dataclasses import replace

import pytest

from gpumod.access import AccessRules, Key, Scope, digest
from gpumod.gateway.exchange import Answer, Dialect, Head, Request
from gpumod.gateway.judging import Judge

LIMIT = 1000
KEYS = AccessRules(
    keys=(
        Key("ada", digest("secret"), frozenset({Scope.INFER})),
        Key("watcher", digest("looks"), frozenset({Scope.READ})),
    ),
    allowed_hosts=("gpu.example",),
)
OPEN = AccessRules()


def head(
    path: bytes = b"/v1/chat/completions",
    *,
    method: bytes = b"POST",
    local_host: str = "127.0.0.1",
    unix: bool = False,
    length: int | None = 10,
    upgrade: bool = False,
    **headers: bytes,
) -> Head:
    given = {b"host": b"127.0.0.1"} | {
        name.replace("_", "-").encode(): value for name, value in headers.items()
    }
    return Head(
        method, path, b"", list(given.items()), unix, local_host, "1.2.3.4", 5.0, length, upgrade=upgrade
    )


def let_in(given: Head, rules: AccessRules = KEYS) -> Request:
    verdict = Judge(rules, LIMIT).judged(given)
    assert isinstance(verdict, Request), verdict
    return verdict


def refused(given: Head, rules: AccessRules = KEYS) -> Answer:
    verdict = Judge(rules, LIMIT).judged(given)
    assert isinstance(verdict, Answer), verdict
    assert verdict.close, "the body that follows was not read"
    return verdict


@pytest.mark.parametrize(
    "headers",
    [{"authorization": b"Bearer secret"}, {"x_api_key": b"secret"}, {"api_key": b"secret"}],
)
def test_the_key_may_stand_where_each_kind_of_client_puts_it(headers):
    request = let_in(head(**headers))
    assert request.principal.name == "ada"
    assert request.route.name == "chat"
    assert request.received == 5.0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": b"Bearer wrong"},
        {"x_api_key": b"wrong"},
        {"authorization": b"Bearer wrong", "x_api_key": b"secret"},
        {"authorization": b"Basic secret"},
    ],
)
def test_without_the_right_key_nobody_gets_in(headers):
    answer = refused(head(**headers))
    assert answer.status == 401
    assert (b"www-authenticate", b"Bearer") in answer.headers
    assert json.loads(answer.body)["error"]["type"] == "authentication_error"


def test_a_key_that_is_sent_twice_is_none():
    given = head(authorization=b"Bearer secret")
    given.headers.append((b"authorization", b"Bearer secret"))
    assert refused(given).status == 401


def test_a_key_for_looking_does_not_infer():
    assert refused(head(authorization=b"Bearer looks")).status == 403


def test_an_engines_own_routes_need_the_same_key():
    path = b"/upstream/chat/tokenize"
    assert refused(head(path)).status == 401
    assert let_in(head(path, authorization=b"Bearer secret")).route.service == "chat"
    reading = b"/upstream/chat/props"
    assert refused(head(reading, method=b"GET", authorization=b"Bearer looks")).status == 403


def test_without_keys_this_machine_alone_is_served():
    assert let_in(head(), OPEN).principal.name == "local"
    rules = AccessRules(allowed_hosts=("127.0.0.1",))
    assert refused(head(local_host="10.0.0.1"), rules).status == 403


def test_the_unix_socket_needs_no_key():
    assert let_in(head(unix=True)).principal.name == "socket"


def test_a_foreign_name_of_this_machine_is_refused():
    given = head(authorization=b"Bearer secret", host=b"evil.example")
    assert refused(given).status == 421
    assert let_in(head(authorization=b"Bearer secret", host=b"gpu.example:7780")).principal.name == "ada"


@pytest.mark.parametrize(
    ("path", "method", "upgrade"),
    [
        (b"/v1/chat/completions", b"POST", False),
        (b"/v1/realtime", b"GET", True),
        (b"/upstream/chat/slots", b"GET", False),
    ],
)
@pytest.mark.parametrize("sign", [{"origin": b"https://evil.example"}, {"sec_fetch_site": b"cross-site"}])
def test_a_page_of_another_site_makes_no_engine_work(path, method, upgrade, sign):
    assert refused(head(path, method=method, upgrade=upgrade, **sign), OPEN).status == 403


def test_forms_are_let_in():
    given = head(b"/v1/audio/transcriptions", content_type=b"multipart/form-data; boundary=x")
    assert let_in(given, OPEN).route.name == "audio"


def test_a_body_that_is_too_large_is_refused_before_it_is_read():
    assert let_in(head(length=LIMIT), OPEN).body == b""
    answer = refused(head(length=LIMIT + 1), OPEN)
    assert answer.status == 413
    assert json.loads(answer.body)["error"]["facts"] == {"limit": LIMIT}


def test_a_wrong_method_says_which_there_are():
    answer = refused(head(method=b"GET"), OPEN)
    assert answer.status == 405
    assert (b"allow", b"POST") in answer.headers


def test_what_is_not_there_is_told_so():
    answer = refused(head(b"/upstream/chat/sleep"), OPEN)
    assert answer.status == 404
    assert json.loads(answer.body)["code"] == "not_found"


def test_errors_are_in_the_dialect_of_the_path():
    answer = refused(head(b"/v1/messages"))
    assert json.loads(answer.body)["type"] == "error"
    assert let_in(head(b"/v1/messages", x_api_key=b"secret")).route.dialect is Dialect.ANTHROPIC


def test_who_was_let_in_is_remembered_with_all_that_decided():
    judge = Judge(KEYS, LIMIT)
    good = head(authorization=b"Bearer secret")
    assert isinstance(judge.judged(good), Request)
    assert isinstance(judge.judged(good), Request)
    for other in (
        head(authorization=b"Bearer secret", host=b"evil.example"),
        head(authorization=b"Bearer secret", origin=b"https://evil.example"),
        head(authorization=b"Bearer secret", sec_fetch_site=b"cross-site"),
        head(authorization=b"Bearer wrong"),
        head(),
    ):
        assert isinstance(judge.judged(other), Answer)


def test_what_is_remembered_is_bounded():
    judge = Judge(AccessRules(), LIMIT)
    for number in range(3000):
        assert isinstance(judge.judged(head(authorization=b"Bearer %d" % number)), Request)
    assert len(judge._known) <= 1024


@pytest.mark.parametrize("name", [b"origin", b"sec-fetch-site"])
def test_what_only_pages_send_is_not_forgotten_for_being_sent_twice(name):
    once = head()
    value = b"http://127.0.0.1" if name == b"origin" else b"same-origin"
    twice = replace(once, headers=[*once.headers, (name, value), (name, value)])
    assert refused(twice, OPEN).status == 403


def test_no_representation_shows_a_key():
    given = head(authorization=b"Bearer secret")
    assert "secret" not in repr(given)
    request = let_in(given)
    request.body = b"a secret prompt"
    assert "secret" not in repr(request)
