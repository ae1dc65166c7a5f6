"""Times given by five fields, as crontab(5) has them, in a time zone.

APScheduler's trigger finds the times; what the fields mean is settled here, where it differs from crontab:
its days of the week begin with Monday as 0, it wants both the day of the month and the day of the week where
either would do, and it fires a nightly job twice in the night in which the clocks are put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from apscheduler.triggers.cron import CronTrigger

from gpumod.core.errors import InvalidRequestError
from gpumod.store.windows import time_zone

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MOMENT = timedelta(microseconds=1)
_APART = 60.0
"""Seconds between two times at least."""


@dataclass(frozen=True, slots=True)
class _Field:
    """What one of the five fields may hold."""

    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def values(self, text: str) -> frozenset[int]:
        """Every value that the field allows.

        Raises:
            InvalidRequestError: it is not written as crontab has it.
        """
        return frozenset(value for item in text.split(",") for value in self._item(item, text))

    def _item(self, item: str, text: str) -> range:
        span, slash, step = item.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = self.low, self.high
        else:
            low = self._value(first, text)
            high = self._value(last, text) if dash else self.high if slash else low
        if low > high:
            raise self._wrong(text, f"{span} goes backwards")
        if slash and not (step.isascii() and step.isdecimal() and int(step) > 0):
            raise self._wrong(text, f"{step!r} is no step")
        return range(low, high + 1, int(step) if slash else 1)

    def _value(self, text: str, whole: str) -> int:
        named = self.names.get(text.lower())
        if named is not None:
            return named
        if not (text.isascii() and text.isdecimal()):
            raise self._wrong(whole, f"{text!r} is no value")
        if not self.low <= int(text) <= self.high:
            raise self._wrong(whole, f"{text} is not within {self.low} to {self.high}")
        return int(text)

    def _wrong(self, text: str, why: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"the {self.name} {text!r} of the cron expression cannot be read: {why}.",
            {"field": self.name, "text": text},
        )


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Field("day of the week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)


class Cron:
    """The times of a cron expression.

    Where the clocks are put forward, a time that is left out comes as much later. Where they are put back, an
    hour that is named comes once, the first time; under `*` every hour that passes counts.

    Args:
        expression: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday). Where both
            days are given, either of them will do.
        timezone: an IANA name.

    Raises:
        InvalidRequestError: the expression or the time zone is wrong, or such a time never comes.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        texts = expression.split()
        if len(texts) != len(_FIELDS):
            raise InvalidRequestError(
                f"{expression!r} has {len(texts)} fields; a cron expression has five: minute, hour, day of "
                "the month, month, day of the week, as in '0 2 * * 1-5'.",
                {"cron": expression},
            )
        self._zone = time_zone(timezone)
        self._every_hour = texts[1].startswith("*")
        self._triggers = tuple(self._trigger(*fields) for fields in _readings(texts))
        if self.after(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) is None:
            raise InvalidRequestError(f"the time {expression!r} never comes.", {"cron": expression})

    def _trigger(self, minute: str, hour: str, day: str, month: str, weekday: str) -> CronTrigger:
        return CronTrigger(
            minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=self._zone
        )

    def after(self, at: float) -> float | None:
        """The first time after a unix time; None where there is none."""
        moment = datetime.fromtimestamp(at, UTC)
        found = (self._first(trigger, moment) for trigger in self._triggers)
        return min((time for time in found if time is not None), default=None)

    def _first(self, trigger: CronTrigger, after: datetime) -> float | None:
        while True:
            time = trigger.get_next_fire_time(None, (after + _MOMENT).astimezone(self._zone))
            if time is None or self._every_hour or time.fold == 0:
                return None if time is None else float(time.timestamp())
            after = time.astimezone(UTC)

    def latest(self, since: float, until: float) -> float | None:
        """The last time after `since` and not after `until`, unix times; None where there is none."""
        found = self.after(since)
        if found is None or found > until:
            return None
        # Whether one is still to come before `until` changes once, from yes to no: halve the span.
        low, high = found, until
        while high - low >= _APART:
            middle = (low + high) / 2
            time = self.after(middle)
            if time is not None and time <= until:
                found = low = time
            else:
                high = middle
        return found


def _readings(texts: list[str]) -> list[list[str]]:
    """The fields as lists of numbers for the trigger: two readings where either of two days will do."""
    minute, hour, day, month, weekday = (
        sorted(kind.values(text)) for kind, text in zip(_FIELDS, texts, strict=True)
    )
    days = sorted({(number - 1) % 7 for number in weekday})
    common = [_listed(minute), _listed(hour)]
    if texts[2].startswith("*") or texts[4].startswith("*"):
        return [[*common, _listed(day), _listed(month), _listed(days)]]
    return [[*common, _listed(day), _listed(month), "*"], [*common, "*", _listed(month), _listed(days)]]


def _listed(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))
