"""Passes the gateway's events to its observers; one of them writes log lines.

There is one line for each request that ended, each change of a worker or of the gateway itself, each line that a
launched worker writes, and each reload of the configuration. INFO means that something went well, or that the gateway
refused something by its rules. WARNING means trouble with which the gateway goes on. ERROR means that the gateway
itself failed.
Lines contain names from the configuration, numbers, our own words and the engine's. Strangers can write only a few
fields (an unknown model, an unknown path), which are cut short. Requests without a tenant share a `LineBudget`, so that
no stranger can fill a disk.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from logging import ERROR, INFO, WARNING
from time import monotonic
from typing import Any, Final, Protocol

from gateway.events import (
    BudgetThreshold,
    ConfigReloaded,
    Event,
    LifeChanged,
    Observer,
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
from gateway.telemetry.budget import LineBudget

_STRANGER_LINES_PER_SECOND: Final = 10.0
_STRANGER_BURST: Final = 100
_MAX_TEXT: Final = 200
_USED_UP_PERCENT: Final = 100
_DIGITS: Final = 6
# A float near 1.5 * 2^52 has no bits for a fraction: adding and subtracting it rounds half to even, as `round` does at
# several times the cost. This holds up to `_MOST_ROUNDED`.
_ROUNDING: Final = 1.5 * 2.0**52
_MOST_ROUNDED: Final = 2.0**51 / 1e6

UNTOLD: Final = frozenset({"choices", "end_user_name"})  # for the ledger; a log names no end user plainly
_FIELDS: Final = tuple((place, name) for place, name in enumerate(RequestFinished._fields) if name not in UNTOLD)

_FAULTS: Final = frozenset({Outcome.INTERNAL, Outcome.GATEWAY_EXHAUSTED})
_TROUBLE: Final = frozenset(
    {
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
)
_WELL_STATES: Final = frozenset({"serving", "on_trial", "draining", "loading", "ready", "stopped"})


class _WriteLine(Protocol):
    def __call__(self, event: str, **fields: object) -> None: ...


class LineLogger(Protocol):
    """Writes a line of an event's name and its fields; `write` may add to `fields`, which it does not copy."""

    def write(self, level: int, event: str, fields: dict[str, object]) -> None:
        """Write a line of `level`, one of logging's."""
        ...

    def info(self, event: str, **fields: object) -> None:
        """Write a line about something ordinary."""
        ...

    def warning(self, event: str, **fields: object) -> None:
        """Write a line that somebody may have to act on."""
        ...

    def error(self, event: str, **fields: object) -> None:
        """Write a line of a fault of the gateway's own."""
        ...


class Observers:
    """Passes every event to each observer in order; if one raises, the others and the caller do not notice.

    The failure becomes an event, which only the other observers get.
    """

    def __init__(self, observers: Sequence[Observer], *, of_steps: Sequence[Observer] | None = None) -> None:
        """`of_steps` are those of `observers` that also hear that a request is queued and dispatched; None: all."""
        self._observers = tuple(observers)
        self._of_steps = self._observers if of_steps is None else tuple(of_steps)

    def add(self, observer: Observer) -> None:
        """Let `observer` hear from now on what happens, besides the steps of requests."""
        self._observers = (*self._observers, observer)

    def observe(self, event: Event) -> None:
        """Pass `event` on."""
        is_step = isinstance(event, (RequestQueued, RequestDispatched))
        for observer in self._of_steps if is_step else self._observers:
            try:
                observer.observe(event)
            except Exception as error:
                self._report_failure(observer, event, error)

    def _report_failure(self, failed: Observer, event: Event, error: Exception) -> None:
        failure = ObserverFailed(type(failed).__name__, type(event).__name__, type(error).__name__)
        for observer in self._observers:
            if observer is not failed:
                with suppress(Exception):  # an observer that fails at everything was reported before
                    observer.observe(failure)


