"""What a model answered in one scenario, as the checkers see it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gpumod.bench.suites.quality.world import World

_THINKING: Final = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_FENCED: Final = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)\n?[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call.

    Args:
        arguments: None where what the model wrote is not a JSON object.
    """

    name: str
    arguments: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that a model said in one scenario.

    Args:
        text: its last message, without its thinking.
        calls: its tool calls in order, over all turns.
        turns: how often it was asked.
        world: what the tools' world became; None where the scenario has none.
        start: the same world before the first call.
        ended: False where the model still called tools when it was asked for the last time.
    """

    text: str
    calls: tuple[Call, ...] = ()
    turns: int = 1
    world: World | None = None
    start: World | None = None
    ended: bool = True


def without_thinking(text: str) -> str:
    """A message without the block of thinking that some servers leave in front of it."""
    return _THINKING.sub("", text, count=1).strip()


def unfenced(text: str) -> str:
    """The inside of the only code block of a text; the text itself where there is none, or several."""
    blocks = _FENCED.findall(text)
    return str(blocks[0][1]) if len(blocks) == 1 else text.strip()


def labelled(text: str, label: str | None) -> str | None:
    """What stands behind the last `LABEL:` that begins a line; all of the text without a label.

    Bold and code marks around the label or the value are no part of either.
    """
    if label is None:
        return text
    mark = re.compile(
        rf"^[ \t*_#>`-]*{re.escape(label)}[ \t*_`]*:[ \t*_]*(.*)$", re.IGNORECASE | re.MULTILINE
    )
    found = mark.findall(text)
    return str(found[-1]).strip() if found else None


def arguments_of(text: str) -> Mapping[str, object] | None:
    """A tool call's arguments; None where they are no JSON object. No text at all means no arguments."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
