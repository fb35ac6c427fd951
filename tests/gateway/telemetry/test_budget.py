"""The budget of lines that strangers can cause."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.budget import LineBudget


def test_a_burst_passes_then_the_rate_holds() -> None:
    """Three lines pass at once, then one per half second; the next line says how many were left out."""
    budget = LineBudget(lines_per_second=2, burst=3)
    assert [budget.take(10.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert budget.take(10.4) is None
    assert budget.take(10.5) == 3
    assert budget.take(10.5) is None
    assert budget.take(11.0) == 1


def test_a_quiet_time_refills_no_more_than_the_burst() -> None:
    """After a quiet day the burst is as large as before."""
    budget = LineBudget(lines_per_second=2, burst=3)
    budget.take(0.0)
    assert [budget.take(86400.0) for _ in range(4)] == [0, 0, 0, None]


def test_a_clock_that_steps_back_refills_nothing() -> None:
    """A wall clock that is set back neither refills the budget nor blocks it for ever."""
    budget = LineBudget(lines_per_second=1, burst=1)
    assert budget.take(1000.0) == 0
    assert budget.take(5.0) is None
    assert budget.take(6.0) == 1


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.1, 10), st.integers(1, 5))
def test_lines_never_exceed_rate_and_burst(gaps: list[float], rate: float, burst: int) -> None:
    """Whatever the arrivals, at most burst + rate x time lines pass, and every line is written or counted."""
    budget = LineBudget(rate, burst)
    now, passed, reported = 0.0, 0, 0
    for gap in gaps:
        now += gap
        suppressed = budget.take(now)
        if suppressed is not None:
            passed += 1
            reported += suppressed
    assert passed <= burst + rate * now + 1e-6
    left_out = len(gaps) - passed
    assert reported <= left_out
    final = budget.take(now + burst / rate + 1)
    assert final is not None
    assert reported + final == left_out
