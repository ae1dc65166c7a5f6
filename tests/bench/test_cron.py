"""Cron expressions, checked against a calendar that is walked hour by hour."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.bench.cron import Cron
from gpumod.core.errors import InvalidRequestError
from tests.tries import tries

BERLIN = "Europe/Berlin"


def at(text, zone=BERLIN):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def times(expression, since, count, zone=BERLIN):
    """The times after `since`, with their offsets from UTC."""

    def walk():
        time = at(since, zone)
        while (time := cron.after(time)) is not None:
            yield datetime.fromtimestamp(time, ZoneInfo(zone)).isoformat(timespec="minutes")

    cron = Cron(expression, zone)
    return list(islice(walk(), count))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 2 * * *", ["2026-01-01T02:00", "2026-01-02T02:00"]),
        ("*/25 5 * * *", ["2026-01-01T05:00", "2026-01-01T05:25", "2026-01-01T05:50"]),
        ("50/5 23 1 1 *", ["2026-01-01T23:50", "2026-01-01T23:55"]),
        ("0 0 * * 0", ["2026-01-04T00:00", "2026-01-11T00:00"]),  # Sundays
        ("0 0 * * 7", ["2026-01-04T00:00"]),
        ("0 0 * * 5-7", ["2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00", "2026-01-09T00:00"]),
        ("0 0 * * Mon-Fri", ["2026-01-02T00:00", "2026-01-05T00:00"]),
        ("0 0 * * */3", ["2026-01-03T00:00", "2026-01-04T00:00", "2026-01-07T00:00"]),  # Sun, Wed, Sat
        ("0 0 13 * 5", ["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00"]),  # the 13th or a Friday
        ("0 0 31 * *", ["2026-01-31T00:00", "2026-03-31T00:00"]),
        ("0 0 29 feb *", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        (
            "5,1,3 4 1,15 1 *",
            ["2026-01-01T04:01", "2026-01-01T04:03", "2026-01-01T04:05", "2026-01-15T04:01"],
        ),
    ],
)
def test_times_are_those_of_crontab(expression, expected):
    found = times(expression, "2026-01-01T00:00", len(expected), "UTC")
    assert [time.removesuffix("+00:00") for time in found] == expected


@pytest.mark.parametrize(
    ("expression", "since", "expected"),
    [
        # Put forward on 29 March: 02:30 does not exist.
        (
            "30 2 * * *",
            "2026-03-28T12:00",
            ["2026-03-29T03:30+02:00", "2026-03-30T02:30+02:00"],
        ),
        (
            "*/30 * * * *",
            "2026-03-29T01:00",
            ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"],
        ),
        ("30 2,3 * * *", "2026-03-29T00:00", ["2026-03-29T03:30+02:00", "2026-03-30T02:30+02:00"]),
        # Put back on 25 October: 02:30 comes twice.
        (
            "30 2 * * *",
            "2026-10-24T12:00",
            ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
        (
            "*/30 * * * *",
            "2026-10-25T01:30",
            [
                "2026-10-25T02:00+02:00",
                "2026-10-25T02:30+02:00",
                "2026-10-25T02:00+01:00",
                "2026-10-25T02:30+01:00",
                "2026-10-25T03:00+01:00",
            ],
        ),
    ],
)
def test_clocks_that_are_put_forward_and_back(expression, since, expected):
    assert times(expression, since, len(expected)) == expected


def test_same_expression_is_another_time_in_another_zone():
    assert Cron("0 2 * * *", BERLIN).after(at("2026-01-01T00:00", "UTC")) == at("2026-01-01T01:00", "UTC")
    assert Cron("0 2 * * *", "Asia/Kolkata").after(at("2026-01-01T00:00", "UTC")) == at(
        "2026-01-01T20:30", "UTC"
    )


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 2 * *", "has 4 fields; a cron expression has five"),
        ("@daily", "has 1 fields"),
        ("0 0 0 2 * *", "has 6 fields"),
        ("60 * * * *", "the minute '60' .* 60 is not within 0 to 59"),
        ("* 24 * * *", "the hour '24'"),
        ("* * 0 * *", "the day of the month '0'"),
        ("* * last * *", "'last' is no value"),
        ("* * * 13 *", "the month '13'"),
        ("* * * * 8", "the day of the week '8'"),
        ("* 22-2 * * *", "22-2 goes backwards"),
        ("*/0 * * * *", "'0' is no step"),
        ("*/ * * * *", "'' is no step"),
        ("1,,2 * * * *", "'' is no value"),
        ("-5 * * * *", "'' is no value"),
        ("² * * * *", "is no value"),
        ("0 0 30 2 *", "the time '0 0 30 2 \\*' never comes"),
    ],
)
def test_what_is_no_cron_expression_is_refused_in_words(expression, words):
    with pytest.raises(InvalidRequestError, match=words):
        Cron(expression, "UTC")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe", "a\0b"])
def test_unknown_time_zone_is_refused_in_words(zone):
    with pytest.raises(InvalidRequestError, match="is no time zone that this system knows"):
        Cron("0 2 * * *", zone)


# --- against a calendar -------------------------------------------------------------------------------


def fields(low, high):
    """A field of crontab and the values that it means."""
    one = st.integers(low, high).map(lambda value: (str(value), {value}))
    span = st.tuples(st.integers(low, high), st.integers(low, high), st.integers(1, 9)).map(
        lambda given: (
            f"{min(given[:2])}-{max(given[:2])}/{given[2]}",
            set(range(min(given[:2]), max(given[:2]) + 1, given[2])),
        )
    )
    everything = st.just(("*", set(range(low, high + 1))))
    return st.one_of(one, span, everything)


@tries(50)
@given(
    fields(0, 59),
    fields(0, 23),
    fields(1, 28),
    fields(1, 12),
    fields(0, 7),
    st.integers(at("2025-06-01T00:00"), at("2026-02-01T00:00")),
)
def test_times_are_the_minutes_of_the_calendar_that_match(minute, hour, day, month, weekday, since):
    weekdays = {value % 7 for value in weekday[1]}

    def has_times(moment):
        on_day = day[0] == "*" or moment.day in day[1]
        on_weekday = moment.isoweekday() % 7 in weekdays
        either = day[0] != "*" and weekday[0] != "*"
        return (
            moment.hour in hour[1]
            and moment.month in month[1]
            and ((on_day or on_weekday) if either else (on_day and on_weekday))
            and not (moment.fold and hour[0] != "*")
        )

    zone, span = ZoneInfo(BERLIN), timedelta(days=12)
    first = datetime.fromtimestamp(since, UTC).replace(second=0)
    # Offsets from UTC are whole hours there.
    hours = (
        first.replace(minute=0) + timedelta(hours=number) for number in range(span // timedelta(hours=1) + 1)
    )
    expected = [
        moment.timestamp()
        for one in hours
        if has_times(one.astimezone(zone))
        for moment in (one + timedelta(minutes=number) for number in sorted(minute[1]))
        if first < moment < first + span
    ]
    cron = Cron(" ".join(text for text, _ in (minute, hour, day, month, weekday)), BERLIN)
    found: list[float] = []
    end = (first + span).timestamp() - 60
    time = cron.after(since)
    while time is not None and time <= end and len(found) < 300:
        found.append(time)
        time = cron.after(time)
    assert found == expected[:300]
    assert cron.latest(since, end) == (expected[-1] if expected else None)


@pytest.mark.parametrize("years", [1, 30])
@pytest.mark.parametrize("expression", ["* * * * *", "0 2 * * *", "* * * * 1", "0 0 29 2 *"])
def test_last_time_is_found_however_long_ago_the_former_one_was(expression, years):
    cron = Cron(expression, "UTC")
    until = at("2026-01-01T00:00:30", "UTC")
    expected = {
        "* * * * *": "2026-01-01T00:00",
        "0 2 * * *": "2025-12-31T02:00",
        "* * * * 1": "2025-12-29T23:59",
        "0 0 29 2 *": "2024-02-29T00:00" if years > 1 else None,
    }[expression]
    found = cron.latest(until - years * 366 * 86_400, until)
    assert found == (None if expected is None else at(expected, "UTC"))
