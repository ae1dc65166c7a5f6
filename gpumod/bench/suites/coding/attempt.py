"""One request and its grade: what the suites `coding` and `smoke` are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gpumod.bench.meter.chat import chat
from gpumod.bench.meter.reply import Reply
from gpumod.bench.meter.sampler import SAMPLERS
from gpumod.bench.sandbox import NoSandboxError, open_sandbox
from gpumod.bench.suites.coding.extraction import extract_code
from gpumod.bench.suites.coding.formulas import SECONDS, TOKENS
from gpumod.bench.suites.coding.grading import Grade, grade
from gpumod.bench.suites.coding.levels import HERE, LEVELS, Level
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import Outcome, Sample
from gpumod.core.job_ports import Bench, Case

DEFAULTS: Final[Mapping[str, object]] = {
    "sampler": "THINKING_CODING",
    "timeout": 900.0,
    "max_tokens": None,
    "thinking": None,
}
"""Of both suites: `timeout` is seconds per request; `thinking` None leaves it to the model's template."""
_UNSCORED: Final = frozenset({Outcome.REFUSED, Outcome.DISCONNECTED})
"""Of these nothing follows about the model."""
_LONGEST_TEXT: Final = 20_000
"""Characters of an answer that a sample keeps."""


async def hindrance() -> str:
    """Why code cannot be run on this machine, found out by trying the sandbox; empty where it can."""
    try:
        await open_sandbox()
    except NoSandboxError as error:
        return error.detail
    return ""


async def attempt(level: Level, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
    """Ask for one level's module and run the hidden tests on it.

    Raises:
        NoSandboxError: nothing may be run here; the model is not even asked.
    """
    sandbox = await open_sandbox()
    at, began = bench.clock.now(), bench.clock.monotonic()
    sampler = SAMPLERS[str(parameters["sampler"])]
    thinking, tokens = parameters["thinking"], parameters["max_tokens"]
    reply = await chat(
        bench.endpoint,
        [{"role": "user", "content": level.prompt}],
        sampler=sampler,
        max_tokens=tokens if isinstance(tokens, int) else None,
        timeout=float(str(parameters["timeout"])),
        extra=None if thinking is None else {"chat_template_kwargs": {"enable_thinking": thinking}},
        clock=bench.clock,
    )
    seconds = bench.clock.monotonic() - began
    code, graded = None, Grade(reply.outcome, note=reply.error)
    if reply.outcome is Outcome.OK:
        code = extract_code(reply.text, level.names)
        graded = Grade(Outcome.NO_CODE) if code is None else await grade(sandbox, level, code)
    return Sample(
        target=bench.endpoint.target,
        case=case.key,
        outcome=graded.outcome,
        score=None if graded.outcome in _UNSCORED else graded.points(level),
        numbers=_numbers(reply, seconds),
        details={
            "level": level.key,
            "passed": list(graded.passed),
            "failed": dict(graded.failed),
            "tests": len(level.tests),
            "note": graded.note,
            "code": (code or "")[:_LONGEST_TEXT],
            "answer": reply.text[:_LONGEST_TEXT] if code is None else "",
            "finish_reason": reply.finish_reason,
            "sent": dict(reply.request),
            "sampler_left_out": list(sampler.left_out(bench.endpoint.engine)),
            "python": sandbox.version,
        },
        at=at,
        seconds=seconds,
    )


def _numbers(reply: Reply, seconds: float) -> dict[str, float]:
    numbers = {SECONDS.id: seconds}
    if reply.usage is not None:
        numbers[TOKENS.id] = float(reply.usage.completion)
    return numbers


def check_parameters(
    suite: str, given: Mapping[str, object], defaults: Mapping[str, object], count: str
) -> dict[str, object]:
    """The parameters with every default filled in.

    Args:
        suite: its name.
        given: what was asked for.
        defaults: every parameter that there is.
        count: the parameter that says how often.

    Raises:
        InvalidRequestError: an unknown or a wrong one.
    """
    if unknown := [one for one in given if one not in defaults]:
        known = ", ".join(defaults)
        raise InvalidRequestError(f"the suite {suite} has no parameter {unknown[0]!r}: it has {known}")
    merged = {**defaults, **given}
    if not _whole(merged[count], 1, 1000):
        raise InvalidRequestError(f"{count} must be a whole number from 1 to 1000, not {merged[count]!r}")
    if not isinstance(merged["sampler"], str) or merged["sampler"] not in SAMPLERS:
        raise InvalidRequestError(f"sampler must be one of {', '.join(SAMPLERS)}, not {merged['sampler']!r}")
    timeout = merged["timeout"]
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= 86400:
        raise InvalidRequestError(f"timeout must be seconds, more than 0 and at most a day, not {timeout!r}")
    if merged["max_tokens"] is not None and not _whole(merged["max_tokens"], 1, 10_000_000):
        raise InvalidRequestError(f"max_tokens must be a whole number from 1, not {merged['max_tokens']!r}")
    if merged["thinking"] is not None and not isinstance(merged["thinking"], bool):
        raise InvalidRequestError(f"thinking must be true, false or null, not {merged['thinking']!r}")
    return {**merged, "timeout": float(timeout)}


def level_of(name: object) -> Level:
    """The level of that name.

    Raises:
        InvalidRequestError: there is none.
    """
    level = LEVELS.get(name) if isinstance(name, str) else None
    if level is None:
        raise InvalidRequestError(f"a level is one of {', '.join(LEVELS)}, not {name!r}")
    return level


def content_hash(*folders: Path) -> str:
    """SHA-256 over every text of these folders: prompts, hidden tests, given modules, checkers."""
    digest = hashlib.sha256()
    for root in (HERE, *folders):
        paths = [path for path in root.rglob("*") if path.suffix in {".py", ".md"}]
        for path in sorted(paths, key=lambda path: path.relative_to(root).as_posix()):
            content = path.read_bytes()
            name = f"{root.name}/{path.relative_to(root).as_posix()}"
            digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