class LogObserver:
    """Writes the lines; `clock` (seconds, any origin) feeds the budget of requests without a tenant."""

    def __init__(self, logger: LineLogger, clock: Callable[[], float] = monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._strangers = LineBudget(_STRANGER_LINES_PER_SECOND, _STRANGER_BURST)

    def observe(self, event: Event) -> None:  # noqa: C901 - a table of the events
        """Write the line of an event that has one."""
        match event:
            case RequestFinished():
                self._write_request(event)
            case RequestQueued() | RequestDispatched():
                pass  # the line at the request's end shows it
            case WorkerChanged():
                write = self._write_at(is_well=event.state in _WELL_STATES)
                write("worker", pool=event.pool, worker=event.worker, state=event.state, reason=event.reason)
            case WorkerRemarked():
                self._logger.warning("worker remark", pool=event.pool, worker=event.worker, remark=event.remark)
            case WorkerStalled():
                words = "worker stalled" if event.is_stalled else "worker no longer stalled"
                write = self._write_at(is_well=not event.is_stalled)
                write(words, pool=event.pool, worker=event.worker, reason=event.reason)
            case WindowDegraded():
                words = "worker window degraded" if event.reason else "worker window tuned again"
                write = self._write_at(is_well=not event.reason)
                write(words, pool=event.pool, worker=event.worker, reason=event.reason)
            case TokensUnmetered():
                words = "tokens unmetered" if event.share else "tokens metered again"
                write = self._write_at(is_well=not event.share)
                write(words, pool=event.pool, worker=event.worker, share=round(event.share, 3))
            case UsageCapped():
                self._logger.warning("usage capped", **event._asdict())
            case BudgetThreshold():
                write = self._write_at(is_well=event.percent < _USED_UP_PERCENT)
                write("budget used up" if event.percent >= _USED_UP_PERCENT else "budget threshold", **event._asdict())
            case WorkerWrote():
                self._logger.info("worker output", worker=event.worker, line=event.line)
            case ObserverFailed():
                self._write_failure(event)
            case LifeChanged():
                self._write_at(is_well=event.is_well)(event.phase, **event.facts)
            case ConfigReloaded():
                self._write_reload(event)

    def _write_request(self, event: RequestFinished) -> None:
        suppressed = 0 if event.tenant else self._strangers.take(self._clock())
        if suppressed is None:
            return
        fields = request_fields(event)
        if suppressed:
            fields["suppressed"] = suppressed
        level = ERROR if event.outcome in _FAULTS else WARNING if event.outcome in _TROUBLE else INFO
        self._logger.write(level, "request", fields)

    def _write_at(self, *, is_well: bool) -> _WriteLine:
        return self._logger.info if is_well else self._logger.warning

    def _write_failure(self, event: ObserverFailed) -> None:
        """Write the failure within the budget of strangers, because a stranger's event may be the cause."""
        if self._strangers.take(self._clock()) is not None:
            self._logger.error("observer failed", observer=event.observer, at=event.event, error=event.error)

    def _write_reload(self, event: ConfigReloaded) -> None:
        for warning in event.warnings:
            self._logger.warning("configuration warning", warning=warning)
        if event.succeeded:
            self._logger.info(
                "configuration applied",
                path=event.path,
                changes=list(event.changes),
                needs_restart=list(event.needs_restart),
            )
        else:
            self._logger.error("configuration rejected", path=event.path, faults=list(event.faults))


def request_fields(event: RequestFinished) -> dict[str, object]:
    """The fields of a request's line; fields that are unknown or empty are left out."""
    outcome = event.outcome
    fields: dict[str, object] = {"outcome": outcome._value_}
    values: tuple[Any, ...] = event
    for place, name in _FIELDS:
        value = values[place]
        kind = type(value)
        if kind is str:
            if value:
                fields[name] = value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT]
        elif kind is float:
            fields[name] = _rounded(value)
        elif value is not None and value is not outcome:
            fields[name] = value
    return fields


def _rounded(value: float) -> float:
    """`value` to `_DIGITS` digits behind the point."""
    if 0.0 <= value < _MOST_ROUNDED:
        return (value * 1e6 + _ROUNDING - _ROUNDING) / 1e6
    return round(value, _DIGITS)
