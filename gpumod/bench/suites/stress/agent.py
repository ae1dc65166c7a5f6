"""The shape of an agent in an editor: rules, many files, tool results, and a small edit to make."""

from __future__ import annotations

import json
from typing import Final

from gpumod.bench.meter.reply import Reply, ToolCall
from gpumod.bench.suites._common.asking import Asker, Message, NotAnsweredError, said, system, user
from gpumod.bench.suites._common.texts import NOUNS, sentences, source
from gpumod.bench.suites.stress.finding import Finding, judged, reading
from gpumod.bench.suites.stress.parameters import Parameters
from gpumod.bench.suites.stress.tools import arguments_of, tool
from gpumod.core.job_ports import Case

_STEPS: Final = 6
_MOST_CALLS: Final = 8
_LONGEST_FILE: Final = 100_000
_RULES: Final = 40
_TOOLS: Final = (
    tool("read_file", "Shows a file of the project.", {"path": ("string", "The file's path.")}),
    tool(
        "replace_in_file",
        "Replaces a piece of text in a file. The old text has to be in the file exactly once.",
        {
            "path": ("string", "The file's path."),
            "old": ("string", "The text to replace, exactly as it is in the file."),
            "new": ("string", "What stands there afterwards."),
        },
    ),
)


class Project:
    """Files in memory that look like a program, and the edit that is asked for."""

    def __init__(self, seed: str, count: int) -> None:
        chance = source(f"{seed} project")
        names = chance.sample([f"{one}_{two}" for one in NOUNS for two in NOUNS if one != two], count)
        self.files = {f"src/{name}.py": _file(f"{seed} {name}", name) for name in names}
        self.path = chance.choice(list(self.files))
        old = next(line for line in self.files[self.path].splitlines() if line.startswith("RETRY_LIMIT"))
        self.limit = int(old.split(" = ")[1]) + chance.randint(11, 40)
        self.expected = self.files | {
            self.path: self.files[self.path].replace(old, f"RETRY_LIMIT = {self.limit}")
        }

    @property
    def edited(self) -> bool:
        """Whether every file is as it has to be, but for blanks at the ends of lines."""
        return all(_lines(text) == _lines(self.expected[path]) for path, text in self.files.items())

    def call(self, call: ToolCall) -> str:
        """Carry out a tool call; what the tool answers."""
        given = arguments_of(call.arguments) or {}
        path = given.get("path")
        if not isinstance(path, str) or path not in self.files:
            return "error: there is no such file"
        if call.name == "read_file":
            return self.files[path]
        if call.name != "replace_in_file":
            return "error: there is no such tool"
        old, new, text = given.get("old"), given.get("new"), self.files[path]
        if not isinstance(old, str) or not isinstance(new, str) or not old or text.count(old) != 1:
            return "error: the old text is not in the file exactly once"
        if len(text) + len(new) > _LONGEST_FILE:
            return "error: the file would become too long"
        self.files[path] = text.replace(old, new)
        return "done"


def _file(seed: str, name: str) -> str:
    chance = source(seed)
    notes = iter(sentences(seed, 8))
    parts = [f'"""{next(notes)}"""', "", f"RETRY_LIMIT = {chance.randint(2, 9)}"]
    parts += [f"TIMEOUT_SECONDS = {chance.randint(20, 90)}", ""]
    for number in range(4):
        factor, start = chance.randint(2, 99), chance.randint(100, 999)
        parts += [
            "", f"def {name}_step_{number}(values):", f"    # {next(notes)}", f"    total = {start}",
            "    for value in values:", f"        total += value * {factor}",
            "        if total > TIMEOUT_SECONDS * RETRY_LIMIT:", "            break", "    return total", "",
        ]  # fmt: skip
    return "\n".join(parts)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def _opening(seed: str, project: Project) -> list[Message]:
    rules = "\n".join(f"{n}. {line}" for n, line in enumerate(sentences(f"{seed} rules", _RULES), 1))
    shown = [path for path in project.files if path != project.path]
    context = "\n\n".join(f"### {path}\n```python\n{project.files[path]}\n```" for path in shown)
    call = {
        "id": "call_0",
        "type": "function",
        "function": {"name": "read_file", "arguments": json.dumps({"path": project.path})},
    }
    return [
        system(
            "You are a careful programmer who works in an editor by calling tools. Change nothing but what "
            f"you are asked for. When it is done, say so in one sentence.\n\nHouse notes:\n{rules}"
        ),
        user(
            f"The project's files:\n\n{context}\n\nIn {project.path}, set RETRY_LIMIT to {project.limit}. "
            "Change nothing else, in no file."
        ),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_0", "content": project.files[project.path]},
    ]


async def check(case: Case, parameters: Parameters, asker: Asker) -> Finding:
    """The edit has to be in the file, and no other, after a few steps at most."""
    del parameters
    seed = str(case.data["seed"])
    project = Project(seed, int(str(case.data["count"])))
    messages = _opening(seed, project)
    numbers: dict[str, float] = {}
    trace: list[list[str]] = []
    for step in range(_STEPS):
        try:
            reply = await asker.answer(messages, tools=_TOOLS)
        except NotAnsweredError as error:
            raise NotAnsweredError(error.outcome, f"step {step + 1}: {error.why}") from error
        numbers = numbers or reading(reply, "agent")
        if not reply.tool_calls:
            break
        answers = [project.call(one) for one in reply.tool_calls[:_MOST_CALLS]]
        trace += [
            [one.name[:100], one.arguments[:300], answer[:100]]
            for one, answer in zip(reply.tool_calls, answers, strict=False)
        ]
        messages += _spoken(reply, answers, step)
        if project.edited:
            break
    wrong = "" if project.edited else "the files are not as they had to be after the edit"
    return judged(wrong, numbers, {"calls": trace, "file": project.path, "limit": project.limit})


def _spoken(reply: Reply, answers: list[str], step: int) -> list[Message]:
    calls = [
        {
            "id": f"call_{step + 1}_{number}",
            "type": "function",
            # Chat templates read the arguments back: what is no JSON object would be the server's error.
            "function": {"name": one.name, "arguments": json.dumps(arguments_of(one.arguments) or {})},
        }
        for number, one in enumerate(reply.tool_calls[: len(answers)])
    ]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": answer}
        for call, answer in zip(calls, answers, strict=True)
    ]
    return [{"role": "assistant", "content": said(reply), "tool_calls": calls}, *results]
