"""Whether two command lines do the same, as far as options and their order go; nothing is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gpumod.bench.suites.quality.checkers.programs import SAME, Grammar, grammar_of
from gpumod.bench.suites.quality.checkers.shell import ACTIVE, Operator, ShellSyntaxError, tokens

_REDIRECTIONS: Final = frozenset({">", ">>", "<", "2>", "2>>", "&>", "&>>"})
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_PROMPT: Final = re.compile(r"\A\s*(?:[\w.@~:/-]*[$#>]\s+)")
_NO_ARGUMENT: Final = frozenset(
    {"-print", "-print0", "-delete", "-empty", "-o", "-or", "-a", "-and", "!", "-not", "(", ")"}
)
_GROUPING: Final = frozenset({"-o", "-or", "!", "-not", "(", ")", "-prune"})
_ACTIONS: Final = frozenset({"-print", "-print0", "-delete", "-exec", "-ok", "-execdir", "-printf", "-ls"})
_FIND_NAMES: Final = {"-or": "-o", "-and": "-a", "-not": "!"}

Option = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Simple:
    """One command of a line, in a form in which equal ones are equal.

    Args:
        before: the operator that joins it to the one before.
        options: names and values, sorted.
    """

    before: str
    program: str
    variables: tuple[str, ...]
    options: tuple[Option, ...]
    operands: tuple[str, ...]
    redirections: tuple[str, ...]


def normal(line: str) -> tuple[Simple, ...]:
    """A line in its normal form.

    Raises:
        ShellSyntaxError: it is no command line.
    """
    commands = tuple(_simple(before, part) for before, part in _parts(tokens(_PROMPT.sub("", line, count=1))))
    if not commands:
        raise ShellSyntaxError("there is no command")
    return commands


def _parts(found: list[str | Operator]) -> Iterator[tuple[str, list[str | Operator]]]:
    before: str = ""
    part: list[str | Operator] = []
    for token in found:
        if isinstance(token, Operator) and token.text not in _REDIRECTIONS | {"2>&1"}:
            if not part:
                raise ShellSyntaxError(f"nothing stands before {token.text}")
            yield before, part
            before, part = token.text, []
        else:
            part.append(token)
    if part:
        yield before, part
    elif before not in {"", ";", "&"}:
        raise ShellSyntaxError(f"nothing stands behind {before}")
    elif before == "&":
        yield before, ["<background>"]


def _simple(before: str, part: list[str | Operator]) -> Simple:
    words, redirections = _redirected(part)
    if words[:1] == ["sudo"]:
        words = words[1:]
    count = next((index for index, word in enumerate(words) if not _ASSIGNMENT.match(word)), len(words))
    variables, words = tuple(sorted(words[:count])), words[count:]
    if not words:
        return Simple(before, "", variables, (), (), redirections)
    program = words[0].removeprefix("/usr").removeprefix("/bin/")
    if program == "find":
        options, operands = _find(words[1:])
        return Simple(before, program, variables, options, operands, redirections)
    name, grammar = grammar_of([program, *words[1:]])
    options, operands = _read(name, grammar, words[1:])
    if grammar.unordered:
        operands = tuple(sorted(operands))
    return Simple(before, program, variables, tuple(sorted(options)), operands, redirections)


def _redirected(part: list[str | Operator]) -> tuple[list[str], tuple[str, ...]]:
    words: list[str] = []
    redirections: list[str] = []
    waiting = iter(part)
    for token in waiting:
        if isinstance(token, str):
            words.append(token)
        elif token.text == "2>&1":
            redirections.append("2>&1")
        else:
            target = next(waiting, None)
            if not isinstance(target, str):
                raise ShellSyntaxError(f"nothing stands behind {token.text}")
            if token.text.startswith("&"):
                redirections += [f"{token.text[1:]} {_path(target)}", "2>&1"]
            else:
                redirections.append(f"{token.text} {_path(target)}")
    # `2>&1 >file` is not `>file 2>&1`: a copy of a stream is of what that is at this moment.
    return words, tuple(redirections if "2>&1" in redirections else sorted(redirections))


def _read(name: str, grammar: Grammar, words: list[str]) -> tuple[tuple[Option, ...], tuple[str, ...]]:
    options: list[Option] = []
    operands: list[str] = []
    waiting = iter(words)
    if grammar.old_style and words and not words[0].startswith("-"):
        waiting = iter([f"-{words[0]}", *words[1:]])
    for word in waiting:
        if word == "--" or (grammar.inner and len(operands) >= grammar.inner):
            operands += [word] if word != "--" else []
            operands += [_path(one) for one in waiting]
        elif word.startswith("--"):
            long, equals, value = word.partition("=")
            option = _named(name, grammar, long)
            if option in grammar.values and not equals:
                value = next(waiting, "")
            options.append((option, _path(value)))
        elif grammar.number and re.fullmatch(r"-\d+", word):
            options.append((grammar.number, word[1:]))
        elif word.startswith("-") and len(word) > 1:
            options += _cluster(name, grammar, word, waiting)
        else:
            operands.append(_path(word))
    return tuple(options), tuple(operands)


def _cluster(name: str, grammar: Grammar, word: str, waiting: Iterator[str]) -> Iterator[Option]:
    for index, letter in enumerate(word[1:], start=1):
        option = _named(name, grammar, f"-{letter}")
        if option in grammar.values:
            yield option, _path(word[index + 1 :].removeprefix("=") or next(waiting, ""))
            return
        yield option, ""


def _named(name: str, grammar: Grammar, option: str) -> str:
    option = grammar.names.get(option, option)
    return SAME.get((name, option), option)


def _find(words: list[str]) -> tuple[tuple[Option, ...], tuple[str, ...]]:
    """Paths as operands; neighbouring tests sorted, unless they are grouped."""
    count = next((index for index, word in enumerate(words) if word.startswith(("-", "(", "!"))), len(words))
    paths = tuple(_path(word) for word in words[:count]) or (".",)
    expression: list[Option] = []
    waiting = iter(words[count:])
    for word in waiting:
        name = _FIND_NAMES.get(word, word)
        if name in {"-exec", "-ok", "-execdir"}:
            inner: list[str] = []
            for one in waiting:
                inner.append(one)
                if one in {";", "+"}:
                    break
            expression.append((name, " ".join(inner)))
        elif name in _NO_ARGUMENT:
            expression.append((name, ""))
        else:
            expression.append((name, next(waiting, "")))
    expression = [one for one in expression if one[0] != "-a"]
    if expression and expression[-1][0] == "-print":
        expression.pop()
    if not any(name in _GROUPING for name, _ in expression):
        expression = _sorted_between_actions(expression)
    return tuple(expression), paths


def _sorted_between_actions(expression: list[Option]) -> list[Option]:
    """Tests commute with each other, not with an action: `-delete -name x` deletes everything."""
    result: list[Option] = []
    tests: list[Option] = []
    for one in expression:
        if one[0] in _ACTIONS:
            result += [*sorted(tests), one]
            tests = []
        else:
            tests.append(one)
    return result + sorted(tests)


def _path(word: str) -> str:
    """`./x` and `x` are one; a slash at the end is kept, as some programs mind it."""
    return word[2:] if word.startswith("./") and len(word) > 2 else word


def shown(line: str) -> str:
    """A line without this module's marks."""
    return line.replace(ACTIVE, "")
