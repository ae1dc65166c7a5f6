"""How a command ends: exit codes, and errors as people and programs read them."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from gpumod.core.errors import ErrorCode, GpumodError
from gpumod.core.problem import problem_from
from gpumod.core.units import format_size

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UUID: Final = re.compile(r"\b(GPU-[0-9a-f]{8})-[0-9a-f-]{23}([0-9a-f]{4})\b")
_KEY_ADVICE: Final = (
    "give a file that holds it with --key-file, or put it into $GPUMOD_KEY or ~/.config/gpumod/key"
)


class ExitCode(IntEnum):
    """What the exit codes of gpumodctl mean; they are part of its interface."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    NOT_FOUND = 5
    TIMED_OUT = 6
    NOT_ALLOWED = 7
    INTERRUPTED = 130


_EXIT_CODES: Final[Mapping[ErrorCode, ExitCode]] = {
    ErrorCode.INVALID_REQUEST: ExitCode.USAGE,
    ErrorCode.IDEMPOTENCY_MISMATCH: ExitCode.USAGE,
    ErrorCode.REFUSED: ExitCode.REFUSED,
    ErrorCode.SWITCH_RUNNING: ExitCode.REFUSED,
    ErrorCode.UNREACHABLE: ExitCode.UNREACHABLE,
    ErrorCode.NOT_FOUND: ExitCode.NOT_FOUND,
    ErrorCode.TIMED_OUT: ExitCode.TIMED_OUT,
    ErrorCode.NOT_ALLOWED: ExitCode.NOT_ALLOWED,
    ErrorCode.UNAUTHENTICATED: ExitCode.NOT_ALLOWED,
}


class Options(NamedTuple):
    """What every command takes: where the daemon is, which key to show, how to answer."""

    json: bool = False
    host: str | None = None
    socket: str | None = None
    key_file: str | None = None


def exit_code(error: GpumodError) -> ExitCode:
    """The exit code of an error; what is not in the table failed."""
    return _EXIT_CODES.get(error.code, ExitCode.FAILED)


def report(error: GpumodError, *, as_json: bool, box: Mapping[str, Any] | None = None) -> ExitCode:
    """Tell of an error: one problem document on stdout, or sentences on stderr.

    Args:
        error: what went wrong.
        as_json: for a program.
        box: what the box is like now (`state`, `mode`, `reason`), where that is known.
    """
    if as_json:
        document = problem_from(error) | ({"box": dict(box)} if box else {})
        print_json(document)
    else:
        say("\n".join(_sentences(error)))
        if box:
            say(box_line(box))
    return exit_code(error)


def _sentences(error: GpumodError) -> list[str]:
    """An error for people. A list of reasons or mistakes is shown as one; the detail has them in a row."""
    if reasons := reason_lines(error.facts.get("reasons", ())):
        return ["gpumodctl: refused:", *(f"  {line}" for line in reasons)]
    if error.facts.get("problems"):
        return ["gpumodctl: mistakes in the configuration:", error.detail]
    if error.code is ErrorCode.UNAUTHENTICATED:
        # The daemon's sentence goes on with the header that a request needs.
        return [f"gpumodctl: {error.detail.partition(':')[0]}: {_KEY_ADVICE}"]
    running = error.facts.get("switch") if error.code is ErrorCode.SWITCH_RUNNING else None
    hint = f" (`gpumodctl switches show {running}` tells how it stands)" if running else ""
    return [f"gpumodctl: {error.detail}{hint}"]


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def say(text: str) -> None:
    """A line for people that is not the answer itself: on stderr."""
    sys.stderr.write(printable(text) + "\n")


def printable(text: str) -> str:
    """A text that cannot command a terminal: commands of processes and lines of logs are others' words."""
    return _CONTROL.sub("?", text)


def box_line(box: Mapping[str, Any]) -> str:
    """What the box is like, in one sentence."""
    reason = f": {box['reason']}" if box.get("reason") else ""
    return f"The box is now {box['state']} in mode {box['mode']}{reason}"


def reason_lines(reasons: object) -> list[str]:
    """Refusals as JSON, one or two lines each: the sentence, then its numbers."""
    if not isinstance(reasons, Sequence) or isinstance(reasons, str):
        return []
    lines: list[str] = []
    for one in reasons:
        lines.append(f"- {short_cards(one['detail'])}")
        numbers = _numbers(one)
        if numbers and not _says_all(one):
            lines.append(f"    {numbers}")
        if one.get("would_fit"):
            lines.append(f"    would fit: {one['would_fit']}")
    return lines


def _says_all(refusal: Mapping[str, Any]) -> bool:
    """Whether a refusal's sentence has its numbers and holders already."""
    sizes = [format_size(refusal[name]) for name in ("need", "have") if refusal.get(name) is not None]
    names = [
        name
        for holder in refusal.get("holders") or ()
        for name in (holder.get("service") or process_phrase(holder), format_size(holder.get("size") or 0))
    ]
    return all(part in refusal["detail"] for part in (*sizes, *names))


def _numbers(refusal: Mapping[str, Any]) -> str:
    """The card, what is needed, what is there, and who holds the rest."""
    if refusal.get("need") is None and refusal.get("have") is None:
        return ""
    parts = [f"card {short_cards(refusal['card'])}"] if refusal.get("card") else []
    parts += [
        f"{name} {format_size(refusal[name])}" for name in ("need", "have") if refusal.get(name) is not None
    ]
    if holders := refusal.get("holders"):
        parts.append("held by " + ", ".join(holder_phrase(holder) for holder in holders))
    return ", ".join(parts)


def holder_phrase(holder: Mapping[str, Any]) -> str:
    """Who holds how much of a card."""
    size = "an unknown amount" if holder.get("size") is None else format_size(holder["size"])
    if holder.get("service"):
        return f"{holder['service']} ({size})"
    return f"{process_phrase(holder)} ({size})"


def short_cards(text: str) -> str:
    """A text with cards' UUIDs cut to what tells them apart."""
    return _UUID.sub(r"\1..\2", text)


def process_phrase(process: Mapping[str, Any]) -> str:
    """A foreign process: its command, pid and user, as far as they are known."""
    name = str(process.get("command") or "process").split(" ", 1)[0].rsplit("/", 1)[-1]
    pid = f" {process['pid']}" if process.get("pid") is not None else ""
    user = f" of {process['user']}" if process.get("user") else ""
    return f"{name}{pid}{user}"
