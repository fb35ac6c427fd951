"""What a reading shows of sequences that no living replica uses, and when that is believed."""

from gateway.replicas.call import WorkerState
from gateway.replicas.strangers import LAG_SEQUENCES, READINGS, Strangers

from .fleet import Fleet, Flood

WINDOW = 33


def worker(held: int, idle: int = 0, ghosts: int = 0, strangers: int = 0) -> WorkerState:
    """The store's answer."""
    return WorkerState("w", WINDOW, 0, 0, 0, held, 0, 0, idle, 0, ghosts, strangers)


def in_ordinary_life() -> Strangers:
    """A watch that has ended: three readings of a new generation showed none."""
    strangers = Strangers()
    assert [strangers.read(WINDOW, worker(WINDOW), 3) for _ in range(READINGS)] == [0] * READINGS
    return strangers


def test_old_counts_mean_nothing_in_ordinary_life() -> None:
    """What the living use is a little more or less than they said."""
    assert in_ordinary_life().read(WINDOW, worker(WINDOW, idle=4), 3) == 0


def test_a_new_generation_is_watched() -> None:
    """A store that lost everything knows of no ghost, and yet somebody may be cut off from it."""
    assert Strangers().read(WINDOW, worker(13), 2) == 20


def test_ghosts_are_followed_by_what_runs_of_them() -> None:
    """What is in use is held and not idle; the first reading may have missed some that are being replaced."""
    strangers = in_ordinary_life()
    assert strangers.read(WINDOW, worker(22, idle=1, ghosts=20), 2) == 12 + LAG_SEQUENCES
    assert strangers.read(WINDOW, worker(21, idle=0), 2) == 12 + LAG_SEQUENCES


def test_ghosts_that_are_gone_cost_little() -> None:
    """A crash ends the streams: a few places are kept for three readings, then none."""
    strangers = in_ordinary_life()
    full = [strangers.read(WINDOW, worker(WINDOW, ghosts=ghosts), 2) for ghosts in (11, 0, 0)]
    assert full == [LAG_SEQUENCES] * READINGS
    assert strangers.read(WINDOW, worker(WINDOW), 2) == 0
    assert strangers.read(WINDOW, worker(WINDOW, idle=4), 2) == 0


def test_never_more_than_the_ghosts_are_added() -> None:
    """One ghost, of which nothing is seen, counts one."""
    assert in_ordinary_life().read(WINDOW, worker(WINDOW, ghosts=1), 2) == 1


def test_one_reading_does_not_hide_them() -> None:
    """Sequences that have just ended and are being replaced hide as many strangers for a moment."""
    strangers = Strangers()
    assert [strangers.read(there, worker(28), 2) for there in (33, 33, 29, 33)] == [5, 5, 5 + 1, 5]


def test_a_successor_goes_on() -> None:
    """Another tuner sees in the store what was left out, and watches too."""
    assert in_ordinary_life().read(WINDOW, worker(30, strangers=3), 2) == 3


def test_a_replica_that_is_cut_off_gets_its_part_of_free_room() -> None:
    """It sees the same room free, and takes one part of as many as there are with it."""
    assert Strangers().read(13, worker(8), 3) == 5 + 20 // 4


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
