"""What a reading shows of sequences that no living replica uses, and when that is believed."""

from gateway.replicas.call import Reply, WorkerState
from gateway.replicas.script import Status
from gateway.replicas.strangers import Count, Strangers

from .fleet import Fleet, Flood

WINDOW = 33
ASKED_AT = 100  # by the store's clock
CALL = 7  # the last one before the reading


def state(held: int, idle: int = 0, ended: int = 0, ghosts: int = 0, strangers: int = 0) -> WorkerState:
    """What the store says of a worker that was counted before."""
    return WorkerState("w", WINDOW, 0, 0, 0, held, 0, 0, idle, 0, ended, ghosts, strangers)


def uncounted(held: int, ended: int = 0) -> WorkerState:
    """What a store says that has lost what it knew."""
    return state(held, ended=ended)._replace(is_uncounted=True)


def reply(state: WorkerState, now: int, oldest: int, living: int = 2) -> Reply:
    """The answer to a call at the store's time `now`; each has reported at `oldest` or later."""
    return Reply(Status.OK, "generation", 1, now, living=living, oldest=oldest, workers=[state])


def shown(there: int, before: WorkerState, after: WorkerState | None = None, living: int = 2) -> int | None:
    """The room to leave to strangers by one reading, after which all have reported."""
    strangers = Strangers()
    strangers.read(there, before, ASKED_AT, CALL)
    strangers.answered(CALL + 1, reply(after or before, 200, 200, living), after or before)
    count = strangers.take()
    return None if count is None else count.strangers


def test_old_counts_mean_nothing_in_ordinary_life() -> None:
    """What the living use is a little more or less than they said, and nobody has to report first."""
    strangers = Strangers()
    strangers.read(WINDOW, state(WINDOW, idle=4), ASKED_AT, CALL)
    assert strangers.take() == Count("w", ASKED_AT, 0)


def test_what_a_store_that_began_anew_does_not_know_counts() -> None:
    """A store that lost everything knows of no ghost, and yet somebody may be cut off from it."""
    assert shown(WINDOW, uncounted(13)) == 20


def test_ghosts_are_followed_by_what_runs_of_them() -> None:
    """What is in use is held and not idle."""
    assert shown(WINDOW, state(22, idle=1, ghosts=20)) == 12


def test_answers_that_have_just_ended_hide_nobody() -> None:
    """Five of the living ended before the reading, and no report had said so: all five strangers count."""
    assert shown(22, uncounted(22), uncounted(22, ended=5)) == 5 + 11 // 3
    assert shown(WINDOW, state(WINDOW, strangers=8), state(WINDOW, ended=5, strangers=8)) == 5


def test_nobody_is_added_who_was_none_before() -> None:
    """Answers that ended after the reading look like strangers: never more than the store has left room to."""
    assert shown(WINDOW, state(30, ghosts=1), state(30, ended=9, ghosts=1)) == 1
    assert shown(WINDOW, state(30, strangers=3), state(30, ended=9, strangers=3)) == 3
    assert shown(WINDOW, state(WINDOW, ghosts=4), state(WINDOW, ghosts=4)) == 0


def test_a_reading_counts_when_all_have_reported_after_it() -> None:
    """The answer to a call that was under way does not: others may have reported before the reading."""
    strangers, known = Strangers(), uncounted(13)
    strangers.read(WINDOW, known, ASKED_AT, CALL)
    for call, now, oldest in ((CALL, 110, 110), (CALL + 1, 150, 149), (CALL + 2, 190, 149)):
        strangers.answered(call, reply(known, now, oldest), known)
        assert strangers.take() is None
        strangers.read(WINDOW - 1, known, ASKED_AT + 50, call)  # the one that waits goes first
    strangers.answered(CALL + 3, reply(known, 200, 150), known)
    strangers.read(WINDOW - 1, known, ASKED_AT + 100, CALL + 3)
    assert strangers.take() == Count("w", ASKED_AT, 20)
    assert strangers.take() is None


def test_a_replica_that_is_cut_off_gets_its_part_of_free_room() -> None:
    """It sees the same room free, and takes one part of as many as there are with it."""
    assert shown(13, uncounted(8), living=3) == 5 + 20 // 4


def test_without_metrics_the_dead_hold_their_room_for_a_minute() -> None:
    """Nobody can tell whether their requests have ended; then each slot is used again."""
    fleet = Fleet(2, window=8, has_metrics=False)
    fleet.floods = [Flood(0, "a"), Flood(1, "b")]
    fleet.at(5.0, lambda: fleet.crash(1))
    fleet.run(64.0)
    assert sum(ghost.sequences for ghost in fleet.store.ghosts) > 0
    fleet.run(4.0)
    fleet.restart_books()
    fleet.run(5.0)
    assert fleet.books.idle == 0
    assert fleet.books.beyond <= 0
