"""Carries out the scheduler's decisions on the event loop; it alone submits requests, puts them back and settles them.

One coroutine per request waits here for its grant. Releases and refusals are plain synchronous calls, so a cancelled
request can give back its room in `finally`, whatever it was doing. Charges per token do not come this way: a relay
makes them at the pool's account (`account`), which saves each token a call. One timer is armed for the scheduler's
next deadline; nothing polls. `gateway.fairness` decides which request goes next, `gateway.workers` which worker gets
it.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

from gateway.events import Observer, RequestDispatched, RequestQueued, UsageCapped
from gateway.fairness import Admission, Decision, Grant, PoolAccount, Rates, Refuse, Ticket, TicketSnapshot, TicketState
from gateway.outcomes import LONGEST_RETRY_SECONDS, Outcome
from gateway.proxy.budgets import Budgets
from gateway.store.sharing import Sharing
from gateway.usage import Usage
from gateway.watch.outages import Outages
from gateway.workers import Fleet

PAUSE_SECONDS: Final = 0.5  # a worker that broke a connection gets nothing new for this long, or until it is seen alive
VOUCHED_SECONDS: Final = 5.0  # a worker that was seen alive counts as alive for this long, whatever connections break
NO_STORE_RETRY_SECONDS: Final = 2.0


class Refused(Exception):
    """The request will not run: why, and after how many seconds another attempt makes sense."""

    def __init__(self, outcome: Outcome, retry_after_seconds: float | None) -> None:
        """Refused with `outcome`; `retry_after_seconds` is None if another attempt would end the same way."""
        super().__init__(outcome.value)
        self.outcome = outcome
        self.retry_after_seconds = retry_after_seconds


def _nobody(worker: str) -> None:
    """Do nothing: nobody wants to hear of a worker's requests."""


