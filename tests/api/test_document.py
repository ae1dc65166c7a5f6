"""The OpenAPI document against the running application, with generated requests."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from gpumod.access import AccessRules
from gpumod.access.rules import API
from gpumod.testing.fake_daemon import build
from gpumod.testing.switching import FakeBox


class Forgetful(dict[str, tuple[str, str]]):
    """Generated requests use the same idempotency keys for different requests."""

    def __setitem__(self, key: str, value: tuple[str, str]) -> None:
        pass


box = FakeBox()
box.history.answers = Forgetful()
app = build(box, access=AccessRules(allowed_hosts=("testserver",)))
# Streams have no end of their own, and generated requests ask for them.
app.state.context.streams.close()
document = app.openapi()


async def on_loopback(scope: Scope, receive: Receive, send: Send) -> None:
    """The test client has no address of its own."""
    await app({**scope, "server": ("127.0.0.1", 7780)}, receive, send)


schema = schemathesis.openapi.from_asgi(f"{API}/openapi.json", on_loopback)


# A time zone, a window, a cron expression or a suite's parameter can be wrong in ways that no schema tells.
JUDGED = {
    ("POST", f"{API}/jobs"),
    ("POST", f"{API}/jobs/{{id}}/retry"),  # what is retried has to have ended
    ("PUT", f"{API}/schedules/{{id}}"),
    ("POST", f"{API}/comparisons"),  # there have to be two results of one suite
}


@schema.parametrize()
@settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: schemathesis.Case[Any]) -> None:
    judged = (case.method, case.operation.path) in JUDGED
    case.call_and_validate(excluded_checks=[positive_data_acceptance] if judged else [])


ASKED = [
    ("POST", "/switches", {}, {"mode": "chat", "dry_run": True}),
    ("POST", "/preflight", {}, {"name": "chat"}),
    ("POST", "/preflight", {}, {"name": "huge"}),
    ("POST", "/switches", {}, {"mode": "huge"}),
    ("POST", "/switches", {}, {"mode": "chat", "wait": True}),
    ("GET", "/switches/{id}", {"id": "S1"}, None),
    ("POST", "/switches/{id}/cancel", {"id": "S1"}, {}),
    ("GET", "/switches", {}, None),
    ("GET", "/services/{id}", {"id": "embed"}, None),
    ("GET", "/services/{id}/logs", {"id": "embed"}, None),
    ("POST", "/services/{id}/restart", {"id": "embed"}, {"wait": 5}),
    ("GET", "/modes/{id}", {"id": "chat"}, None),
    ("GET", "/presets/{id}", {"id": "embed"}, None),
    ("POST", "/leases", {}, {"holder": "eval", "seconds": 60}),
    ("POST", "/leases/{id}/renew", {"id": "L1"}, {"seconds": 60}),
    ("GET", "/leases", {}, None),
    ("GET", "/status", {}, None),
    ("GET", "/cards", {}, None),
    ("POST", "/config/reload", {}, {}),
    ("DELETE", "/leases/{id}", {"id": "L1"}, None),
    ("POST", "/jobs", {}, {"suite": "speed", "targets": ["gemma-chat"], "window": {"start": 0, "end": 9}}),
    ("GET", "/jobs", {}, None),
    ("GET", "/jobs/{id}", {"id": "J1"}, None),
    ("GET", "/jobs/{id}/samples", {"id": "J1"}, None),
    ("GET", "/jobs/{id}/report", {"id": "J1"}, None),
    ("GET", "/reports/schema", {}, None),
    ("POST", "/jobs/{id}/cancel", {"id": "J1"}, {}),
    ("POST", "/jobs/{id}/retry", {"id": "J1"}, {}),
    (
        "PUT",
        "/schedules/{id}",
        {"id": "n"},
        {"cron": "0 2 * * *", "job": {"suite": "speed", "targets": ["chat"]}},
    ),
    ("GET", "/schedules", {}, None),
    ("GET", "/schedules/{id}", {"id": "n"}, None),
    ("DELETE", "/schedules/{id}", {"id": "n"}, None),
]


def test_answers_about_things_that_exist_are_as_documented() -> None:
    seen = FakeBox()
    app = build(seen, access=AccessRules(allowed_hosts=("testserver",)))

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "server": ("127.0.0.1", 7780)}, receive, send)

    with TestClient(served) as client:
        for method, path, parameters, body in ASKED:
            operation = schema[f"{API}{path}"][method]
            answer = client.request(method, f"{API}{path}".format(**parameters), json=body)
            assert answer.status_code in {200, 201, 202, 409}, (path, answer.text)
            operation.validate_response(answer)
