"""What users append as `args:`, compared with what gpumod composes from keys."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gpumod.core.ports import EngineBuild
from gpumod.core.service import FileIdentity

_FLAG: Final = re.compile(r"--?[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Owned:
    """Flags that gpumod composes itself.

    Args:
        names: every spelling.
        instead: what the user should do instead, completing "..., ".
    """

    names: frozenset[str]
    instead: str


def owned(instead: str, *names: str) -> Owned:
    """Flags that belong to a key: `instead` is the key, or a sentence when it has a blank."""
    return Owned(frozenset(names), instead if " " in instead else f"which is the key `{instead}`: set that")


@dataclass(frozen=True, slots=True)
class Given:
    """One flag as it was written, and its value if one followed."""

    name: str
    value: str | None


def flags(args: Sequence[str]) -> Iterator[Given]:
    """The flags in a list of arguments; `--a_b=1` is read as `--a-b` with the value 1."""
    for index, word in enumerate(args):
        if not _FLAG.match(word):
            continue
        name, equals, value = word.partition("=")
        following = args[index + 1] if index + 1 < len(args) else None
        after = None if following is None or _FLAG.match(following) else following
        yield Given(_normal(name), value if equals else after)


def contradictions(
    args: Sequence[str], owners: Collection[Owned], *, argparse: bool = False
) -> tuple[str, ...]:
    """Sentences about arguments that belong to keys.

    Args:
        args: the user's arguments.
        owners: who owns which flags.
        argparse: as `given_of` says.
    """
    found = []
    for given in flags(args):
        owner = next((one for one in owners if _is(given.name, one.names, argparse=argparse)), None)
        if owner is not None:
            found.append(f"args: `{given.name}` sets what gpumod decides, {owner.instead}")
    return tuple(found)


def given_of(args: Sequence[str], names: Collection[str], *, argparse: bool = False) -> tuple[str, ...]:
    """Those of some flags that the user gave, as they were written.

    Args:
        args: the user's arguments.
        names: every spelling.
        argparse: whether the engine's parser is Python's, as vLLM has it: it takes beginnings of flags,
            values that are glued to a short flag (`-qfp8`), and members of a JSON value (`-sc.method`).
    """
    return tuple(given.name for given in flags(args) if _is(given.name, names, argparse=argparse))


def meant(word: str, known: Collection[str]) -> str:
    """What a user probably meant by a word that an engine does not know: to be appended to it, or empty."""
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown(args: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Sentences about flags that the build's help does not list; none where it was not asked."""
    if not known:
        return ()
    names = (given.name for given in flags(args))
    return tuple(f"args: `{name}` is not in the help of this build" for name in names if name not in known)


def fingerprint(
    build: EngineBuild, files: Collection[FileIdentity], cards: int, parameters: Collection[object]
) -> str:
    """Names everything that decides how much memory a launch takes, the number of cards included."""
    program = (build.identity.size, build.identity.modified_ns) if build.identity else ()
    facts = [
        build.version,
        program,
        [(file.path, file.size, file.modified_ns) for file in files],
        cards,
        list(parameters),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _normal(name: str) -> str:
    return name.replace("_", "-") if name.startswith("--") else name


def _is(name: str, names: Collection[str], *, argparse: bool) -> bool:
    if name in names or not argparse:
        return name in names
    name = name.partition(".")[0]
    return name in names or any(_abbreviates(name, one) or _is_glued(name, one) for one in names)


def _abbreviates(name: str, flag: str) -> bool:
    return flag.startswith(name) and (len(name) > 4 or not name.startswith("--"))


def _is_glued(name: str, flag: str) -> bool:
    """Whether this is a short flag with its value; `-dpn` is a flag of its own, not `-dp`."""
    value = name.removeprefix(flag)
    return len(flag) <= 3 and value != name and (len(flag) == 2 or not value[0].isalpha())
