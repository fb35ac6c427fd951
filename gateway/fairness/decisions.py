"""What the scheduler decides; the caller carries it out."""

from typing import NamedTuple

from gateway.fairness.ticket import Ticket
from gateway.outcomes import Outcome


class Grant(NamedTuple):
    """`ticket` has room at `worker` and is to be sent now."""

    ticket: Ticket
    worker: str


class Refuse(NamedTuple):
    """`ticket` will not run; `outcome` says why.

    `retry_after_seconds` is the time after which another attempt makes sense; 0 means never in this form.
    """

    ticket: Ticket
    outcome: Outcome
    retry_after_seconds: float


Decision = Grant | Refuse
