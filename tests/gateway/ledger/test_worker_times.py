"""Busy and idle time, by quarter hour."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.rows import QUARTER_US
from gateway.ledger.worker_times import Reading, WorkerTime, WorkerTimes

from .books import NOON

QUARTER = int(NOON * 1e6) // QUARTER_US


def test_idle_time_is_divided_where_the_quarter_ends() -> None:
    """An hour without a request is idle in each of its quarters; busy time is in that of its reading."""
    times = WorkerTimes()
    assert times.parts([Reading("w0", 0.0, 0.0)], NOON) == []
    parts = times.parts([Reading("w0", 1.0, 1999.0, 7, 70)], NOON + 2000)
    assert parts == [
        WorkerTime(QUARTER, "w0", 0, 900_000_000, 0, 0),
        WorkerTime(QUARTER + 1, "w0", 0, 900_000_000, 0, 0),
        WorkerTime(QUARTER + 2, "w0", 1_000_000, 199_000_000, 7, 70),
    ]


def test_a_worker_that_begins_anew_counts_from_zero() -> None:
    """One that left and came back is another worker with the same name, even if its totals are larger by now."""
    times = WorkerTimes()
    times.parts([Reading("w0", 5.0, 5.0, 100), Reading("w1", 1.0, 1.0, 100)], NOON + 10)
    times.forget("w0")
    parts = times.parts([Reading("w0", 6.0, 5.5, 110), Reading("w1", 1.0, 2.0, 100)], NOON + 22)
    assert parts == [
        WorkerTime(QUARTER, "w0", 6_000_000, 5_500_000, 110, 0),
        WorkerTime(QUARTER, "w1", 0, 1_000_000, 0, 0),
    ]


@given(st.lists(st.tuples(st.floats(0, 4000), st.floats(0, 4000)), max_size=20))
def test_the_parts_add_up_to_the_totals(steps: list[tuple[float, float]]) -> None:
    """To the microsecond, whatever was read when."""
    times, busy, idle, at, parts = WorkerTimes(), 0.0, 0.0, NOON, []
    for more_busy, more_idle in steps:
        busy, idle, at = busy + more_busy, idle + more_idle, at + more_busy + more_idle
        parts += times.parts([Reading("w0", busy, idle)], at)
    assert sum(part.busy_us for part in parts) == round(busy * 1e6)
    assert sum(part.idle_us for part in parts) == round(idle * 1e6)
    assert all(part.busy_us >= 0 and part.idle_us >= 0 for part in parts)


def test_what_an_engine_generates_after_its_last_request_is_counted() -> None:
    """A reading in which nothing but the tokens has changed has a part of its own."""
    times = WorkerTimes()
    times.parts([Reading("w0", 1.0, 1.0, 5, 5)], NOON)
    assert times.parts([Reading("w0", 1.0, 1.0, 9, 5)], NOON) == [WorkerTime(QUARTER, "w0", 0, 0, 4, 0)]
    assert times.parts([Reading("w0", 1.0, 1.0, 9, 7)], NOON) == [WorkerTime(QUARTER, "w0", 0, 0, 0, 2)]
