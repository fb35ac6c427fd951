"""A ticket: one request's right to run, from submission to the one settlement.

The states are a table. The usual way is `NEW -> QUEUED -> GRANTED -> SETTLED`. A ticket goes straight from `NEW` to
`GRANTED` if nobody waits and there is room. It goes back from `GRANTED` to `QUEUED` when its attempt brought the client
nothing and is repeated. It goes to `LEFT` if its request does not run (refused, withdrawn, expired). Any other move is
our own mistake.
"""

import math
from enum import Enum
from typing import Final

from gateway.accounts import Claim
from gateway.fairness.cadence import Cadence, Mark
from gateway.fairness.open_charge import OpenCharge
from gateway.usage import NOTHING, Usage

MAX_TOKENS: Final = 2**53  # the bound of a figure that nothing else bounds
CATCHING_UP_SECONDS: Final = 0.1  # enough to read all that waits at a socket, if the reader does not fall behind again


class TicketState(Enum):
    """The stage of a ticket's life."""

    NEW = "new"
    QUEUED = "queued"
    GRANTED = "granted"
    SETTLED = "settled"
    LEFT = "left"


# A tuple, because a look-up in a set would call Enum's own hash, which takes longer than comparing them all.
MOVES: Final = (
    (TicketState.NEW, TicketState.QUEUED),
    (TicketState.QUEUED, TicketState.GRANTED),
    (TicketState.GRANTED, TicketState.SETTLED),
    (TicketState.GRANTED, TicketState.QUEUED),
    (TicketState.NEW, TicketState.GRANTED),
    (TicketState.QUEUED, TicketState.LEFT),
    (TicketState.NEW, TicketState.LEFT),
)


