"""Starting a program as another user, on any event loop.

uvloop's subprocesses do not know `user`, `group` and `extra_groups` (uvloop 0.23: "unexpected kwargs"), so a
small Python in front of the program becomes that user and then the program.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

CANNOT_BE_EXECUTED: Final = 127
"""The exit code where the program cannot be executed as that user; what is printed says why."""

_BECOME: Final = f"""\
import os, signal, sys, warnings  # what comes after setuid cannot be imported any more
user, group, groups, *argv = sys.argv[1:]
os.setgroups([int(one) for one in groups.split(",") if one])
os.setgid(int(group))
os.setuid(int(user))
for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python itself, which is none of the program's
    signal.signal(ignored, signal.SIG_DFL)
try:
    os.execvp(argv[0], argv)
except OSError as error:
    sys.stderr.write(f"{{argv[0]}}: {{error.strerror}}\\n")
    sys.exit({CANNOT_BE_EXECUTED})
"""


def as_user(user: int, group: int, groups: Sequence[int] = ()) -> tuple[str, ...]:
    """What stands before a program's own arguments so that it runs as that user; only root may do so.

    Args:
        user: its number.
        group: the number of its group.
        groups: the further groups.
    """
    return (
        *(sys.executable, "-I", "-S", "-c", _BECOME),
        *(str(user), str(group), ",".join(map(str, groups))),
    )
