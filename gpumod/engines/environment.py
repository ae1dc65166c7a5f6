"""What engines inherit from the daemon's environment: runners give them exactly their launch's `env`.

It is a short list, because a launch with another environment is another launch: a daemon that was started by
hand and then by systemd should not find all its engines changed. Tokens are not in it; presets name them.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Final

_INHERITED: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_HOME",
    "HF_HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "CONTAINERS_CONF",
    "DOCKER_HOST",
)
_OF_THE_USER: Final = frozenset({"TMPDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "HF_HOME"})


def inherited(user: str | None = None, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The base of every engine's environment.

    Args:
        user: whom engines run as, where that is not the daemon's own user: the home is then that user's.
        environment: the daemon's; None takes the real one.

    Raises:
        KeyError: there is no such user.
    """
    environment = os.environ if environment is None else environment
    found = {name: environment[name] for name in _INHERITED if name in environment}
    found.setdefault("PATH", os.defpath)
    if user is not None:
        found = {name: value for name, value in found.items() if name not in _OF_THE_USER}
        found |= {"HOME": pwd.getpwnam(user).pw_dir, "USER": user, "LOGNAME": user}
    return found