class Ticket:
    """One request, as the scheduler sees it.

    `sequences` is its places in a batch (choices x prompts). `prompt_tokens` is the size of the whole prompt, estimated
    until the engine reports. `max_output_tokens` is the most that all its sequences together can generate.
    `reports_at_end` means that no usage arrives while it runs, so that its progress is estimated. `is_watched` means
    that it is streamed: its bytes are seen as they are generated, and its progress is estimated too if figures fail to
    come.
    `prefix` has the chained hashes of its prompt's blocks, by which workers that have read the same beginning are
    found; it is empty if nobody looks for them. `most_prompt_tokens` and `most_output_tokens` bound the engine's
    figures: higher ones are not believed.

    Whoever makes a ticket states what its request asks for. From `submit` on only the scheduler writes it; callers pass
    on what they see through methods.
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
        "claim",
        "deadline",
        "entered_at",
        "first_output_tokens",
        "granted_at",
        "has_reported",
        "holds_prefill",
        "is_behind",
        "is_predicted",
        "is_retry",
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
        "reported_prompt_tokens",
        "reports_at_end",
        "request_id",
        "reserved_tokens",
        "resumed_at",
        "retries",
        "sequences",
        "service",
        "spent",
        "started_at",
        "state",
        "submitted_at",
        "taken_tokens",
        "tenant",
        "waited_seconds",
        "watch",
        "worker",
        "worker_seconds",
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
        self.reports_at_end = False
        self.is_watched = False
        self.state = TicketState.NEW
        self.order = 0
        self.attempts = 0
        self.retries = 0  # attempts that followed a failed one
        self.is_retry = False
        self.queued_at: float | None = None  # the time since when it waits
        self.waited_seconds = 0.0  # the waits that ended before
        self.submitted_at = 0.0
        self.granted_at = 0.0
        self.started_at: float | None = None
        self.deadline = 0.0
        self.claim: Claim | None = None  # on its budgets, if it has any
        self.watch = 0  # the serial number of its live entry in `Deadlines`
        self.worker = ""
        self.cadence: Cadence | None = None  # of its worker
        self.mark: Mark | None = None  # the moment since when its engine works unseen, if it does
        self.avoid = ""
        self.holds_prefill = False
        self.is_predicted = False  # True once `reserved_tokens` holds the predicted output
        self.reserved_tokens = 0
        self.taken_tokens = 0
        self.forget_usage()
        self.charges: tuple[OpenCharge, ...] = ()
        self.spent = NOTHING  # what it was settled at, and what that costs in cost units
        self.service = 0.0
        self.entered_at = 0.0  # on the clock of its worker's shared time
        self.worker_seconds = 0.0  # of the time of its workers, what it got in attempts that ended

    def forget_usage(self) -> None:
        """Forget the engine's figures: the ticket is new, or its attempt is repeated."""
        self.has_reported = False  # True once the engine has reported the next three figures
        self.reported_prompt_tokens = self.cached_tokens = self.output_tokens = 0
        self.first_output_tokens = 0  # reported with its first output
        self.accrued_tokens = 0
        self.noted_tokens = 0  # the output reported when the figures last moved, at `noted_at`
        self.noted_at = 0.0
        self.is_behind = False  # True while its client is behind: its answer is not read, its engine works unseen
        self.behind_since = 0.0
        self.behind_tokens = 0  # the output reported by then
        self.resumed_at = -math.inf

    def sized(self, *, sequences: int, prompt_tokens: int, max_output_tokens: int, reports_at_end: bool) -> "Ticket":
        """State what the request asks for; returns the ticket."""
        self.sequences = max(1, sequences)
        self.prompt_tokens = prompt_tokens
        self.max_output_tokens = max_output_tokens
        self.reports_at_end = reports_at_end
        return self

    def bounded(self, *, most_prompt_tokens: int, most_output_tokens: int) -> "Ticket":
        """State the most that its figures can be, over all its prompts and sequences; returns the ticket."""
        self.most_prompt_tokens = most_prompt_tokens
        self.most_output_tokens = most_output_tokens
        return self

    def enter(self, now: float, most_seconds: float) -> None:
        """Note that it was submitted, and may wait for at most so long."""
        self.submitted_at, self.deadline = now, now + most_seconds
        self.wait(now)

    def limit_output(self, claim: Claim) -> None:
        """Let it generate what its budgets have enough for: its engine will be told to end there."""
        most = claim.output_tokens * claim.need.sequences
        self.max_output_tokens, self.most_output_tokens = min(claim.expected_tokens, most), most

    def wait(self, now: float) -> None:
        """Note that it waits from `now` on, for the first time or again."""
        self.queued_at = now

    def grant(self, worker: str, now: float) -> None:
        """Grant it `worker`, where it then holds room for its prompt."""
        self.move(TicketState.GRANTED)
        self.waited_seconds, self.queued_at = self.waited(now), None
        self.worker, self.granted_at, self.holds_prefill = worker, now, True
        self.attempts += 1
        self.retries += self.is_retry
        self.is_retry = False
        if self.claim is not None:
            self.claim.reserve()

    def leave(self, now: float) -> None:
        """Let it wait no longer: it will not run."""
        self.move(TicketState.LEFT)
        self.waited_seconds, self.queued_at = self.waited(now), None

    def settle(self, usage: Usage, cost: float) -> None:
        """Note what it has used in the end, and what that costs."""
        self.spent, self.service = usage, cost

    def send_back(self, now: float) -> None:
        """Let it wait again: the figures of its worker are void."""
        self.forget_usage()
        self.started_at = None
        self.is_predicted = False
        self.wait(now)

    def shun(self, worker: str) -> None:
        """Let it run at another worker next time, if the pool has another that serves."""
        self.avoid = worker

    def waited(self, now: float) -> float:
        """Seconds in the queue by `now`, without the attempts in between."""
        return self.waited_seconds + (0.0 if self.queued_at is None else now - self.queued_at)

    def possible(self, usage: Usage) -> Usage:
        """`usage`, cut to the most that the request can have used: an engine may be wrong, or claim too much."""
        prompt, cached, output = usage
        if prompt <= self.most_prompt_tokens and output <= self.most_output_tokens:
            return usage
        prompt = min(prompt, self.most_prompt_tokens)
        return Usage(prompt, min(cached, prompt), min(output, self.most_output_tokens))

    def move(self, state: TicketState) -> None:
        """Go to `state`; only moves of the table are allowed."""
        assert (self.state, state) in MOVES, f"{self.request_id}: {self.state.value} -> {state.value}"
        self.state = state

    @property
    def usage(self) -> Usage | None:
        """The engine's own figures so far; None before the first."""
        return Usage(self.reported_prompt_tokens, self.cached_tokens, self.output_tokens) if self.has_reported else None

    def report(self, usage: Usage) -> bool:
        """Take in the engine's figures, as far as they are possible; True if it had reported some before."""
        had_reported = self.has_reported
        self.has_reported = True
        self.reported_prompt_tokens, self.cached_tokens, self.output_tokens = self.possible(usage)
        return had_reported

    def begin_output(self, tokens: int) -> None:
        """Note its first output, with which the engine reported `tokens`."""
        self.first_output_tokens = tokens

    def fall_behind(self, now: float) -> None:
        """Note that its client stopped reading, so that its answer is not read either and its figures stand still.

        If reading had only just resumed, what the engine sent before was not all read: the earlier moment stays.
        """
        self.is_behind = True
        if now - self.resumed_at > CATCHING_UP_SECONDS:
            self.behind_since, self.behind_tokens = now, self.output_tokens
            if self.is_watched and self.cadence is not None:
                self.unmark()
                self.mark = self.cadence.mark(now)

    def unmark(self) -> None:
        """Stop counting its engine's steps."""
        if self.mark is not None:
            self.mark.cadence.drop(self.mark)
            self.mark = None

    def is_lagging(self, now: float) -> bool:
        """True if its figures are behind its engine, which goes on although the client does not read."""
        return self.is_behind or now - self.resumed_at <= CATCHING_UP_SECONDS

    def resume(self, now: float) -> None:
        """Note that its answer is read again."""
        self.is_behind, self.resumed_at = False, now

    @property
    def usage_so_far(self) -> Usage:
        """What a request that stops now has used: the engine's figures if there are any, else an estimate."""
        return self.usage or Usage(prompt_tokens=self.prompt_tokens, output_tokens=self.accrued_tokens)
