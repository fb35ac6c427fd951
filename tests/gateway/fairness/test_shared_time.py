"""The time of a worker, divided among what is there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness.running import Running
from gateway.fairness.shared_time import SharedTime
from gateway.fairness.ticket import Ticket


def test_two_requests_share_the_time_in_which_both_are_there() -> None:
    """One is alone for 2 s, both are there for 4 s, one is alone for 1 s; a request of 3 sequences counts thrice."""
    time = SharedTime(10.0)
    first = time.enter(1, 12.0)
    second = time.enter(3, 14.0)
    assert time.leave(1, first, 18.0) == 2.0 + 4.0 / 4
    assert time.leave(3, second, 19.0) == pytest.approx(4.0 * 3 / 4 + 1.0)
    assert (time.busy_seconds, time.idle_seconds) == (7.0, 2.0)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 8), st.floats(0, 100)), max_size=60))
def test_shares_and_idle_time_add_up_to_the_time(steps: list[tuple[bool, int, float]]) -> None:
    """Whoever comes and goes: nothing is counted twice and nothing is missing, to the microsecond."""
    time, now, shares = SharedTime(0.0), 0.0, 0.0
    there: list[tuple[int, float]] = []
    for comes, sequences, passes in steps:
        now += passes
        if comes or not there:
            there.append((sequences, time.enter(sequences, now)))
        else:
            shares += time.leave(*there.pop(sequences % len(there)), now)
    shares += sum(time.share(*one, now) for one in there)
    assert shares == pytest.approx(time.busy_seconds, abs=1e-6)
    assert time.busy_seconds + time.idle_seconds == pytest.approx(now, abs=1e-6)


def test_a_request_has_the_time_of_all_its_attempts() -> None:
    """A worker that broke is paid for by nobody else."""
    running, ticket = Running(), Ticket("r1", "alice", "key", "tiny")
    ticket.worker = "w0"
    running.begin(ticket, 1.0)
    running.end(ticket, 3.0)
    ticket.worker = "w1"
    running.begin(ticket, 5.0)
    assert running.worker_seconds(ticket, 6.0) == 3.0
    running.end(ticket, 7.0)
    assert ticket.worker_seconds == running.worker_seconds(ticket, 9.0) == 4.0


def test_a_worker_that_is_gone_is_forgotten() -> None:
    """If it comes back, its absence is no idle time; one where a request runs is not gone."""
    running, ticket = Running(), Ticket("r1", "alice", "key", "tiny")
    running.time_of("w0", 0.0)
    ticket.worker = "w1"
    running.begin(ticket, 1.0)
    running.forget("w0")
    with pytest.raises(AssertionError, match="w1"):
        running.forget("w1")
    times = dict(running.times(3.0))
    assert list(times) == ["w1"]
    assert running.time_of("w0", 5.0).idle_seconds == 0.0
