"""When a job may begin: times of day in a time zone."""

from __future__ import annotations

import logging
from datetime import datetime
from zoneinfo import ZoneInfo

from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import Window

_log = logging.getLogger(__name__)

_DAY = 24 * 60


def time_zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        InvalidRequestError: the system's time zone data does not have it.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no name at all, a directory of names
        raise InvalidRequestError(
            f"{name!r} is no time zone that this system knows: give an IANA name such as Europe/Berlin, "
            "and install the system's time zone data (the package tzdata) if it is missing.",
            {"timezone": name},
        ) from None


def check_window(window: Window) -> None:
    """See that a window makes sense.

    Raises:
        InvalidRequestError: it does not; the sentence says why.
    """
    time_zone(window.timezone)
    for minutes in (window.start, window.end):
        if not 0 <= minutes <= _DAY:
            raise InvalidRequestError(
                f"a window's times are minutes after midnight, 0 to {_DAY}; this one has {minutes}.",
                {"start": window.start, "end": window.end},
            )
    if window.start == window.end:
        raise InvalidRequestError(
            "a window that ends when it starts lets no job begin: leave it out, or give it another end.",
            {"start": window.start, "end": window.end},
        )


def window_open(window: Window, now: float) -> bool:
    """Whether a job may begin at a unix time; the start belongs to the window, the end does not.

    It goes by what the clocks on the wall show: where they are put forward or back within the window, it is
    an hour shorter or longer. In a time zone that the system has lost meanwhile, it stays closed.
    """
    try:
        zone = time_zone(window.timezone)
    except InvalidRequestError as error:
        _log.warning("a job waits for its window: %s", error.detail)
        return False
    local = datetime.fromtimestamp(now, zone)
    minute = local.hour * 60 + local.minute
    if window.start <= window.end:
        return window.start <= minute < window.end
    return minute >= window.start or minute < window.end
