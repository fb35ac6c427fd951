"""Which lines are written for which events, and that every observer hears every event."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from gateway.events import (
    ConfigReloaded,
    Event,
    ObserverFailed,
    RequestDispatched,
    RequestFinished,
    RequestQueued,
    TokensUnmetered,
    UsageCapped,
    WindowDegraded,
    WorkerChanged,
    WorkerRemarked,
    WorkerStalled,
    WorkerWrote,
)
from gateway.outcomes import Outcome
from gateway.telemetry.observers import LogObserver, Observers
from gateway.workers import DRAINING, CircuitState

Finished = Callable[..., RequestFinished]

FAULTS = {Outcome.INTERNAL, Outcome.GATEWAY_EXHAUSTED}
TROUBLE = {
    Outcome.QUARANTINED,
    Outcome.NO_WORKER,
    Outcome.NO_ROOM,
    Outcome.NO_STORE,
    Outcome.NO_LEDGER,
    Outcome.WORKER_FAILED,
    Outcome.FIRST_BYTE_TIMEOUT,
    Outcome.WORKER_LOST_STREAMING,
    Outcome.WORKER_STALLED,
    Outcome.CUT_BY_SHUTDOWN,
}
WELL_STATES = {"serving", "on_trial", "draining", "loading", "ready", "stopped"}
TROUBLED_STATES = {"doubted", "down", "unhealthy", "back_off", "failed"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Written(CapturingLogger):
    """Records lines for a test."""

    def write(self, level: int, event: str, fields: dict[str, object]) -> None:
        getattr(self, logging.getLevelName(level).lower())(event, **fields)


@pytest.fixture
def logger() -> CapturingLogger:
    return Written()


@pytest.fixture
def observer(logger: CapturingLogger, clock: Clock) -> LogObserver:
    return LogObserver(logger, clock)


class Deaf:
    """An observer that fails at every event, even at that of its own failure."""

    def observe(self, event: Event) -> None:
        raise ValueError("lone \ud800 surrogate")


def test_an_observer_that_fails_keeps_nothing_from_the_others(finished: Finished, logger: CapturingLogger) -> None:
    """The observers before and after it get the event; its failure becomes an event with one line, without its text."""
    heard: list[Event] = []

    class Listener:
        def observe(self, event: Event) -> None:
            heard.append(event)

    observers = Observers([Listener(), Deaf(), LogObserver(logger), Deaf(), Listener()])
    observers.observe(finished())
    assert sum(isinstance(event, RequestFinished) for event in heard) == 2
    assert ObserverFailed("Deaf", "RequestFinished", "ValueError") in heard
    logged = [call.kwargs for call in logger.calls if call.args == ("observer failed",)]
    assert logged == [{"observer": "Deaf", "at": "RequestFinished", "error": "ValueError"}] * 2


def test_failures_of_observers_do_not_fill_a_disk(logger: CapturingLogger, clock: Clock) -> None:
    """A stranger may cause the event at which an observer fails, so these lines share the strangers' budget."""
    observer = LogObserver(logger, clock)
    for _ in range(1000):
        observer.observe(ObserverFailed("Metrics", "RequestFinished", "OverflowError"))
    assert 0 < len(logger.calls) < 200


class Listener:
    """Notes in `heard` under its name what it hears."""

    def __init__(self, name: str, heard: list[tuple[str, Event]]) -> None:
        self.name = name
        self.heard = heard

    def observe(self, event: Event) -> None:
        """Note `event`."""
        self.heard.append((self.name, event))


def test_every_observer_hears_every_event_in_order(finished: Finished) -> None:
    """The fan-out passes the same record to each, first come first."""
    heard: list[tuple[str, Event]] = []

    observers = Observers([Listener("a", heard), Listener("b", heard)])
    events = [RequestQueued("r1", "alice", "tiny"), finished()]
    for event in events:
        observers.observe(event)
    assert heard == [("a", events[0]), ("b", events[0]), ("a", events[1]), ("b", events[1])]


