"""A request and its outcome: the two records that workloads, simulations, replays and metrics exchange.

Times are seconds on the run's own clock, which starts at 0. Lengths are tokens.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Request:
    """One arrival. The engine generates `output_tokens` unless the client leaves before.

    `max_output_tokens` is what the client states as its limit (None: exactly `output_tokens`, as with `ignore_eos`).
    `leaves_after_tokens` (None: stays) is how many tokens the client takes before it disconnects.
    `prefix_ids` name the prompt's leading blocks of equal size: equal ids are equal content.
    """

    arrival_seconds: float
    tenant: str
    prompt_tokens: int
    output_tokens: int
    key: str = ""
    max_output_tokens: int | None = None
    leaves_after_tokens: int | None = None
    prefix_ids: tuple[int, ...] = ()


class Ending(Enum):
    """How a request ended."""

    COMPLETED = "completed"
    REFUSED = "refused"
    CLIENT_LEFT = "client_left"
    UNFINISHED = "unfinished"  # the run was over before the request was


@dataclass(slots=True)
class Served:
    """How `request` ended: when it was dispatched, its first and last token, and how many tokens it got."""

    request: Request
    ending: Ending = Ending.UNFINISHED
    dispatched_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    output_tokens: int = 0
    preemptions: int = 0

    @property
    def ttft_seconds(self) -> float | None:
        """From arrival to the first token; None if none came."""
        return None if self.first_token_at is None else self.first_token_at - self.request.arrival_seconds
