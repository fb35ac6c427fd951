"""How long a worker waits after it died, and when that is a crash loop."""

from random import Random

import pytest

from backend.supervisor.crashes import LONGEST_SECONDS, SPREAD, STABLE_SECONDS, Crashes


def test_the_wait_doubles_from_half_a_second_to_thirty() -> None:
    """Each death in a row doubles the wait, within the spread, up to the longest."""
    crashes = Crashes(Random(1))
    for expected in (0.5, 1, 2, 4, 8, 16, 30, 30, 30):
        crashes.died(now=0.0)
        assert crashes.delay_seconds() == pytest.approx(expected, rel=SPREAD + 1e-9)
    for _ in range(10_000):
        crashes.died(now=0.0)
    assert crashes.delay_seconds() <= LONGEST_SECONDS * (1 + SPREAD)


def test_workers_that_died_together_do_not_start_together() -> None:
    """The spread is drawn: two workers wait differently, and a seed repeats it."""
    one, other, again = Crashes(Random(1)), Crashes(Random(2)), Crashes(Random(1))
    for crashes in (one, other, again):
        crashes.died(now=0.0)
    delay = one.delay_seconds()
    assert delay != other.delay_seconds()
    assert delay == again.delay_seconds()


def test_five_deaths_within_a_minute_are_a_loop() -> None:
    """Four are not; a life that has served for a minute ends the loop, and starts the count anew."""
    crashes = Crashes(Random(1))
    for number in range(5):
        assert not crashes.is_loop(10.0 * number)
        crashes.served(10.0 * number)
        crashes.died(10.0 * number + 9)
    assert crashes.is_loop(50.0)
    crashes.served(60.0)
    assert crashes.is_loop(60.0 + STABLE_SECONDS - 1)
    assert not crashes.is_loop(60.0 + STABLE_SECONDS)
    crashes.died(60.0 + STABLE_SECONDS)
    assert crashes.in_a_row == 1
    assert crashes.delay_seconds() < 1
    assert crashes.total == 6


def test_slow_failures_are_a_loop_too() -> None:
    """A model that loads for ten minutes and fails five times is in a loop, though no two deaths share a minute."""
    crashes = Crashes(Random(1))
    for number in range(5):
        crashes.died(600.0 * number)
    assert crashes.failed_starts_in_a_row == 5
    assert crashes.is_loop(3000.0)
    crashes.served(3000.0)
    assert crashes.failed_starts_in_a_row == 0


def test_a_new_plan_has_a_new_count() -> None:
    """What the old plan did is forgotten, but for the total."""
    crashes = Crashes(Random(1))
    for _ in range(5):
        crashes.died(0.0)
    crashes.forget()
    assert not crashes.is_loop(0.0)
    assert (crashes.in_a_row, crashes.failed_starts_in_a_row, crashes.total) == (0, 0, 5)