def test_only_the_observers_of_steps_hear_of_them(finished: Finished) -> None:
    """Only the observers named for it get that a request is queued or dispatched; all get that it has ended."""
    heard: list[tuple[str, Event]] = []

    first, second = Listener("a", heard), Listener("b", heard)
    observers = Observers([first, second], of_steps=[second])
    steps = [RequestQueued("r1", "alice", "tiny"), RequestDispatched("r1", "alice", "tiny", "w0", 0.25)]
    end = finished()
    for event in (*steps, end):
        observers.observe(event)
    assert heard == [("b", steps[0]), ("b", steps[1]), ("a", end), ("b", end)]


def test_a_request_is_one_line_with_everything_known(
    observer: LogObserver, logger: CapturingLogger, finished: Finished
) -> None:
    """Queueing and dispatch write no line; the end writes all fields, with times to the microsecond."""
    observer.observe(RequestQueued("r1", "alice", "tiny"))
    observer.observe(RequestDispatched("r1", "alice", "tiny", "w0", 0.25))
    observer.observe(finished(ttft_seconds=0.12345678, detail="retried once"))
    (call,) = logger.calls
    assert (call.method_name, call.args) == ("info", ("request",))
    assert call.kwargs == {
        "outcome": "completed",
        "request_id": "r1",
        "endpoint": "/v1/chat/completions",
        "tenant": "alice",
        "key_id": "laptop",
        "pool": "tiny",
        "model": "tiny",
        "worker": "w0",
        "status": 200,
        "streamed": True,
        "attempts": 1,
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "output_tokens": 25,
        "service": 150.0,
        "queue_wait_seconds": 0.25,
        "ttft_seconds": 0.123457,
        "inter_token_seconds": 0.02,
        "longest_gap_seconds": 0.09,
        "gateway_seconds": 0.0004,
        "duration_seconds": 0.9,
        "detail": "retried once",
    }


def test_what_is_not_known_is_left_out(observer: LogObserver, logger: CapturingLogger, refused: Finished) -> None:
    """A refused request's line has no empty fields, but keeps its zeros."""
    observer.observe(refused())
    (call,) = logger.calls
    assert call.kwargs == {
        "outcome": "unauthenticated",
        "request_id": "r1",
        "endpoint": "/v1/chat/completions",
        "status": 401,
        "streamed": False,
        "attempts": 0,
        "prompt_tokens": 0,
        "cached_tokens": 0,
        "output_tokens": 0,
        "service": 0.0,
        "duration_seconds": 0.001,
    }


@pytest.mark.parametrize("outcome", Outcome)
def test_the_level_tells_whose_fault_it_is(
    observer: LogObserver, logger: CapturingLogger, finished: Finished, outcome: Outcome
) -> None:
    """Lines are INFO for clients' faults and refusals, WARNING for trouble with workers, ERROR for our own faults."""
    observer.observe(finished(outcome=outcome, status=outcome.wire_form.status))
    expected = "error" if outcome in FAULTS else "warning" if outcome in TROUBLE else "info"
    assert [call.method_name for call in logger.calls] == [expected]


@pytest.mark.parametrize(
    ("event", "level"),
    [
        *((WorkerChanged("tiny", "w0", state, "so"), "info") for state in WELL_STATES),
        *((WorkerChanged("tiny", "w0", state, "so"), "warning") for state in TROUBLED_STATES),
        (WorkerStalled("tiny", "w0", True, "no progress"), "warning"),
        (WorkerStalled("tiny", "w0", False, "it moves again"), "info"),
        (WindowDegraded("tiny", "w0", "no metrics"), "warning"),
        (WindowDegraded("tiny", "w0", ""), "info"),
        (TokensUnmetered("tiny", "w0", 0.2), "warning"),
        (TokensUnmetered("tiny", "w0", 0.0), "info"),
        (WorkerRemarked("tiny", "w0", "has not served yet"), "warning"),
        (UsageCapped("r1", "tiny", "w0", 1, 2), "warning"),
    ],
)
def test_trouble_is_a_warning_and_its_end_is_not(
    observer: LogObserver, logger: CapturingLogger, event: Event, level: str
) -> None:
    """The line for a worker that comes back, moves again or is tuned again has the level INFO."""
    observer.observe(event)
    assert [call.method_name for call in logger.calls] == [level]


