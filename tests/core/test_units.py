"""Sizes and durations as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.units import GIB, KIB, MIB, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20500MiB", 20500 * MIB),
        ("14.25GB", 14_250_000_000),
        ("24 GiB", 24 * GIB),
        ("1.5gib", GIB * 3 // 2),
        (" 512 kib ", 512 * KIB),
        ("0B", 0),
        ("1TiB", 1024 * GIB),
        ("1024TiB", 2**50),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "24", "GiB", "24 potatoes", "-1GiB", "1e3MiB", "1,5GiB", "1.GiB", "nan GiB"]
)
def test_what_is_no_size_is_told_how_to_write_one(text):
    with pytest.raises(ValueError, match=r"is not a size: write a number with a unit, such as 20500MiB"):
        parse_size(text)


def test_a_size_beyond_all_reason():
    with pytest.raises(ValueError, match="larger than 1 PiB"):
        parse_size("1025TiB")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("240s", 240.0),
        ("10m", 600.0),
        ("10min", 600.0),
        ("1.5h", 5400.0),
        ("500ms", 0.5),
        ("2d", 172800.0),
        ("0s", 0),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "240", "s", "-1s", "1 fortnight", "1M", "inf s"])
def test_what_is_no_duration_is_told_how_to_write_one(text):
    """`M` is not taken for minutes: it could be months."""
    with pytest.raises(ValueError, match=r"is not a duration: write a number with a unit, such as 240s"):
        parse_duration(text)


def test_a_duration_beyond_all_reason():
    with pytest.raises(ValueError, match="longer than 366 days"):
        parse_duration("367d")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 MiB"),
        (1, "0 KiB"),
        (2 * KIB, "2 KiB"),
        (588 * MIB, "588 MiB"),
        (20500 * MIB, "20.0 GiB"),
        (10 * GIB - MIB, "10239 MiB"),
        (10 * GIB, "10.0 GiB"),
        (-3 * GIB, "-3072 MiB"),
    ],
)
def test_sizes_for_people(size, text):
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.085, "85 ms"),
        (4.2, "4.2 s"),
        (59.94, "59.9 s"),
        (60.0, "1 min"),
        (200.0, "3 min 20 s"),
        (7500.0, "2 h 5 min"),
        (7200.0, "2 h"),
    ],
)
def test_durations_for_people(seconds, text):
    assert format_duration(seconds) == text


@given(st.integers(0, 2**40), st.sampled_from(["B", "KiB", "MiB"]))
def test_a_whole_number_of_units_is_read_back_exactly(number, unit):
    scale = {"B": 1, "KiB": KIB, "MiB": MIB}[unit]
    if number * scale <= 2**50:
        assert parse_size(f"{number}{unit}") == number * scale


@given(st.integers(0, 2**50))
def test_a_size_for_people_is_close_and_can_be_read_again(size):
    again = parse_size(format_size(size).replace(" ", ""))
    unit = KIB if size < MIB else MIB if size < 10 * GIB else GIB / 10
    assert abs(again - size) <= unit / 2 + 1
