"""What the scheduler decides; the caller carries it out."""

from dataclasses import dataclass

from gateway.fairness.ticket import Ticket
from gateway.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Grant:
    """`ticket` has room at `worker` now and is to be sent."""

    ticket: Ticket
    worker: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """`ticket` will not run: `outcome` says why, `retry_after_seconds` when another attempt is worth its while."""

    ticket: Ticket
    outcome: Outcome
    retry_after_seconds: float


Decision = Grant | Refuse
