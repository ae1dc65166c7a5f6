"""One scenario as it goes on: what is sent next, what the tools answer, when it is over. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gpumod.bench.suites.quality.answer import Answer, Call, without_thinking
from gpumod.bench.suites.quality.scenario import Scenario, Script, Turn


class Conversation:
    """The messages of one scenario, and the world in which its tools work."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._world = scenario.world.copy() if scenario.world else None
        self._waiting = list(scenario.prompts)
        self._calls: list[Call] = []
        self._text = ""
        self._turns = 0
        self._at_work = True
        self.messages: list[Mapping[str, Any]] = []
        if scenario.system:
            self.messages.append({"role": "system", "content": scenario.system})
        self._next_prompt()

    @property
    def over(self) -> bool:
        """Whether nothing more is to be asked."""
        return not self._at_work or self._turns >= self._scenario.most_turns

    @property
    def answer(self) -> Answer:
        """What the model has said so far."""
        return Answer(
            self._text,
            tuple(self._calls),
            self._turns,
            self._world,
            self._scenario.world,
            ended=not self._at_work,
        )

    def take(self, turn: Turn) -> None:
        """Carry out what the model said, and have the next messages ready."""
        self._turns += 1
        self._text = without_thinking(turn.text)
        self._calls += turn.calls
        if turn.calls and self._world is not None:
            self._carry_out(turn)
        elif turn.calls or not self._waiting:
            self._at_work = False
        else:
            self.messages.append({"role": "assistant", "content": self._text})
            self._next_prompt()

    def _next_prompt(self) -> None:
        self.messages.append({"role": "user", "content": self._waiting.pop(0)})

    def _carry_out(self, turn: Turn) -> None:
        ids = [f"call_{len(self.messages)}_{index}" for index in range(len(turn.calls))]
        self.messages.append(
            {
                "role": "assistant",
                "content": self._text,
                "tool_calls": [
                    {"id": key, "type": "function", "function": _function(call)}
                    for key, call in zip(ids, turn.calls, strict=True)
                ],
            }
        )
        for key, call in zip(ids, turn.calls, strict=True):
            result = self._world.call(call.name, call.arguments) if self._world else None
            content = json.dumps(result, ensure_ascii=False)
            self.messages.append({"role": "tool", "tool_call_id": key, "content": content})


def _function(call: Call) -> Mapping[str, str]:
    # Chat templates read the arguments back: what is not a JSON object would be an error of the server.
    return {"name": call.name, "arguments": json.dumps(call.arguments or {}, ensure_ascii=False)}


def replay(scenario: Scenario, script: Script) -> Answer:
    """The answer of a model that says exactly this."""
    conversation = Conversation(scenario)
    for turn in script:
        if conversation.over:
            break
        conversation.take(turn)
    return conversation.answer
