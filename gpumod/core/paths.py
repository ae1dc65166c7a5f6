"""Where gpumod's directories, its socket and its port are, by default.

The daemon and its clients must agree on these without talking to each other. The environment is
passed in; nothing here looks at the disk, so paths come as candidates in the order to try.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 7780

SYSTEM_CONFIG: Final = "/etc/gpumod"
SYSTEM_STATE: Final = "/var/lib/gpumod"
SYSTEM_RUNTIME: Final = "/run/gpumod"
_SOCKET: Final = "gpumod.sock"


def config_directories(env: Mapping[str, str]) -> tuple[str, ...]:
    """Directories that may hold config.yaml, presets and modes; the first that exists counts.

    With `$GPUMOD_CONFIG` there is no other candidate: a misspelt path is an error, not a fallback.
    """
    if chosen := env.get("GPUMOD_CONFIG"):
        return (chosen,)
    users = _users(env, "XDG_CONFIG_HOME", ".config")
    return (*users, SYSTEM_CONFIG)


def state_directory(env: Mapping[str, str]) -> str:
    """Where the daemon keeps its database and logs: systemd's choice, else the XDG state directory."""
    if given := _first(env.get("STATE_DIRECTORY")):
        return given
    return next(iter(_users(env, "XDG_STATE_HOME", ".local/state")), SYSTEM_STATE)


def runtime_directory(env: Mapping[str, str], uid: int) -> str:
    """Where the daemon puts its socket: systemd's choice, else the user's runtime directory."""
    if given := _first(env.get("RUNTIME_DIRECTORY")):
        return given
    if runtime := env.get("XDG_RUNTIME_DIR"):
        return f"{runtime}/gpumod"
    return SYSTEM_RUNTIME if uid == 0 else state_directory(env)


def socket_path(env: Mapping[str, str], uid: int) -> str:
    """The daemon's Unix socket."""
    return f"{runtime_directory(env, uid)}/{_SOCKET}"


def socket_candidates(env: Mapping[str, str], uid: int) -> tuple[str, ...]:
    """Sockets where a client may find a daemon: the user's own first, then the system's.

    `/run/user/UID` is tried even without `$XDG_RUNTIME_DIR`, which cron and sudo do not set.
    """
    users = env.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    places = (f"{users}/gpumod", state_directory(env), SYSTEM_RUNTIME)
    return tuple(dict.fromkeys(f"{place}/{_SOCKET}" for place in places))


def key_files(env: Mapping[str, str]) -> tuple[str, ...]:
    """Files that may hold the client's key; the first that exists counts."""
    if chosen := env.get("GPUMOD_KEY_FILE"):
        return (chosen,)
    return tuple(f"{place}/key" for place in _users(env, "XDG_CONFIG_HOME", ".config"))


def _users(env: Mapping[str, str], variable: str, below_home: str) -> tuple[str, ...]:
    """What is ours below an XDG base directory; none where there is no home."""
    if base := env.get(variable):
        return (f"{base}/gpumod",)
    if home := env.get("HOME"):
        return (f"{home.rstrip('/')}/{below_home}/gpumod",)
    return ()


def _first(listed: str | None) -> str | None:
    """The first of the colon-separated directories that systemd passes."""
    return listed.split(":", 1)[0] if listed else None
