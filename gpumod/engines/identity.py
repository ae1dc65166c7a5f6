"""Whom a program runs as, by name."""

from __future__ import annotations

import os
import pwd

from gpumod.core.become import as_user


def identity(user: str | None) -> tuple[str, ...]:
    """What stands before a program's own arguments so that it runs as that user, with all of their groups.

    Nothing where that is who we are already.

    Raises:
        KeyError: there is no such user.
    """
    entry = pwd.getpwnam(user) if user is not None else None
    if entry is None or entry.pw_uid == os.geteuid():
        return ()
    return as_user(entry.pw_uid, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid))
