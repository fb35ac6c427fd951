"""Reminders decide when the log repeats trouble that lasts."""

from collections.abc import Iterator
from itertools import pairwise

from gateway.watch.reminders import (
    CHANGED_PAUSE_SECONDS,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Reminders,
)

DAY_SECONDS = 86_400
URL = "http://127.0.0.1:8101"


def said_at(reminders: Reminders, words: Iterator[str], seconds: int, url: str = URL) -> list[int]:
    """The seconds in which a worker's trouble is reported if it is checked once a second."""
    return [now for now in range(seconds) if reminders.is_due("w0", url, next(words), float(now))]


def same(text: str) -> Iterator[str]:
    """Always `text`."""
    while True:
        yield text


def alternating() -> Iterator[str]:
    """Two texts in turn."""
    while True:
        yield "refused"
        yield "silent"


def test_it_is_said_at_once_and_then_at_growing_intervals_up_to_the_longest() -> None:
    """Each pause is twice the one before, the last ones are all the longest."""
    times = said_at(Reminders(), same("refused"), DAY_SECONDS)
    pauses = [after - before for before, after in pairwise(times)]
    assert times[0] == 0
    assert pauses[:5] == [FIRST_PAUSE_SECONDS * 2**n for n in range(5)]
    assert set(pauses[5:]) == {LONGEST_PAUSE_SECONDS}
    assert len(pauses) > DAY_SECONDS / LONGEST_PAUSE_SECONDS - 5


def test_another_reason_is_said_earlier_but_never_at_once() -> None:
    """Words that change each second write no line each second."""
    reminders = Reminders()
    assert said_at(reminders, same("refused"), 5) == [0]
    assert not reminders.is_due("w0", URL, "silent", CHANGED_PAUSE_SECONDS - 1)
    assert reminders.is_due("w0", URL, "silent", CHANGED_PAUSE_SECONDS)
    times = said_at(Reminders(), alternating(), DAY_SECONDS)
    assert min(after - before for before, after in pairwise(times)) >= CHANGED_PAUSE_SECONDS


def test_what_another_line_has_said_is_said_after_the_first_pause() -> None:
    """The first pause applies whatever the next words are."""
    reminders = Reminders()
    reminders.begin("w0", URL, 0.0)
    assert said_at(reminders, alternating(), int(FIRST_PAUSE_SECONDS) + 1) == [FIRST_PAUSE_SECONDS]


def test_new_trouble_is_said_at_once() -> None:
    """This holds after an end, and for another engine under the same name."""
    reminders = Reminders()
    assert reminders.is_due("w0", URL, "refused", 0.0)
    reminders.end("w0")
    assert reminders.is_due("w0", URL, "refused", 1.0)
    assert reminders.is_due("w0", "http://127.0.0.1:8102", "refused", 2.0)
    assert reminders.age_seconds("w0", 5.0) == 3.0


def test_workers_that_are_gone_are_forgotten() -> None:
    """Reminders keep only workers that are there."""
    reminders = Reminders()
    for name in ("w0", "w1"):
        reminders.begin(name, URL, 0.0)
    reminders.keep({"w1"})
    assert (reminders.age_seconds("w0", 9.0), reminders.age_seconds("w1", 9.0)) == (0.0, 9.0)