def test_every_state_that_is_shown_has_a_level() -> None:
    """The states are those of a worker with a `url`, and those of the supervisor in docs/operations.md."""
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    table = page.split("## Workers that the gateway starts", 1)[1].split("\n## ", 1)[0]
    launched = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert len(launched) == 7
    shown = launched | {DRAINING} | {state.value for state in CircuitState} - {CircuitState.STARTING.value}
    assert shown == WELL_STATES | TROUBLED_STATES


def test_a_strangers_words_are_cut_short(observer: LogObserver, logger: CapturingLogger, refused: Finished) -> None:
    """A path or a model name of megabytes takes two hundred characters of the log."""
    observer.observe(refused(endpoint="/" + "x" * 1_000_000, model="y" * 1_000_000))
    (call,) = logger.calls
    assert call.kwargs["endpoint"] == "/" + "x" * 199
    assert call.kwargs["model"] == "y" * 200


def test_strangers_share_a_budget_and_tenants_have_none(
    observer: LogObserver, logger: CapturingLogger, clock: Clock, finished: Finished, refused: Finished
) -> None:
    """A thousand requests without a key write a hundred lines; every line of a tenant is written meanwhile."""
    for _ in range(1000):
        observer.observe(refused())
        observer.observe(finished())
    tenants = [call.kwargs.get("tenant") for call in logger.calls]
    assert tenants.count(None) == 100
    assert tenants.count("alice") == 1000
    clock.now = 1.0
    observer.observe(refused())
    assert logger.calls[-1].kwargs["suppressed"] == 900


def test_a_workers_change_says_why(observer: LogObserver, logger: CapturingLogger) -> None:
    """The line names the worker, its new state and the reason."""
    observer.observe(WorkerChanged("tiny", "w0", "down", "connect refused"))
    (call,) = logger.calls
    assert (call.method_name, call.args) == ("warning", ("worker",))
    assert call.kwargs == {"pool": "tiny", "worker": "w0", "state": "down", "reason": "connect refused"}


def test_a_launched_workers_lines_are_passed_on(observer: LogObserver, logger: CapturingLogger) -> None:
    """What an engine writes is in the log with its name."""
    observer.observe(WorkerWrote("tiny/w0", "loading weights 50 %"))
    (call,) = logger.calls
    assert (call.method_name, call.args) == ("info", ("worker output",))
    assert call.kwargs == {"worker": "tiny/w0", "line": "loading weights 50 %"}


def test_reloads_are_reported_with_their_differences_or_faults(observer: LogObserver, logger: CapturingLogger) -> None:
    """An applied file says what changed and what waits for a restart, a rejected one all its faults."""
    observer.observe(ConfigReloaded("c.yaml", (), ("alice: weight 1 -> 2",), ("listen.port 1 -> 2",)))
    observer.observe(ConfigReloaded("c.yaml", ("c.yaml:3: weight: not a number",), (), ()))
    applied, rejected = logger.calls
    assert (applied.method_name, applied.args) == ("info", ("configuration applied",))
    assert applied.kwargs == {
        "path": "c.yaml",
        "changes": ["alice: weight 1 -> 2"],
        "needs_restart": ["listen.port 1 -> 2"],
    }
    assert (rejected.method_name, rejected.args) == ("error", ("configuration rejected",))
    assert rejected.kwargs == {"path": "c.yaml", "faults": ["c.yaml:3: weight: not a number"]}
