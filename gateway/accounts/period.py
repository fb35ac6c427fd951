"""The hours, days, weeks and months of a time zone, as stretches between two moments.

A period is one of the clock on the wall in its zone. A day on which clocks are turned has 23 or 25 hours, or an odd
half hour. Every period consists of whole quarters of an hour, because offsets from UTC do. Moments are seconds since
1970, UTC.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import Enum
from typing import Final, NamedTuple

_QUARTER_SECONDS: Final = 900
_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)
_LATE_IN_NEXT_MONTH: Final = timedelta(days=31)


class Period(Enum):
    """After how long a budget starts again; a week is an ISO week, which begins on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Span(NamedTuple):
    """One period: the moments from `start` to before `end`."""

    start: float
    end: float


def span_of(period: Period, zone: tzinfo, moment: float) -> Span:
    """The period of `zone` to which `moment` belongs."""
    if period is Period.HOUR:
        return _hour(zone, moment)
    today = datetime.fromtimestamp(moment, zone).date()
    if period is Period.DAY:
        first, last = today, today + _DAY
    elif period is Period.WEEK:
        first = today - timedelta(days=today.weekday())
        last = first + _WEEK
    else:
        first = today.replace(day=1)
        last = (first + _LATE_IN_NEXT_MONTH).replace(day=1)
    return Span(_midnight(first, zone), _midnight(last, zone))


def _midnight(day: date, zone: tzinfo) -> float:
    """The first moment of `day`; where clocks skip midnight, that is the moment at which they are turned."""
    return datetime.combine(day, time(), zone).timestamp()


def _hour(zone: tzinfo, moment: float) -> Span:
    """The quarter hours around `moment` with the same hour and the same offset: where clocks are turned, fewer."""
    first = last = int(moment // _QUARTER_SECONDS) * _QUARTER_SECONDS
    label = _hour_label(first, zone)
    while _hour_label(first - _QUARTER_SECONDS, zone) == label:
        first -= _QUARTER_SECONDS
    while _hour_label(last + _QUARTER_SECONDS, zone) == label:
        last += _QUARTER_SECONDS
    return Span(float(first), float(last + _QUARTER_SECONDS))


def _hour_label(quarter: int, zone: tzinfo) -> tuple[date, int, timedelta | None]:
    local = datetime.fromtimestamp(quarter, UTC).astimezone(zone)
    return local.date(), local.hour, local.utcoffset()
