"""The limits of tenants over several gateways: what one of them says in a call, and what it may use meanwhile.

A request that what is held here does not cover waits for the answer to one call, and is refused if that did not help.
Places in flight that are lacking are asked for again and again while a request waits for them. Pure: the caller passes
the time in seconds, sends one call at a time, and lets the scheduler dispatch where a method says so.

Without the store a replica goes on with what it holds. Of a limit that nobody was known to use it takes an equal part,
and after `ALONE_SECONDS` an equal part of each rate refills here: for as long the store has refilled it for all. The
store keeps what a silent replica holds for 30 seconds. After that the replica holds an equal part at most: what is in
use beyond it goes as the requests end.
"""

import math
from typing import Final

from gateway.fairness.admission import Admission
from gateway.replicas.leases import Demand
from gateway.replicas.quota_book import QuotaBook
from gateway.replicas.quota_call import QuotaCall, QuotaMessage, QuotaReply
from gateway.replicas.replica import BUSY_SECONDS, IDLE_SECONDS, LEAST_SECONDS, Identity
from gateway.replicas.script import Status

ALONE_SECONDS: Final = 2.0  # without an answer, after which the store leaves the refill of its part to a replica
PATIENCE_SECONDS: Final = 0.2  # without an answer, after which nobody waits for one
CROWD: Final = 4  # replicas; where there are more, each calls less often
GHOST_SECONDS: Final = 28.0  # for so long the store surely keeps what a silent replica holds


class Wait:
    """A request that waits for the answer to a call that names its tenant."""

    __slots__ = ("demand", "number", "tenant", "tokens")

    def __init__(self, tenant: str, tokens: float, number: int, demand: Demand) -> None:
        """Of `tenant`, for `tokens`, as `demand` counts it; an earlier call than `number` does not know of it."""
        self.tenant = tenant
        self.tokens = tokens
        self.number = number
        self.demand = demand


