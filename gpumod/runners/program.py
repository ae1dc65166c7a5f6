"""What has to be known before a program is executed: where it is, and as whom it runs."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
from typing import TYPE_CHECKING

from gpumod.core.errors import StartFailedError

if TYPE_CHECKING:
    from gpumod.core.ports import RunRequest

DEFAULT_CWD = "/"
"""Where a service runs whose request names no directory."""


def check_text(request: RunRequest) -> None:
    """Refuse what no program can be given.

    Raises:
        StartFailedError: a NUL in an argument or variable, no argument at all, or a broken name.
    """
    if not request.argv:
        raise StartFailedError(f"{request.key.service}: there is no command to run")
    texts = (*request.argv, *(text for pair in request.env for text in pair), request.cwd or "", request.log)
    if any("\0" in text for text in texts):
        raise StartFailedError(f"{request.key.service}: an argument or variable contains a NUL character")
    for name, _ in request.env:
        if not name or "=" in name:
            raise StartFailedError(
                f"{request.key.service}: {name!r} cannot be an environment variable's name"
            )


def make_log_folder(request: RunRequest) -> None:
    """Make the folder of the log.

    Raises:
        StartFailedError: it cannot be made.
    """
    try:
        os.makedirs(os.path.dirname(os.path.abspath(request.log)), exist_ok=True)
    except OSError as error:
        raise refusal(request, "", "log", error.errno or errno.EIO) from error


def find_program(request: RunRequest) -> str:
    """The absolute path of the program, looked up in the request's own PATH.

    Raises:
        StartFailedError: there is no such program.
    """
    name = request.argv[0]
    if os.sep in name:
        return os.path.join(request.cwd or DEFAULT_CWD, name)
    found = shutil.which(name, path=dict(request.env).get("PATH", os.defpath))
    if found is None:
        detail = f"cannot run {name}: there is no such program in the PATH of {request.key.service}"
        raise StartFailedError(detail, {"program": name})
    return found


def user_numbers(user: str | None) -> list[int]:
    """uid, gid and supplementary groups to change to; empty when that is who we are already.

    Raises:
        StartFailedError: no such user, or only root may change to it.
    """
    if user is None:
        return []
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        detail = f"there is no user {user} on this box: create it or name another one as `engine_user`"
        raise StartFailedError(detail, {"user": user}) from None
    if entry.pw_uid == os.geteuid():
        return []
    if os.geteuid() != 0:
        raise StartFailedError(f"only root can start engines as another user ({user})", {"user": user})
    return [entry.pw_uid, entry.pw_gid, *os.getgrouplist(user, entry.pw_gid)]


def user_name() -> str:
    """Who we are, for messages and paths; the number where the user has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def refusal(request: RunRequest, program: str, step: str, number: int) -> StartFailedError:
    """Why a service could not be started, from the step that failed and its error number."""
    sentence = _SENTENCES.get(step, "the keeper of {service} could not be started: {error}")
    hint = _HINTS.get(number, "") if step == "program" else ""
    detail = sentence.format(
        service=request.key.service,
        program=program,
        log=request.log,
        cwd=request.cwd or DEFAULT_CWD,
        user=request.user,
        error=os.strerror(number),
    )
    return StartFailedError(
        detail + hint, {"service": request.key.service, "errno": errno.errorcode.get(number)}
    )


_SENTENCES = {
    "program": "cannot run {program}: {error}",
    "cwd": "cannot start {service} in {cwd}: {error}",
    "log": "the log of {service} cannot be written ({log}): {error}",
    "user": "cannot start {service} as {user}: {error}",
    "state": "the state directory cannot be written for {service}: {error}",
}
_HINTS = {
    errno.ENOENT: " (it does not exist, or the interpreter that its first line names does not)",
    errno.EACCES: " (make it executable for the user that runs it)",
    errno.ENOEXEC: " (it is no program for this machine)",
}
