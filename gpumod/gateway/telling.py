"""What clients are told that no engine answers, in their dialects. Pure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from gpumod.core.spec import Catalog
from gpumod.gateway.demand import Exceeded, Verdict, Why
from gpumod.gateway.errors import error_answer
from gpumod.gateway.exchange import Answer, Dialect, Ending
from gpumod.gateway.naming import names

_DEFINITE: Final = {Why.NEVER: 404, Why.ASK: 409, Why.REFUSED: 409}
_SOON: Final = 1.0
"""Seconds after which it makes sense to ask again, where nothing better is known."""
_NO_RETRY: Final = (b"x-should-retry", b"false")
"""OpenAI's and Anthropic's clients send again what was answered with 409, unless they are told this."""


def verdict_answer(dialect: Dialect, verdict: Verdict) -> Answer:
    """What a request is told that waited, or could not."""
    facts = dict(verdict.facts)
    if verdict.goal is not None and verdict.goal.mode is not None:
        facts.setdefault("mode", str(verdict.goal.mode))
    code = str(verdict.why)
    if not verdict.passing:
        answer = error_answer(dialect, _DEFINITE.get(verdict.why, 503), code, verdict.detail, facts)
        return Answer(answer.status, answer.body, (*answer.headers, _NO_RETRY))
    after = verdict.after if verdict.after is not None else _SOON
    return error_answer(dialect, 503, code, verdict.detail, facts, retry_after=after)


def exceeded_answer(dialect: Dialect, exceeded: Exceeded) -> Answer:
    """A key has had all that it may."""
    after = exceeded.after if exceeded.after is not None else _SOON
    facts = {"limit": exceeded.limit}
    return error_answer(dialect, 429, "rate_limit_exceeded", exceeded.detail, facts, retry_after=after)


def not_for_key(dialect: Dialect, key: str, model: str) -> Answer:
    """A key may not use a model."""
    return error_answer(dialect, 403, "model_not_allowed", f"the key {key!r} may not use {model}")


def unknown_model(dialect: Dialect, model: str, catalog: Catalog) -> Answer:
    """No mode has that name, and nothing of it runs."""
    code = "model_not_found"
    known = sorted({name for mode in catalog.modes for name, _ in names(mode)})
    if any(preset.id == model for preset in catalog.presets):
        code = str(Why.NEVER)
        detail = f"{model} does not run, and no mode has it: start it with `gpumodctl service start {model}`"
    elif not model:
        detail = "the request names no model, and there is no route `default`"
    else:
        close = get_close_matches(model, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "`GET /v1/models` lists what there is"
        detail = f"no model is called {model[:200]}; {hint}"
    return error_answer(dialect, 404, code, detail)


def failed_answer(dialect: Dialect, ending: Ending) -> Answer:
    """A request was passed on, and its answer did not begin."""
    told = {
        Ending.UNREACHABLE: "the engine could not be reached",
        Ending.BROKEN: "the engine ended the request before its answer began",
        Ending.STALLED: "the engine said nothing for too long",
    }.get(ending, "the request could not be passed on")
    detail = f"{told}: ask again"
    return error_answer(dialect, 503, f"engine_{ending}", detail, retry_after=_SOON)