class SharedLimits:
    """One gateway's part in the limits of the fleet."""

    def __init__(self, identity: Identity, admission: Admission, expected: int, *, continues: bool = True) -> None:
        """Share the limits of `admission`, which has no tenants yet, among `expected` replicas.

        `continues` says that without the store it uses more than what it holds: its equal part.
        """
        admission.tenants.share(expected)
        self.identity = identity
        self.store = ""  # the run id of the server that it is connected to
        self.book = QuotaBook(admission, expected)
        self._admission = admission
        self._expected = expected
        self._continues = continues
        self._incarnation = 0
        self._number = 0
        self._generation = ""
        self._seq = 0
        self._claims = 0
        self._must_register = True
        self._is_called_for = True
        self._is_settled = True
        self._failures = 0  # calls in a row that were not answered
        self._failing_since = 0.0
        self.is_without_store = False  # it has not answered for a while
        self._is_alone = False
        self._called_at = -math.inf
        self._confirmed_at: float | None = None  # the time of the last call that was answered, or else of the first

    # -- requests

    def expect(self, tenant: str, tokens: float) -> Wait:
        """A request of `tenant` waits for an answer; end it with `forget`."""
        most = self._admission.tenants.allowance(tenant).limits.tokens_per_minute
        tokens = tokens if most is None else min(tokens, float(most))
        wait = Wait(tenant, tokens, self._number + 1, self.book.expect(tenant, tokens))
        self._is_called_for = True
        self._take_parts()
        return wait

    def is_over(self, wait: Wait) -> bool:
        """True if the request has waited long enough: it runs now, or is refused."""
        return self.is_without_store or (self._is_settled and self.book.is_answered(wait.tenant, wait.number))

    def forget(self, wait: Wait) -> None:
        """The request waits no more."""
        self.book.forget(wait.tenant, wait.tokens, wait.demand)

    def touch(self, tenant: str) -> bool:
        """Note that a request of `tenant` came or ended; True if the scheduler is to dispatch."""
        if not self.book.touch(tenant):
            return False
        self._is_called_for = True
        return self._take_parts()

    def _take_parts(self) -> bool:
        """Without the store, take an equal part of what waiting requests lack."""
        if not self.is_without_store or not self._continues:
            return False
        waiting = self.book.waiting()
        for tenant in waiting:
            self.book.claim_parts(tenant)
        return self._grown(waiting)

    def _grown(self, tenants: list[str]) -> bool:
        for tenant in tenants:
            self._admission.waiting_room.review_everywhere(tenant)
        return bool(tenants)

    # -- calls

    @property
    def is_called_for(self) -> bool:
        """True if the next call should not wait."""
        return self._is_called_for

    def next_call_at(self, now: float) -> float:
        """When to call next, if nothing changes."""
        if self._failures or not self._is_settled:
            return self._called_at + BUSY_SECONDS
        if self._is_called_for:
            return max(now, self._called_at + LEAST_SECONDS * max(1.0, self.book.replicas / CROWD))
        is_busy = self.book.is_holding_back or self.book.has_more
        return self._called_at + (BUSY_SECONDS if is_busy else IDLE_SECONDS)

    def call(self, now: float, new_generation: str, *, is_leaving: bool = False) -> QuotaCall:
        """What to say now; `new_generation` is a random word."""
        if now - self._called_at > GHOST_SECONDS:
            self.book.drop_idle()  # this process stood still: what it holds unused may no longer be its own
        self._called_at, self._is_called_for = now, False
        if self._confirmed_at is None:
            self._confirmed_at = now
        if is_leaving:
            self.book.drop_idle()
        if self._must_register:
            self._incarnation += 1
            self._claims = 0
            self.book.register()
        self._number += 1
        reports = self.book.reports(now, must_keep=self._failures > 0)
        return QuotaCall(
            self.identity.name,
            self.identity.boot,
            self._incarnation,
            self._number,
            self.store,
            new_generation,
            self._generation,
            self._seq,
            self._claims,
            max(self._expected, self.book.replicas),
            self._must_register,
            self.book.has_told_all,
            is_leaving,
            reports,
        )

    # -- answers

    def answered(self, reply: QuotaReply, now: float) -> bool:
        """Take in the answer to the call that is under way; True if the scheduler is to dispatch."""
        self._failures, self.is_without_store = 0, False
        if reply.status is not Status.OK:
            self._must_register = self._must_register or reply.status is Status.REGISTER
            self.book.unanswered()
            self._is_called_for = True
            return False
        if self._must_register:
            self.book.claimed = {}
        self._must_register, self._is_settled = False, reply.is_settled
        self._confirmed_at = self._called_at
        self._generation, self._seq, self._claims = reply.generation, reply.seq, reply.claims
        self.book.replicas = reply.replicas
        if self._is_alone:
            self._is_alone = False
            self.book.stand_alone(now, is_alone=False)
        grown = self.book.hear(reply.limits, self._number)
        for name in reply.claimed:
            self.book.claim(name)
        if not self.book.has_told_all or reply.has_more_claims:
            self._is_called_for = True
        return self._grown(grown)

    def unanswered(self, now: float) -> bool:
        """The call that was under way failed or took too long; True if the scheduler is to dispatch."""
        self.book.unanswered()
        self.book.go_on()
        if not self._failures:
            self._failing_since = self._called_at
        self._failures += 1
        self.is_without_store = now - self._failing_since >= PATIENCE_SECONDS
        assert self._confirmed_at is not None
        if self._continues and now - self._confirmed_at >= ALONE_SECONDS:
            self._is_alone = True
            self.book.stand_alone(now, is_alone=True)
        if now - self._confirmed_at >= GHOST_SECONDS:
            self.book.keep_parts(are_equal=self._continues)
        return self._take_parts()

    def told(self, message: QuotaMessage) -> bool:
        """Take in what the store says between calls; True if the scheduler is to dispatch."""
        is_ours = (message.generation, message.incarnation) == (self._generation, self._incarnation)
        if not is_ours or self._must_register:
            return False
        for name in message.wanted:
            self.book.recall(name)
        for name in message.claimed:
            self.book.claim(name)
        self._is_called_for = self._is_called_for or bool(message.wanted)
        return self._grown([name[2:] for name, total in message.grants if self.book.grant(name, total)])
