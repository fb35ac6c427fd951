"""What a replica may have in use without the store follows from readings of the engine alone."""

import pytest

from gateway.replicas.outage import GLIDE_READINGS, Outage

WINDOW = 33


@pytest.mark.parametrize(
    ("living", "there", "used", "limit"),
    [
        (3, 0, 0, 11),  # all is free: a third of it
        (3, 24, 12, 15),  # six or more are free: a third of them, whatever is in use
        (3, 29, 5, 6),  # less: a third of it, up to the equal part of 11
        (3, 33, 5, 5),
        (3, 30, 11, 11),
        (3, 40, 5, 5),  # more there than the window
        (1, 20, 20, 33),
    ],
)
def test_a_reading_allows_a_part_of_what_is_free(living: int, there: int, used: int, limit: int) -> None:
    """One n-th of what is free; if little is free, up to the equal part only."""
    outage = Outage(0.0, living)
    assert outage.limit("w") == 0
    for _ in range(2):
        outage.read("w", WINDOW, there, used, is_leased=False)
    assert outage.limit("w") == limit


def test_a_reading_between_an_answer_and_the_next_request_allows_nothing() -> None:
    """Of the others' sequences the larger of two readings counts; before there are two, nothing may grow."""
    outage, seen = Outage(0.0, 3), []
    for there in (5, 29, 5, 29):
        outage.read("w", WINDOW, there, 5, is_leased=False)
        seen.append(outage.limit("w"))
    assert seen == [5, 6, 6, 6]


def test_in_the_lease_nobody_comes_down() -> None:
    """Who has more than its part may refill what it frees; the steps down begin with the first reading afterwards."""
    outage, seen = Outage(0.0, 3), []
    for is_leased in (True, True, False, False):
        outage.read("w", WINDOW, WINDOW, 31, is_leased=is_leased)
        seen.append(outage.limit("w"))
    assert seen == [31, 31, 30, 29]


def test_who_stood_still_begins_with_new_readings() -> None:
    """What was read before allows nothing, and the first new reading allows no growth."""
    outage = Outage(0.0, 3)
    for _ in range(2):
        outage.read("w", WINDOW, 24, 12, is_leased=False)
    outage.forget()
    assert outage.limit("w") == 0
    outage.read("w", WINDOW, 0, 0, is_leased=False)
    assert outage.limit("w") == 0


def test_what_nobody_used_is_void_with_the_next_reading() -> None:
    """An allowance does not add up over readings."""
    outage = Outage(0.0, 3)
    for _ in range(5):
        outage.read("w", WINDOW, 29, 5, is_leased=False)
    assert outage.limit("w") == 6


def test_who_has_more_than_its_part_comes_down_step_by_step() -> None:
    """In `GLIDE_READINGS` readings it is down at its equal part, and no reading lets it up again."""
    outage, used, seen = Outage(0.0, 3), 31, []
    for _ in range(GLIDE_READINGS + 1):
        outage.read("w", WINDOW, WINDOW, used, is_leased=False)
        used = min(used, outage.limit("w"))
        seen.append(used)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == 30
    assert seen[-1] == 11


def test_the_lease_has_an_end() -> None:
    """Until it ends the store counts what the replica holds."""
    outage = Outage(7.0, 3)
    assert outage.has_lease(6.999)
    assert not outage.has_lease(7.0)
