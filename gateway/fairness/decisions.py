"""What the scheduler decides; the caller carries it out."""

from typing import NamedTuple

from gateway.fairness.ticket import Ticket
from gateway.outcomes import Outcome


class Grant(NamedTuple):
    """`ticket` has room at `worker` now and is to be sent."""

    ticket: Ticket
    worker: str


class Refuse(NamedTuple):
    """`ticket` will not run: `outcome` says why, `retry_after_seconds` when another attempt is worth its while.

    0: never as it is.
    """

    ticket: Ticket
    outcome: Outcome
    retry_after_seconds: float


Decision = Grant | Refuse
