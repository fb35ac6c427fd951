"""Periods are what the clock on the wall of a zone says, and the ledger's reports divide time at the same moments."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.accounts import Period, span_of
from gateway.ledger.report import Period as Stretch
from gateway.ledger.report import label_of

QUARTER = 900
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/Santiago",  # turns its clocks at midnight, which is skipped
    "Africa/Cairo",
    "Pacific/Apia",
)
moments = st.integers(1_420_070_400, 2_208_988_800).map(float)  # 2015 to 2040


def at(text: str) -> float:
    """The moment that `text` names."""
    return datetime.fromisoformat(text).timestamp()


@given(moment=moments, zone=st.sampled_from(ZONES), period=st.sampled_from(Period))
@example(at("2026-04-05T01:45+10:30"), "Australia/Lord_Howe", Period.HOUR)
@example(at("2026-10-04T02:45+11:00"), "Australia/Lord_Howe", Period.HOUR)
def test_periods_follow_one_another_without_a_gap(moment: float, zone: str, period: Period) -> None:
    """Each moment belongs to one period, which begins where the one before ends, on a quarter of an hour."""
    place = ZoneInfo(zone)
    span = span_of(period, place, moment)
    assert span.start <= moment < span.end
    assert span.start % QUARTER == span.end % QUARTER == 0
    assert span_of(period, place, span.start) == span_of(period, place, span.end - 1) == span
    assert span_of(period, place, span.end).start == span.end
    assert span_of(period, place, span.start - 1).end == span.start


@given(moment=moments, zone=st.sampled_from(ZONES), period=st.sampled_from(Period))
def test_a_period_is_what_reports_call_so(moment: float, zone: str, period: Period) -> None:
    """The quarters of a period have one label in a report, and those around it have another one."""
    place = ZoneInfo(zone)
    span = span_of(period, place, moment)

    def label(quarter: int) -> str:
        if period is Period.WEEK:
            return datetime.fromtimestamp(quarter * QUARTER, UTC).astimezone(place).strftime("%G-W%V")
        return label_of(quarter, Stretch(period.value), place)

    first, last = int(span.start) // QUARTER, int(span.end) // QUARTER - 1
    assert label(first) == label(last)
    assert label(first - 1) != label(first)
    assert label(last + 1) != label(last)


@pytest.mark.parametrize(
    ("period", "zone", "moment", "start", "end"),
    [
        (Period.HOUR, "Asia/Kolkata", "2026-11-30T12:10+05:30", "2026-11-30T12:00+05:30", "2026-11-30T13:00+05:30"),
        (
            Period.HOUR,
            "Australia/Lord_Howe",
            "2026-04-05T01:45+10:30",
            "2026-04-05T01:30+10:30",
            "2026-04-05T02:00+10:30",
        ),
        (Period.DAY, "America/St_Johns", "2026-11-30T23:59-03:30", "2026-11-30T00:00-03:30", "2026-12-01T00:00-03:30"),
        (Period.DAY, "Europe/Berlin", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        (Period.DAY, "America/Santiago", "2026-09-06T12:00-03:00", "2026-09-06T01:00-03:00", "2026-09-07T00:00-03:00"),
        (
            Period.DAY,
            "Australia/Lord_Howe",
            "2026-04-05T12:00+10:30",
            "2026-04-05T00:00+11:00",
            "2026-04-06T00:00+10:30",
        ),
        (Period.WEEK, "UTC", "2026-01-01T00:00+00:00", "2025-12-29T00:00+00:00", "2026-01-05T00:00+00:00"),
        (
            Period.MONTH,
            "America/New_York",
            "2026-03-15T00:00-04:00",
            "2026-03-01T00:00-05:00",
            "2026-04-01T00:00-04:00",
        ),
        (Period.MONTH, "UTC", "2026-12-31T23:59+00:00", "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"),
    ],
)
def test_periods_by_the_calendar(period: Period, zone: str, moment: str, start: str, end: str) -> None:
    """Days on which clocks are turned, skipped midnights, weeks over the turn of a year."""
    assert span_of(period, ZoneInfo(zone), at(moment)) == (at(start), at(end))
