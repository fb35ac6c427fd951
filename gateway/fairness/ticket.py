"""A ticket: one request's right to run, from submission to the one settlement.

The states are a table: `NEW -> QUEUED -> GRANTED -> SETTLED`, from `NEW` to `GRANTED` where nobody waits and there is
room, back from `GRANTED` to `QUEUED` when a worker sent the request back untouched, and `LEFT` for a request that never
ran (refused, withdrawn, expired). Any other move is our own mistake.
"""

import math
from enum import Enum
from typing import Final

from gateway.fairness.cadence import Cadence, Mark
from gateway.fairness.cost import Usage
from gateway.fairness.open_charge import OpenCharge

MAX_TOKENS: Final = 2**53  # where nothing else bounds a figure
CATCHING_UP_SECONDS: Final = 0.1  # in which all that waits at a socket is read, unless its reader falls behind again


class TicketState(Enum):
    """Where a ticket is in its life."""

    NEW = "new"
    QUEUED = "queued"
    GRANTED = "granted"
    SETTLED = "settled"
    LEFT = "left"


# A tuple: to look into a set of them would call the enumeration's own hash, which takes longer than to compare all.
MOVES = (
    (TicketState.NEW, TicketState.QUEUED),
    (TicketState.QUEUED, TicketState.GRANTED),
    (TicketState.GRANTED, TicketState.SETTLED),
    (TicketState.GRANTED, TicketState.QUEUED),
    (TicketState.NEW, TicketState.GRANTED),
    (TicketState.QUEUED, TicketState.LEFT),
    (TicketState.NEW, TicketState.LEFT),
)


