"""Service in a window counts what arrived within it, at both edges."""

import pytest

from evaluation.load.series import ServiceSeries


def _series(*points: tuple[float, float]) -> ServiceSeries:
    series = ServiceSeries()
    for at, service in points:
        series.add(at, service)
    return series


def test_an_empty_series_has_served_nothing() -> None:
    """Before the first arrival every total is zero."""
    series = ServiceSeries()
    assert series.total == 0
    assert series.until(5.0) == 0
    assert series.between(0.0, 5.0) == 0


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0.0, 0.5, 0), (0.0, 1.0, 10), (1.0, 2.0, 2), (0.9, 2.9, 12), (2.0, 9.0, 4), (4.0, 9.0, 0)],
)
def test_a_window_excludes_its_start_and_includes_its_end(start: float, end: float, expected: float) -> None:
    """The prompt of 10 arrives at 1 s, one token of 2 at 2 s and two tokens at 3 s."""
    series = _series((1.0, 10), (2.0, 2), (3.0, 2), (3.0, 2))
    assert series.between(start, end) == expected


def test_adjoining_windows_add_up_to_the_whole() -> None:
    """No arrival is lost or counted twice at an edge."""
    series = _series(*[(i / 7, 1.0) for i in range(70)])
    parts = [series.between(i / 3 - 1, (i + 1) / 3 - 1) for i in range(40)]
    assert sum(parts) == series.total == 70


def test_time_runs_forward() -> None:
    """It is our own mistake to add an arrival that lies before the last one."""
    series = _series((2.0, 1))
    with pytest.raises(AssertionError):
        series.add(1.0, 1)