class Dispatcher:
    """Carries requests through the queue and settles them."""

    def __init__(
        self,
        admission: Admission,
        fleet: Fleet,
        observer: Observer,
        outages: Outages,
        sharing: Sharing | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        """A dispatcher on the running event loop; `sharing` is the account that it shares with other gateways."""
        self._admission = admission
        self._sharing = sharing
        self._fleet = fleet
        self._outages = outages
        self._budgets = budgets
        if budgets is not None:
            budgets.attach(self._review_budgets)
        self._observer = observer
        self.loop = asyncio.get_running_loop()  # for all that acts for it: asking for the loop is a system call
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._pauses: dict[str, asyncio.TimerHandle] = {}
        self._losses: set[str] = set()  # workers that are paused for a broken connection
        self._vouched_until: dict[str, float] = {}
        self._bars: dict[tuple[str, str], asyncio.TimerHandle] = {}  # by pool and tenant
        self._refusal: Refused | None = None
        self._pools: frozenset[str] | None = None  # None: all that the scheduler has
        self._is_closed = False
        self._note_work: Callable[[str], None] = _nobody  # hears which worker a request was granted

    # -- one request's way

    async def admit(self, ticket: Ticket) -> None:
        """Wait until `ticket` is granted room; raises `Refused`.

        Cancelled: the ticket stays queued, or granted if the grant came just before; the caller must call `settle`.
        """
        self._check_open(ticket)
        if self._sharing is not None:
            if self._sharing.refuses:
                raise Refused(Outcome.NO_STORE, NO_STORE_RETRY_SECONDS)
            self._sharing.meet(ticket)
        now = self._now()
        self._observer.observe(RequestQueued(ticket.request_id, ticket.tenant, ticket.pool))
        if self._sharing is not None and self._admission.lacks_lease(ticket, now):
            await self._sharing.quotas.more(ticket.tenant, self.account(ticket.pool).expected_tokens(ticket))
            self._check_open(ticket)
            now = self.loop.time()
        decisions = self._admission.submit(ticket, now)
        if ticket.state is TicketState.GRANTED and len(decisions) == 1:  # nobody waits: no future is made
            self._note_granted(ticket)
            self._arm()
            self._touch(ticket)
            return
        granted = self._expect(ticket)
        self._carry_out(decisions)
        self._touch(ticket)
        await self._granted(ticket, granted)

    async def readmit(self, ticket: Ticket, *, failed_worker: str = "") -> None:
        """Wait at the head of the queue for another grant; the first one brought no answer. Cancelled: as `admit`."""
        self._check_open(ticket)
        granted = self._expect(ticket)
        self._carry_out(self._admission.requeue(ticket, self._now(), failed_worker=failed_worker))
        await self._granted(ticket, granted)

    def _now(self) -> float:
        """The time; budgets note it too, because their periods begin by the clock on the wall."""
        if self._budgets is not None and self._budgets.is_used:
            self._budgets.note_time()
        return self.loop.time()

    def _review_budgets(self) -> None:
        """Look again at who waits for a budget: more may be left."""
        self._admission.waiting_room.review_budgets()
        self.dispatch(tuple(self._admission.pools))

    def _touch(self, ticket: Ticket) -> None:
        """Note that what the tenant of `ticket` uses of its limits has changed; other gateways may share them."""
        if self._sharing is not None:
            self._sharing.quotas.touch(ticket.tenant)

    def _check_open(self, ticket: Ticket) -> None:
        if self._refusal is not None:
            raise Refused(self._refusal.outcome, self._refusal.retry_after_seconds)
        if self._pools is not None and ticket.pool not in self._pools:
            raise Refused(Outcome.UNKNOWN_MODEL, None)

    def _expect(self, ticket: Ticket) -> asyncio.Future[None]:
        granted = self._waiting[ticket] = self.loop.create_future()
        return granted

    async def _granted(self, ticket: Ticket, granted: asyncio.Future[None]) -> None:
        try:
            await granted  # cancelled: the ticket stays as it is until the request's `settle`
        finally:
            self._waiting.pop(ticket, None)
            if granted.done() and not granted.cancelled():
                granted.exception()  # marks as seen a refusal that nobody reads: the client has just left

    def started(self, ticket: Ticket) -> None:
        """The first token of `ticket` came."""
        self._give_on(self._admission.started(ticket, self.loop.time()))

    def account(self, pool: str) -> PoolAccount:
        """The account of `pool`, by which its running requests are charged token by token, and estimated."""
        return self._admission.pools[pool]

    def worker_seconds(self, ticket: Ticket) -> float:
        """The share of its workers' time that `ticket` has got so far."""
        return self._admission.running.worker_seconds(ticket, self.loop.time())

    def possible(self, ticket: Ticket, claimed: Usage) -> Usage:
        """The engine's final figures, capped at what the request can have used; an event reports a cap."""
        usage = ticket.possible(claimed)
        if usage is not claimed:
            self._observer.observe(
                UsageCapped(ticket.request_id, ticket.pool, ticket.worker, claimed.prompt_tokens, claimed.output_tokens)
            )
        return usage

    def count_steps(self, worker: str, steps: float | None) -> None:
        """Note that the engine of `worker` has made `steps` steps in all; None if it does not say or is gone."""
        self._admission.running.count(worker, steps, self.loop.time())

    def needs_reading(self, worker: str) -> bool:
        """True if `worker` must be read even when nothing is in flight there."""
        return self._sharing is not None and self._sharing.windows.needs_reading(worker)

    def tell_of_work(self, hear: Callable[[str], None]) -> None:
        """From now on `hear` is called with the worker of each request that is granted."""
        self._note_work = hear

    def note_reading(self, worker: str, there: float | None, asked_at: float) -> None:
        """Note that `worker`, asked at `asked_at`, has `there` sequences; None: it does not say."""
        if self._sharing is not None:
            self._sharing.windows.read(worker, there, asked_at)

    def settle(self, ticket: Ticket, usage: Usage | None, *, completed: bool = False) -> None:
        """End `ticket`: withdraw it if it waits, else settle it at `usage` (None: refund it in full). Idempotent."""
        now = self._now()
        match ticket.state:
            case TicketState.QUEUED:
                self._give_on(self._admission.withdraw(ticket, now))
                self._touch(ticket)
            case TicketState.GRANTED:
                if usage is not None and completed:
                    self._fleet.counted(ticket, usage.prompt_tokens, usage.cached_tokens)
                self._give_on(self._admission.release(ticket, usage, now, completed=completed))
                self._touch(ticket)
            case TicketState.NEW | TicketState.LEFT | TicketState.SETTLED:
                pass

    def keep_pools(self, pools: Collection[str]) -> None:
        """Serve `pools` alone: refuse every request that waits for another pool, or comes to it later."""
        self._pools = frozenset(pools)
        for ticket in [ticket for ticket in self._waiting if ticket.pool not in self._pools]:
            if not self._waiting[ticket].done():
                self._waiting[ticket].set_exception(Refused(Outcome.UNKNOWN_MODEL, None))
                self.settle(ticket, None)

    def refuse_waiting(self, outcome: Outcome, retry_after_seconds: float) -> int:
        """Refuse every queued request, and every later one, because the gateway ends; returns how many had waited."""
        self._refusal = Refused(outcome, retry_after_seconds)
        waiting = [ticket for ticket, granted in self._waiting.items() if not granted.done()]
        for ticket in waiting:  # refuse all before any is settled: the room that one gives back must not start another
            self._waiting[ticket].set_exception(Refused(outcome, retry_after_seconds))
        for ticket in waiting:
            self.settle(ticket, None)
        return len(waiting)

    @property
    def shares_workers(self) -> bool:
        """True if other gateways, or other processes of this one, send requests to the same workers."""
        return self._sharing is not None

    # -- requests that take no room

    async def count_request(self, tenant: str) -> float | None:
        """Count such a request against the tenant's rate limits; the seconds to wait if it exceeds them, else None."""
        wait = self._admission.count_request(tenant, self.loop.time())
        if wait is None or self._sharing is None:
            return wait
        await self._sharing.quotas.more(tenant, 0.0)
        return self._admission.count_request(tenant, self.loop.time())

    def rates(self, tenant: str) -> Rates | None:
        """What is left of the tenant's rates; None if it has none."""
        return self._admission.tenants.rates(tenant, self.loop.time())

    def serves(self, pool: str) -> bool:
        """True if `pool` serves, so that no fallback pool is needed."""
        return self._outages.serves(pool)

    def awaits(self, pool: str) -> bool:
        """True if requests of `pool` may wait even while none of its workers serves."""
        return self._fleet.awaits(pool)

    def outage_seconds(self, pool: str) -> float:
        """After how many seconds to ask `pool` again: as long as it has been without a worker, within a minute."""
        return min(self._outages.age_seconds(pool), LONGEST_RETRY_SECONDS)

    def any_worker(self, pool: str) -> str | None:
        """The least loaded worker of `pool` that serves; None if there is none."""
        return self._fleet.least_loaded(pool)

    # -- room that appears for other reasons

    def dispatch(self, pools: Iterable[str]) -> None:
        """Grant what fits in `pools`, where room may have appeared: a worker came back, or a window grew."""
        now = self._now()
        for pool in pools:
            if pool in self._admission.pools:  # a reload may have removed it meanwhile
                self._carry_out(self._admission.dispatch(pool, now))

    def lost(self, worker: str) -> None:
        """Pause `worker`, which broke a connection, until it is seen alive; not if it was vouched for just now."""
        if self.loop.time() >= self._vouched_until.get(worker, 0.0) and worker not in self._pauses:
            self._losses.add(worker)
            self._pause(worker, PAUSE_SECONDS)

    def vouch(self, worker: str) -> None:
        """End the pause of `worker`, which was seen alive, and ignore its broken connections for `VOUCHED_SECONDS`."""
        vouched = {name: until for name, until in self._vouched_until.items() if name in self._fleet}
        self._vouched_until = vouched | {worker: self.loop.time() + VOUCHED_SECONDS}
        if worker in self._losses:
            self._pauses[worker].cancel()
            self._resume(worker)

    def full(self, ticket: Ticket, seconds: float) -> None:
        """Note that the worker of `ticket` refused it for lack of room.

        A worker that refuses several tenants gets nothing for `seconds`. If only this tenant is refused, and by every
        worker, the tenant runs nothing in the pool for as long. Otherwise the ticket avoids this worker.
        """
        worker, tenant = ticket.worker, ticket.tenant
        if self._fleet.refused(worker, tenant):
            self._losses.discard(worker)
            self._pause(worker, seconds)
        elif self._fleet.refuses_everywhere(ticket.pool, tenant):
            self._bar(ticket.pool, tenant, seconds)
        else:
            ticket.shun(worker)

    def _pause(self, worker: str, seconds: float) -> None:
        self._fleet.pause(worker)
        running = self._pauses.pop(worker, None)
        if running is not None:
            running.cancel()
        self._pauses[worker] = self.loop.call_later(seconds, self._resume, worker)

    def _resume(self, worker: str) -> None:
        del self._pauses[worker]
        self._losses.discard(worker)
        self._fleet.resume(worker)
        self.dispatch({spec.pool for spec in self._fleet.specs() if spec.name == worker})

    def _bar(self, pool: str, tenant: str, seconds: float) -> None:
        self._admission.bar(pool, tenant)
        running = self._bars.pop((pool, tenant), None)
        if running is not None:
            running.cancel()
        self._bars[pool, tenant] = self.loop.call_later(seconds, self._unbar, pool, tenant)

    def _unbar(self, pool: str, tenant: str) -> None:
        del self._bars[pool, tenant]
        self._carry_out(self._admission.unbar(pool, tenant, self.loop.time()))

    # -- decisions

    def _give_on(self, decisions: list[Decision]) -> None:
        """Carry out what freed room led to; without decisions no deadline is nearer, so the timer stays."""
        if decisions:
            self._carry_out(decisions)

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            granted = self._waiting.get(decision.ticket)
            match decision:
                case Grant(ticket):
                    self._wake_granted(ticket, granted)
                case Refuse(ticket, outcome, retry_after):
                    if outcome is Outcome.NO_WORKER:
                        retry_after = max(retry_after, self.outage_seconds(ticket.pool))
                    if granted is not None and not granted.done():
                        granted.set_exception(Refused(outcome, retry_after))
        self._arm()

    def _wake_granted(self, ticket: Ticket, granted: asyncio.Future[None] | None) -> None:
        if granted is None or granted.done():
            return  # the client has just left: `settle` follows and gives the room back
        granted.set_result(None)
        self._note_granted(ticket)

    def _note_granted(self, ticket: Ticket) -> None:
        waited, worker = ticket.waited_seconds, ticket.worker
        self._note_work(worker)
        self._observer.observe(RequestDispatched(ticket.request_id, ticket.tenant, ticket.pool, worker, waited))

    def _arm(self) -> None:
        """Keep one timer for the next deadline; a timer that is due earlier stays and arms the next one itself."""
        deadline = self._admission.next_deadline()
        if deadline is None or self._is_closed:
            return
        if self._timer is not None:
            if self._due <= deadline:
                return
            self._timer.cancel()
        self._due = deadline  # kept here, because uvloop's handle does not know its time once that is past
        self._timer = self.loop.call_at(deadline, self._advance)

    def _advance(self) -> None:
        self._timer = None
        self._carry_out(self._admission.advance(self._now()))

    def close(self) -> None:
        """Disarm the timers."""
        self._is_closed = True
        for timer in (*self._pauses.values(), *self._bars.values()):
            timer.cancel()
        self._bars.clear()
        self._pauses.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- views

    def queued(self) -> Iterable[TicketSnapshot]:
        """A snapshot of every request that waits."""
        now = self.loop.time()
        for ticket in self._waiting:
            if ticket.state is TicketState.QUEUED:
                yield TicketSnapshot(
                    ticket.request_id,
                    ticket.tenant,
                    ticket.pool,
                    ticket.state.value,
                    now - ticket.submitted_at,
                    "",
                    ticket.prompt_tokens,
                    0,
                )
