"""What a report of the ledger is: sums by names and by periods of a time zone.

A period (hour, day, month) is one of the clock on the wall there. A quarter hour belongs to exactly one, whatever the
offset of the zone and whenever its summer time begins: offsets are whole quarters of an hour.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from operator import add
from typing import Final, NamedTuple

from gateway.ledger.quarters import SUMS
from gateway.ledger.rows import QUARTER_US

FIELDS: Final = ("requests", *SUMS)
_QUARTER_SECONDS: Final = QUARTER_US // 1_000_000
_BEFORE_OFFSET: Final = len("2026-11-30T14:15:00")
_FORMATS: Final = {"day": "%Y-%m-%d", "month": "%Y-%m"}


class Subject(StrEnum):
    """What a report may add up by."""

    TENANT = "tenant"
    KEY = "key"
    POOL = "pool"
    MODEL = "model"
    END_USER = "end_user"
    WORKER = "worker"
    OUTCOME = "outcome"


BY_QUARTERS: Final = frozenset({Subject.TENANT, Subject.KEY, Subject.POOL, Subject.MODEL})


class Period(StrEnum):
    """Into which stretches a report divides its time; `ALL` does not divide it."""

    ALL = "all"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Query(NamedTuple):
    """Which report: of the quarter hours from `first` to before `end`, in the time zone `zone`."""

    first: int
    end: int
    zone: tzinfo
    subjects: tuple[Subject, ...] = (Subject.TENANT,)
    period: Period = Period.ALL

    @property
    def needs_rows(self) -> bool:
        """True if the sums by quarter hour do not tell: the rows do, which are kept for a shorter time."""
        return not BY_QUARTERS.issuperset(self.subjects)


class Line(NamedTuple):
    """One line of a report: its period, the names it is about, and the sums in the order of `FIELDS`."""

    period: str
    names: tuple[str, ...]
    sums: tuple[float, ...]


def lines(query: Query, parts: Iterable[tuple[int, tuple[str, ...], tuple[float, ...]]]) -> list[Line]:
    """The report made of `parts`, each the sums of a quarter hour for the names; sorted by time and names."""
    totals: dict[tuple[str, tuple[str, ...]], tuple[float, ...]] = {}
    labels: dict[int, str] = {}
    firsts: dict[str, int] = {}  # two hours of one name do not follow each other by their labels
    for quarter, names, sums in parts:
        label = labels.get(quarter)
        if label is None:
            label = labels[quarter] = label_of(quarter, query.period, query.zone)
            firsts[label] = min(quarter, firsts.get(label, quarter))
        total = totals.get((label, names))
        totals[label, names] = sums if total is None else tuple(map(add, total, sums))
    keys = sorted(totals, key=lambda key: (firsts[key[0]], key[1]))
    return [Line(*key, totals[key]) for key in keys]


def label_of(quarter: int, period: Period, zone: tzinfo) -> str:
    """The name of the period of `zone` to which a quarter hour belongs; hours have their offset from UTC."""
    if period is Period.ALL:
        return ""
    local = moment_of(quarter, zone)
    if period is Period.HOUR:
        return f"{local:%Y-%m-%dT%H:00}{local.isoformat()[_BEFORE_OFFSET:]}"
    return local.strftime(_FORMATS[period.value])


def moment_of(quarter: int, zone: tzinfo) -> datetime:
    """The moment at which a quarter hour begins, by the clock of `zone`."""
    return datetime.fromtimestamp(quarter * _QUARTER_SECONDS, UTC).astimezone(zone)


def quarter_of(moment: datetime) -> int:
    """The quarter hour that begins at `moment`; raises `ValueError` if none does."""
    quarter, rest = divmod(moment.timestamp(), _QUARTER_SECONDS)
    if rest:
        raise ValueError("is not on a quarter of an hour")
    return int(quarter)


def read_moment(text: str, zone: tzinfo) -> datetime:
    """The moment that `text` (2026-11-30, 2026-11-30T14:15) names in `zone`; raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def month_of(now: datetime) -> datetime:
    """The beginning of the month of `now`, in its time zone."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_quarter(now: datetime) -> int:
    """The quarter hour after that of `now`."""
    return int((now + timedelta(seconds=_QUARTER_SECONDS)).timestamp()) // _QUARTER_SECONDS
