"""What reports make of the sums: periods of every time zone."""

from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.ledger.report import (
    FIELDS,
    Line,
    Period,
    Query,
    Subject,
    label_of,
    lines,
    month_of,
    quarter_of,
    read_moment,
)


def quarter(text: str, zone: str = "UTC") -> int:
    return quarter_of(read_moment(text, ZoneInfo(zone)))


@pytest.mark.parametrize(
    ("moment", "zone", "hour", "day"),
    [
        ("2026-11-30T18:15", "UTC", "2026-11-30T18:00+00:00", "2026-11-30"),
        ("2026-11-30T18:15", "Asia/Kolkata", "2026-11-30T23:00+05:30", "2026-11-30"),
        ("2026-11-30T18:30", "Asia/Kolkata", "2026-12-01T00:00+05:30", "2026-12-01"),
        ("2026-11-30T03:15", "America/St_Johns", "2026-11-29T23:00-03:30", "2026-11-29"),
        ("2026-11-30T03:30", "America/St_Johns", "2026-11-30T00:00-03:30", "2026-11-30"),
        ("2026-10-25T00:30", "Europe/Berlin", "2026-10-25T02:00+02:00", "2026-10-25"),
        ("2026-10-25T01:30", "Europe/Berlin", "2026-10-25T02:00+01:00", "2026-10-25"),
    ],
)
def test_a_quarter_belongs_to_the_period_of_the_zone(moment: str, zone: str, hour: str, day: str) -> None:
    """By the clock there; when it is turned back, the two hours of one name stay apart."""
    there = ZoneInfo(zone)
    assert label_of(quarter(moment), Period.HOUR, there) == hour
    assert label_of(quarter(moment), Period.DAY, there) == day
    assert label_of(quarter(moment), Period.MONTH, there) == day[:7]
    assert label_of(quarter(moment), Period.ALL, there) == ""


@pytest.mark.parametrize(
    ("zone", "day", "quarters"),
    [
        ("Europe/Berlin", "2026-03-29", 92),
        ("Europe/Berlin", "2026-10-25", 100),
        ("Australia/Lord_Howe", "2026-04-05", 98),
        ("Australia/Lord_Howe", "2026-10-04", 94),
        ("Asia/Kolkata", "2026-10-25", 96),
    ],
)
def test_a_day_is_as_long_as_it_is_there(zone: str, day: str, quarters: int) -> None:
    """Days on which clocks are turned have 23, 25, 24.5 or 23.5 hours."""
    first = quarter(day, zone)
    around = range(first - 100, first + 200)
    assert [each for each in around if label_of(each, Period.DAY, ZoneInfo(zone)) == day] == list(
        range(first, first + quarters)
    )


@pytest.mark.parametrize(
    ("zone", "day", "more", "sizes"),
    [("Asia/Kathmandu", "2026-10-20", 0, {4}), ("Australia/Lord_Howe", "2026-04-01", 2, {2, 4})],
)
def test_an_hour_has_four_quarters(zone: str, day: str, more: int, sizes: set[int]) -> None:
    """Wherever hours begin; where a clock is turned by half an hour, there is an hour of two."""
    first, there = quarter(day, zone), ZoneInfo(zone)
    labels = Counter(label_of(each, Period.HOUR, there) for each in range(first, first + 9 * 96 + more))
    assert set(labels.values()) == sizes


def test_lines_add_up_what_has_one_period_and_one_name() -> None:
    """The parts of several files and quarters become one line, sorted."""
    query = Query(0, 10, UTC, (Subject.TENANT,), Period.DAY)
    ones = (1,) * len(FIELDS)
    found = lines(query, [(100, ("bob",), ones), (0, ("bob",), ones), (1, ("alice",), ones), (2, ("bob",), ones)])
    assert found == [
        Line("1970-01-01", ("alice",), ones),
        Line("1970-01-01", ("bob",), (2,) * len(FIELDS)),
        Line("1970-01-02", ("bob",), ones),
    ]


def test_moments_are_read_in_the_zone() -> None:
    """A day begins when it begins there; what names its offset says where it is itself."""
    kolkata = ZoneInfo("Asia/Kolkata")
    assert read_moment("2026-11-30", kolkata).astimezone(UTC) == datetime(2026, 11, 29, 18, 30, tzinfo=UTC)
    assert read_moment("2026-11-30T00:00+00:00", kolkata) == datetime(2026, 11, 30, tzinfo=UTC)
    assert month_of(datetime(2026, 11, 30, 5, tzinfo=kolkata)) == datetime(2026, 11, 1, tzinfo=kolkata)
    with pytest.raises(ValueError, match="quarter"):
        quarter("2026-11-30T14:16")


def test_what_needs_rows() -> None:
    """The sums by quarter hour know no end user, no worker and no outcome."""
    needing = {subject for subject in Subject if Query(0, 1, UTC, (Subject.TENANT, subject)).needs_rows}
    assert needing == {Subject.END_USER, Subject.WORKER, Subject.OUTCOME}
