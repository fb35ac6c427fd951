"""Metric families and their text in the Prometheus exposition format 0.0.4.

The gateway has its own families, because a scrape runs on the event loop that also carries the streams. With a cached
prefix a sample costs 0.5 us. In prometheus-client it costs 10 us, and each counter publishes a `_created` series too.
With 200 tenants in a few pools a scrape takes 10 ms instead of 200 ms. A long scrape is made in slices, and what
happens meanwhile may show in the later ones. There is only one thread, so there are no locks. A series stays until the
process ends. The caller bounds their number by its choice of label values.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from enum import Enum
from math import inf, isfinite
from typing import Final

Labels = tuple[str, ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LINES_AT_ONCE: Final = 2000  # making so many takes one or two milliseconds


class Together(Enum):
    """What makes one series of those that several processes show; EACH leaves them apart, by the label `process`."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    EACH = "each"

    def join(self, one: int | float, other: int | float) -> int | float:
        """One value of two."""
        if self is Together.MAX:
            return max(one, other)
        return min(one, other) if self is Together.MIN else one + other


def number(value: int | float) -> str:
    """A value as the format writes it."""
    if isfinite(value):
        return repr(value)
    if value == inf:
        return "+Inf"
    return "-Inf" if value == -inf else "NaN"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


class Family(ABC):
    """One metric: its name, type, help and label names, and what becomes of it over several processes."""

    kind: str

    def __init__(self, name: str, help_text: str, labels: Labels = (), together: Together = Together.SUM) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = labels
        self.together = together

    def head(self) -> str:
        """The two lines that announce the family."""
        text = self.help_text.replace("\\", "\\\\").replace("\n", "\\n")
        return f"# HELP {self.name} {text}\n# TYPE {self.name} {self.kind}\n"

    @abstractmethod
    def slices(self) -> Iterator[list[str]]:
        """One line for each sample, about `LINES_AT_ONCE` at a time; the lines of one series stay together."""

    def prefix(self, values: Labels, suffix: str = "", bound: str = "") -> str:
        """Name and labels of a sample up to the space before its value; `bound` is a histogram's `le`."""
        pairs = [f'{label}="{_escaped(value)}"' for label, value in zip(self.labels, values, strict=True)]
        if bound:
            pairs.append(f'le="{bound}"')
        inner = f"{{{','.join(pairs)}}}" if pairs else ""
        return f"{self.name}{suffix}{inner} "


class Sum:
    """One counter series."""

    __slots__ = ("prefix", "value")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.value: int | float = 0  # with `float` alone, compiled code would turn integers into floats


class Counter(Family):
    """A sum that only grows; integers stay exact."""

    kind = "counter"

    def __init__(self, name: str, help_text: str, labels: Labels = ()) -> None:
        super().__init__(name, help_text, labels)
        self._series: dict[Labels, Sum] = {}
        if not labels:
            self.series(())

    def add(self, labels: Labels, amount: int | float = 1) -> None:
        """Add `amount` (>= 0) to a series; 0 makes it visible before its first event."""
        self.series(labels).value += amount

    def series(self, labels: Labels) -> Sum:
        """The series of `labels`, begun if need be: for a caller that keeps it to add to."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Sum(self.prefix(labels))
        return series

    def slices(self) -> Iterator[list[str]]:
        """One line for each series."""
        every = list(self._series.values())
        for start in range(0, len(every), LINES_AT_ONCE):
            some = every[start : start + LINES_AT_ONCE]
            yield [f"{series.prefix}{number(series.value)}\n" for series in some]


class Gauge(Family):
    """Values of the present moment; each scrape shows them anew."""

    kind = "gauge"

    def __init__(self, name: str, help_text: str, labels: Labels = (), together: Together = Together.SUM) -> None:
        super().__init__(name, help_text, labels, together)
        self._prefixes: dict[Labels, str] = {}
        self._lines: list[str] = []

    def show(self, labels: Labels, value: int | float) -> None:
        """Show a series in the scrape being written."""
        prefix = self._prefixes.get(labels)
        if prefix is None:
            prefix = self._prefixes[labels] = self.prefix(labels)
        self._lines.append(f"{prefix}{number(value)}\n")

    def slices(self) -> Iterator[list[str]]:
        """The lines shown since the last call."""
        lines, self._lines = self._lines, []
        for start in range(0, len(lines), LINES_AT_ONCE):
            yield lines[start : start + LINES_AT_ONCE]

    def clear(self) -> None:
        """Forget what was shown, because that scrape was broken off."""
        self._lines = []


class Distribution:
    """One histogram series: counts per bucket (not cumulative, the last is +Inf) and the sum."""

    __slots__ = ("_bounds", "_counts", "_prefixes", "_total")

    def __init__(self, prefixes: Sequence[str], bounds: tuple[float, ...]) -> None:
        self._prefixes = prefixes
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def take_over(self, counts: Sequence[int], total: float) -> None:
        """Show values that somebody else counted: how many in each bucket (not cumulative), and their sum."""
        self._counts[:] = counts
        self._total = total

    def lines(self) -> list[str]:
        """Cumulative buckets, sum, count."""
        lines = []
        running = 0
        for prefix, count in zip(self._prefixes, self._counts, strict=False):
            running += count
            lines.append(f"{prefix}{running}\n")
        lines.append(f"{self._prefixes[-2]}{number(self._total)}\n")
        lines.append(f"{self._prefixes[-1]}{running}\n")
        return lines


class Histogram(Family):
    """A distribution over fixed buckets, whose upper bounds are inclusive and ascend."""

    kind = "histogram"

    def __init__(self, name: str, help_text: str, labels: Labels = (), *, bounds: tuple[float, ...]) -> None:
        super().__init__(name, help_text, labels)
        self.bounds = bounds
        self._series: dict[Labels, Distribution] = {}
        if not labels:
            self.series(())

    def observe(self, labels: Labels, value: float) -> None:
        """Count one value."""
        self.series(labels).observe(value)

    def series(self, labels: Labels) -> Distribution:
        """The series of `labels`, begun if need be: for a caller that keeps it to add to."""
        series = self._series.get(labels)
        if series is None:
            prefixes = [self.prefix(labels, "_bucket", number(float(bound))) for bound in (*self.bounds, inf)]
            prefixes += [self.prefix(labels, "_sum"), self.prefix(labels, "_count")]
            series = self._series[labels] = Distribution(prefixes, self.bounds)
        return series

    def slices(self) -> Iterator[list[str]]:
        """Every bucket, sum and count of every series."""
        every, at_once = list(self._series.values()), max(1, LINES_AT_ONCE // (len(self.bounds) + 3))
        for start in range(0, len(every), at_once):
            yield [line for series in every[start : start + at_once] for line in series.lines()]
