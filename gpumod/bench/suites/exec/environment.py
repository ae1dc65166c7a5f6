"""What a harness finds around it: variables, its program, and a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gpumod.bench.suites.exec.leftovers import FOLDER, owner
from gpumod.bench.suites.exec.recipe_file import RecipeFile
from gpumod.engines.environment import inherited
from gpumod.engines.identity import identity

OUTPUT: Final = "output"
_TEMPORARY: Final = "tmp"
_SHORTEST_SECRET: Final = 8


def base(recipe: RecipeFile, user: str | None) -> dict[str, str]:
    """The variables of a harness but for the recipe's own values: a short list, and what it inherits by name.

    Raises:
        KeyError: there is no such user.
    """
    found = inherited(user)
    found |= {name: os.environ[name] for name in recipe.inherit if name in os.environ}
    folders = [_home(folder, found) for folder in recipe.path]
    return {**found, "PATH": os.pathsep.join([*folders, found["PATH"]])}


def program(recipe: RecipeFile, environment: Mapping[str, str]) -> str | None:
    """The path of the recipe's program, None where it is not there."""
    word = recipe.argv[0]
    name = _home(word if isinstance(word, str) else word[0], environment)
    return shutil.which(name, path=environment["PATH"])


def missing(recipe: RecipeFile, environment: Mapping[str, str]) -> str:
    """The first program or path that the recipe needs and that is not there; empty where all are."""
    word = recipe.argv[0]
    for name in (word if isinstance(word, str) else word[0], *recipe.needs):
        path = _home(name, environment)
        found = Path(path).exists() if "/" in path else shutil.which(path, path=environment["PATH"])
        if not found:
            return name
    return ""


def without_values(text: str, recipe: RecipeFile, environment: Mapping[str, str]) -> str:
    """The text without the values of the recipe's variables, which may be secrets."""
    for name in (*recipe.inherit, *recipe.env):
        value = environment.get(name, "")
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, f"<{name}>")
    return text


@contextmanager
def working_folder(user: str | None) -> Iterator[Path]:
    """A fresh folder with one for results and one for temporary files in it; gone afterwards. Blocking.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{owner()}"))
    try:
        places = [folder, folder / OUTPUT, folder / _TEMPORARY]
        for place in places:
            place.mkdir(exist_ok=True)
        if user is not None and identity(user):
            entry = pwd.getpwnam(user)
            for place in places:
                os.chown(place, entry.pw_uid, entry.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary(folder: Path) -> str:
    """Where a harness puts temporary files: they go with its folder."""
    return str(folder / _TEMPORARY)


def _home(path: str, environment: Mapping[str, str]) -> str:
    """The path with a leading `~` as the home of whom the harness runs as."""
    return environment.get("HOME", "/") + path[1:] if path == "~" or path.startswith("~/") else path