class Ticket:
    """One request in the scheduler's eyes.

    `sequences` is what it occupies in a batch (choices x prompts), `prompt_tokens` the whole prompt's size (an estimate
    until the engine reports), `max_output_tokens` the most that all its sequences together can generate. `is_silent`
    says that no usage arrives while it runs, so its progress is estimated; `is_watched` that its bytes are seen as they
    are generated (streamed), and that it is reckoned too where figures fail to come. `prefix` are the chained
    hashes of its prompt's blocks, by which workers that have read the same beginning are found; empty where nobody
    looks for it. `most_prompt_tokens` and `most_output_tokens` bound what is believed of its engine's figures.
    """

    __slots__ = (
        "accrued_tokens",
        "attempts",
        "avoid",
        "behind_since",
        "behind_tokens",
        "cached_tokens",
        "cadence",
        "charges",
        "deadline",
        "first_output_tokens",
        "granted_at",
        "has_told",
        "holds_prefill",
        "is_behind",
        "is_predicted",
        "is_retry",
        "is_silent",
        "is_watched",
        "key",
        "mark",
        "max_output_tokens",
        "most_output_tokens",
        "most_prompt_tokens",
        "noted_at",
        "noted_tokens",
        "order",
        "output_tokens",
        "pool",
        "prefix",
        "prompt_tokens",
        "queued_at",
        "request_id",
        "reserved_tokens",
        "resumed_at",
        "retries",
        "sequences",
        "started_at",
        "state",
        "submitted_at",
        "taken_tokens",
        "tenant",
        "told_prompt_tokens",
        "waited_seconds",
        "watch",
        "worker",
    )

    def __init__(self, request_id: str, tenant: str, key: str, pool: str) -> None:
        """A ticket of one sequence; the caller states its size with `sized` before it submits."""
        self.request_id = request_id
        self.tenant = tenant
        self.key = key
        self.pool = pool
        self.sequences = 1
        self.prompt_tokens = 1
        self.prefix: tuple[int, ...] = ()
        self.max_output_tokens = 0
        self.most_prompt_tokens = MAX_TOKENS
        self.most_output_tokens = MAX_TOKENS
        self.is_silent = False
        self.is_watched = False
        self.state = TicketState.NEW
        self.order = 0
        self.attempts = 0
        self.retries = 0  # those of them that came after one that failed
        self.is_retry = False
        self.queued_at: float | None = None  # waits since then
        self.waited_seconds = 0.0  # before that
        self.submitted_at = 0.0
        self.granted_at = 0.0
        self.started_at: float | None = None
        self.deadline = 0.0
        self.watch = 0  # which entry of the deadlines is the valid one
        self.worker = ""
        self.cadence: Cadence | None = None  # of its worker
        self.mark: Mark | None = None  # where its engine goes on unseen, since when
        self.avoid = ""
        self.holds_prefill = False
        self.is_predicted = False  # `reserved_tokens` is what its answer is expected to need
        self.reserved_tokens = 0
        self.taken_tokens = 0
        self.forget_usage()
        self.charges: tuple[OpenCharge, ...] = ()

    def forget_usage(self) -> None:
        """Nothing is told: it is new, or the worker that had told something sent it back."""
        self.has_told = False  # the engine has given figures: the next three
        self.told_prompt_tokens = self.cached_tokens = self.output_tokens = 0
        self.first_output_tokens = 0  # told with its first output
        self.accrued_tokens = 0
        self.noted_tokens = 0  # output told when its figures were last seen to have moved, at `noted_at`
        self.noted_at = 0.0
        self.is_behind = False  # its client is, so its answer is not read on and its engine goes on unseen
        self.behind_since = 0.0
        self.behind_tokens = 0  # told until then
        self.resumed_at = -math.inf

    def sized(self, *, sequences: int, prompt_tokens: int, max_output_tokens: int, is_silent: bool) -> "Ticket":
        """State what the request asks for; returns the ticket."""
        self.sequences = max(1, sequences)
        self.prompt_tokens = prompt_tokens
        self.max_output_tokens = max_output_tokens
        self.is_silent = is_silent
        return self

    def bounded(self, *, most_prompt_tokens: int, most_output_tokens: int) -> "Ticket":
        """State what its figures can be at most, over all its prompts and sequences; returns the ticket."""
        self.most_prompt_tokens = most_prompt_tokens
        self.most_output_tokens = most_output_tokens
        return self

    def wait(self, now: float) -> None:
        """It queues from `now` on, for the first time or again."""
        self.queued_at = now

    def grant(self, worker: str, now: float) -> None:
        """It may run at `worker`, and holds the room of its prompt there."""
        self.move(TicketState.GRANTED)
        self.waited_seconds, self.queued_at = self.waited(now), None
        self.worker, self.granted_at, self.holds_prefill = worker, now, True
        self.attempts += 1
        self.retries += self.is_retry
        self.is_retry = False

    def send_back(self, now: float) -> None:
        """Its worker gave it up untouched: what that told is void, and it waits again."""
        self.forget_usage()
        self.started_at = None
        self.is_predicted = False
        self.wait(now)

    def waited(self, now: float) -> float:
        """Seconds in the queue by `now`, attempts in between left out."""
        return self.waited_seconds + (0.0 if self.queued_at is None else now - self.queued_at)

    def possible(self, usage: Usage) -> Usage:
        """`usage`, no more than the request can take: an engine may err, or claim."""
        prompt, cached, output = usage
        if prompt <= self.most_prompt_tokens and output <= self.most_output_tokens:
            return usage
        prompt = min(prompt, self.most_prompt_tokens)
        return Usage(prompt, min(cached, prompt), min(output, self.most_output_tokens))

    def move(self, state: TicketState) -> None:
        """Go to `state`, along the table only."""
        assert (self.state, state) in MOVES, f"{self.request_id}: {self.state.value} -> {state.value}"
        self.state = state

    @property
    def usage(self) -> Usage | None:
        """The engine's own figures so far, None before the first."""
        return Usage(self.told_prompt_tokens, self.cached_tokens, self.output_tokens) if self.has_told else None

    def tell(self, usage: Usage) -> bool:
        """Take in the engine's figures, as far as they are possible; True where it had told some before."""
        had_told = self.has_told
        self.has_told = True
        self.told_prompt_tokens, self.cached_tokens, self.output_tokens = self.possible(usage)
        return had_told

    def fall_behind(self, now: float) -> None:
        """Its client reads no more, so its answer is not read on; its figures are those of when that began.

        Where it was read on only a moment ago, what its engine had sent meanwhile was not all read.
        """
        self.is_behind = True
        if now - self.resumed_at > CATCHING_UP_SECONDS:
            self.behind_since, self.behind_tokens = now, self.output_tokens
            if self.is_watched and self.cadence is not None:
                self.unmark()
                self.mark = self.cadence.mark(now)

    def unmark(self) -> None:
        """Count its engine's steps no more."""
        if self.mark is not None:
            self.mark.cadence.drop(self.mark)
            self.mark = None

    def is_lagging(self, now: float) -> bool:
        """True where its figures are behind its engine, which goes on for a client that does not read."""
        return self.is_behind or now - self.resumed_at <= CATCHING_UP_SECONDS

    def resume(self, now: float) -> None:
        """Its answer is read on."""
        self.is_behind, self.resumed_at = False, now

    @property
    def usage_so_far(self) -> Usage:
        """What a request that stops now has used: the engine's figures where there are any, else our estimate."""
        return self.usage or Usage(prompt_tokens=self.prompt_tokens, output_tokens=self.accrued_tokens)
