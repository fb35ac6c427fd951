"""Steps are counted where an engine tells them; in between it goes on as it did, and idle it makes none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness.cadence import CURRENT_SECONDS, Cadence

PACE = 100.0


def paced() -> Cadence:
    """A worker that has something in flight since 0, counted at 1 and at 2."""
    cadence = Cadence()
    cadence.begin(0.0)
    cadence.count(PACE, 1.0)
    cadence.count(2 * PACE, 2.0)
    return cadence


def test_what_was_counted_is_exact_and_what_follows_goes_at_the_pace() -> None:
    """An engine that becomes slower is charged its pace of before until the next count."""
    cadence = paced()
    mark = cadence.mark(2.0)
    assert mark.steps_since(2.5) == pytest.approx(50)
    cadence.count(2 * PACE + 30, 3.0)
    assert mark.steps_since(3.0) == pytest.approx(30)
    assert mark.steps_since(4.0) == pytest.approx(60)


def test_a_moment_between_counts_lies_rather_late() -> None:
    """Between two counts nobody knows when the engine was fast, so the estimate errs on the late side."""
    cadence = paced()
    mark = cadence.mark(2.5)
    cadence.count(2 * PACE + 60, 3.0)
    assert mark.steps_since(3.0) == pytest.approx(10)
    mark = cadence.mark(3.5)
    cadence.count(2 * PACE + 260, 4.0)
    assert mark.steps_since(4.0) == pytest.approx(100)


def test_an_idle_engine_makes_no_steps() -> None:
    """An idle engine makes no steps, however long it is idle."""
    cadence = paced()
    cadence.end(2.0)
    assert cadence.is_idle
    cadence.begin(4.0)
    mark = cadence.mark(4.0)
    assert mark.steps_since(4.2) == pytest.approx(20)
    cadence.count(2 * PACE + 50, 4.5)
    assert mark.steps_since(4.5) == pytest.approx(50)


def test_what_a_worker_does_between_our_requests_is_no_pace() -> None:
    """Ours took a tenth of the time in which it made a thousand steps."""
    cadence = Cadence()
    for second in range(20):
        cadence.begin(second)
        cadence.count(1000.0 * second, second + 0.05)
        cadence.end(second + 0.1)
    assert cadence.pace is None


def test_a_prompt_is_read_in_a_step_of_its_own_until_a_count_says_better() -> None:
    """Its time gives no steps; a count that follows holds whatever was made."""
    cadence = paced()
    mark = cadence.mark(2.0)
    assert mark.steps_since(2.2, 0.3) == 0
    assert mark.steps_since(2.5, 0.3) == pytest.approx(20)
    cadence.count(2 * PACE + 71, 3.0)
    assert mark.steps_since(3.0, 0.3) == pytest.approx(71)


@pytest.mark.parametrize("story", ["no count", "one count", "no counter", "begun again", "old"])
def test_nothing_is_known_without_two_current_counts(story: str) -> None:
    """Nothing is known either if the engine began again or stops reporting."""
    cadence = Cadence() if story.endswith("count") else paced()
    if cadence.is_idle:
        cadence.begin(0.0)
    mark = cadence.mark(2.0)
    at = 3.0
    match story:
        case "one count":
            cadence.count(50.0, 2.5)
        case "no counter":
            cadence.count(None, 2.5)
        case "begun again":
            cadence.count(3.0, 2.5)
        case "old":
            at += CURRENT_SECONDS
    assert mark.steps_since(at) is None


@given(
    st.floats(20, 400),
    st.lists(st.tuples(st.floats(0.25, 0.6), st.floats(0, 1)), min_size=3, max_size=12),
    st.integers(1, 8),
    st.floats(0, 1),
)
def test_a_steady_engine_is_known_to_the_step(
    pace: float, readings: list[tuple[float, float]], ahead: int, part: float
) -> None:
    """Whenever it is read, a mark set anywhere and asked at any time is never a step more off than a count can be."""
    cadence, now, mark, marked_at = Cadence(), 0.0, None, 0.0
    cadence.begin(now)
    for number, (pause, share) in enumerate(readings):
        if number == ahead % len(readings):
            marked_at = now + share * pause
            mark = cadence.mark(marked_at)
        now += pause
        cadence.count(int(pace * now), now)
    until = now + 0.5 * part
    if mark is None or (steps := mark.steps_since(until)) is None:
        return
    drift = 1 / 0.3 * 0.6 + 1 / 0.3 * 0.5  # a step more or less in the shortest time that gives a pace
    assert steps == pytest.approx(pace * (until - marked_at), abs=2 + drift)
