"""The requests that are at a worker, and when those that report nothing are charged a running estimate.

An answer that reports no usage while it runs would be free until its end, so it is charged every `ACCRUAL_SECONDS`. A
stream, which should report, is looked at once in `WATCH_PERIODS` of these periods. Each worker has a `Cadence`, which
counts its engine's steps, and a `SharedTime`, which divides its time among the requests there. Left to others: room,
charges and the decisions that follow (`admission`, `pool`).
"""

from collections.abc import Iterator
from typing import Final

from gateway.fairness.cadence import Cadence
from gateway.fairness.shared_time import SharedTime
from gateway.fairness.snapshot import TicketSnapshot
from gateway.fairness.ticket import Ticket

ACCRUAL_SECONDS: Final = 0.25
WATCH_PERIODS: Final = 4


class Running:
    """The granted tickets, in the order of their grants."""

    __slots__ = ("_cadences", "_periods", "_silent", "_tickets", "_times", "_watched", "next_accrual")

    def __init__(self) -> None:
        """Start with nothing in flight."""
        self._tickets: dict[Ticket, None] = {}
        self._silent: dict[Ticket, None] = {}
        self._watched: dict[Ticket, None] = {}
        self._cadences: dict[str, Cadence] = {}  # by worker
        self._times: dict[str, SharedTime] = {}  # by worker
        self._periods = 0
        self.next_accrual: float | None = None

    def __len__(self) -> int:
        """How many requests are in flight."""
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        """Every ticket in flight."""
        return iter(self._tickets)

    def begin(self, ticket: Ticket, now: float) -> None:
        """Add `ticket`, which was granted."""
        self._tickets[ticket] = None
        cadence = self._cadences.get(ticket.worker)
        if cadence is None:
            cadence = self._cadences[ticket.worker] = Cadence()
        cadence.begin(now)
        ticket.cadence = cadence
        ticket.entered_at = self.time_of(ticket.worker, now).enter(ticket.sequences, now)
        if ticket.reports_at_end:
            ticket.mark = cadence.mark(now)
            self._silent[ticket] = None
        elif ticket.is_watched:
            self._watched[ticket] = None
        else:
            return
        if self.next_accrual is None:
            self.next_accrual = now + ACCRUAL_SECONDS

    def end(self, ticket: Ticket, now: float) -> None:
        """Remove `ticket`, which ended or goes back to its queue."""
        del self._tickets[ticket]
        ticket.unmark()
        ticket.worker_seconds += self._times[ticket.worker].leave(ticket.sequences, ticket.entered_at, now)
        if ticket.cadence is not None:
            ticket.cadence.end(now)
        self._silent.pop(ticket, None)
        self._watched.pop(ticket, None)
        if not self._silent and not self._watched:
            self.next_accrual = None

    def time_of(self, worker: str, now: float) -> SharedTime:
        """The time of `worker`, which counts from the first call on."""
        time = self._times.get(worker)
        if time is None:
            time = self._times[worker] = SharedTime(now)
        return time

    def times(self, now: float) -> Iterator[tuple[str, SharedTime]]:
        """The time of every worker, up to `now`."""
        for worker, time in self._times.items():
            time.advance(now)
            yield worker, time

    def forget(self, worker: str) -> None:
        """Forget the time of a worker that is gone, where nothing runs. If it comes back, it counts from then on."""
        assert worker not in self._times or self._times[worker].is_unused, f"requests run at {worker}, which is gone"
        self._times.pop(worker, None)

    def worker_seconds(self, ticket: Ticket, now: float) -> float:
        """The time of workers that `ticket` has got by `now`."""
        if ticket not in self._tickets:
            return ticket.worker_seconds
        share = self._times[ticket.worker].share(ticket.sequences, ticket.entered_at, now)
        return ticket.worker_seconds + share

    def due(self, now: float) -> tuple[Ticket, ...]:
        """The tickets to look at, if accrual is due; it is due again one period from now."""
        if self.next_accrual is None or self.next_accrual > now:
            return ()
        self.next_accrual = now + ACCRUAL_SECONDS
        self._periods = (self._periods + 1) % WATCH_PERIODS
        return (*self._silent, *(() if self._periods else self._watched))

    def count(self, worker: str, steps: float | None, now: float) -> None:
        """Note that the engine of `worker` has made `steps` steps in all; None if it does not say or is gone."""
        cadence = self._cadences.get(worker)
        if cadence is None:
            return
        cadence.count(steps, now)
        if steps is None and cadence.is_idle:
            del self._cadences[worker]

    def estimated_tokens(self, pool: str) -> int:
        """The output tokens that streams of `pool` are charged by estimate, beyond their engines' figures."""
        streams = (ticket for ticket in self._tickets if ticket.is_watched and ticket.pool == pool)
        return sum(max(0, ticket.accrued_tokens - ticket.output_tokens) for ticket in streams)

    def views(self, now: float) -> Iterator[TicketSnapshot]:
        """Every ticket in flight, for people."""
        for ticket in self._tickets:
            usage = ticket.usage_so_far
            yield TicketSnapshot(
                ticket.request_id,
                ticket.tenant,
                ticket.pool,
                ticket.state.value,
                now - ticket.submitted_at,
                ticket.worker,
                usage.prompt_tokens,
                usage.output_tokens,
            )
