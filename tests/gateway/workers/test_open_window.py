"""The window before an engine that orders its own queue: whatever that engine says, nothing is held back."""

import pytest

from gateway.fairness import Ticket
from gateway.workers import EngineFacts, EngineSample, Fleet, Signal, WindowSize, WorkerSpec, open_window


def fleet_of(size: WindowSize) -> Fleet:
    """One worker that serves and has said that its cache is tiny."""
    fleet = Fleet()
    fleet.configure(WorkerSpec("w", "pool", "http://w", size))
    fleet.signal("w", Signal.PROBE_OK)
    fleet.learn("w", EngineFacts(kv_tokens=800))
    return fleet


def taken(fleet: Fleet, requests: int) -> int:
    """How many of `requests` of 100 tokens in and out find room, with metrics that show a long queue meanwhile."""
    for number in range(requests):
        ticket = Ticket(str(number), "alice", "key", "pool").sized(
            sequences=1, prompt_tokens=100, max_output_tokens=100, reports_at_end=False
        )
        if fleet.take(ticket) is None:
            return number
        fleet.observe("w", EngineSample(number, min(number, 4), max(0, number - 4), kv_usage=0.99), number)
    return requests


def test_an_open_window_is_held_back_by_nothing() -> None:
    """Neither by what waits in the engine nor by its memory; what the operator bounds is bounded."""
    assert taken(fleet_of(open_window(None, 1, None)), 500) == 500
    assert taken(fleet_of(open_window(4, 60, None)), 500) == 64
    assert taken(fleet_of(open_window(None, 1, 2000)), 500) == 20


@pytest.mark.parametrize("size", [WindowSize(None, 1, None), WindowSize(100, 1, None), WindowSize(100, 60, 1_000_000)])
def test_any_other_window_follows_its_engine(size: WindowSize) -> None:
    """The control: of the same requests most would stay in the gateway's own queue."""
    assert taken(fleet_of(size), 500) < 64
