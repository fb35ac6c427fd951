"""Budgets in the gateway: which claim a request has, what was used before, what clients and operators are told.

`gateway.accounts` decides and `gateway.fairness` carries its verdicts out. This module knows the wall clock. It reads
from the ledger what was used in the present periods, at the start and when a reload brings a budget that counts
otherwise; until then requests with that budget wait. Periods begin on quarters of an hour, and so one timer suffices to
let those run who waited for a new one. Without budgets nothing here runs.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from time import time
from typing import Final, NamedTuple

import orjson

from gateway.accounts import (
    LEAST_OUTPUT_TOKENS,
    NANO,
    Accounts,
    Budget,
    BudgetSnapshot,
    BudgetsSnapshot,
    BudgetTerms,
    Claim,
    Need,
    Owner,
    Scope,
    Tariff,
    Unit,
    span_of,
)
from gateway.clients.budget_headers import LIMITED_BY, MOST_OUTPUT
from gateway.clients.refusal import BudgetRefusal, Refusal
from gateway.endpoints.failures import WorkerUnreachable
from gateway.endpoints.upstream import Load, fetch
from gateway.endpoints.workers import WorkerEndpoint
from gateway.events import BudgetThreshold, Event
from gateway.fairness import Ticket
from gateway.outcomes import Outcome
from gateway.proxy.record import Context
from gateway.replicas.shared_budgets import SharedBudgets
from gateway.wire.end_user import pseudonym
from gateway.wire.headers import request_head
from gateway.wire.prompt_question import counted_tokens, prompt_question
from gateway.wire.request import ParsedRequest
from gateway.wire.surface import Family, Kind

COUNTS_AT_ONCE: Final = 8  # questions for the tokens of a prompt, of one tenant
QUARTER_SECONDS: Final = 900
_TEMPLATE_TOKENS: Final = 256  # a chat template may add so many to a prompt that says nothing of them
_PROMPT_TOKENS: Final = 16  # special tokens around each prompt
_COUNT_SECONDS: Final = 5.0
_MAX_COUNT_BYTES: Final = 16 * 2**20
_RETRY_SECONDS: Final = 5.0
_UNITS: Final = {Unit.TOKENS: "tokens", Unit.COST_UNITS: "cost units", Unit.MONEY: "units of money"}
_OWNERS: Final = {Scope.TENANT: "this key's tenant", Scope.KEY: "this key", Scope.END_USER: "this end user"}
_UNWRITABLE: Final = frozenset({"beam_search", "best_of"})  # an engine generates more for them than it reports


class Used(NamedTuple):
    """What one owner has used since some moment, as the ledger's `writer` says; money is in billionths of a unit."""

    owner: Owner
    tokens: float
    cost: float
    money_nano: float
    writer: str = ""

    def amount(self, unit: Unit) -> float:
        """The figure in the unit of a budget."""
        if unit is Unit.TOKENS:
            return self.tokens
        return self.cost if unit is Unit.COST_UNITS else self.money_nano


_Found = list[tuple[float, dict[Owner, dict[str, float]]]]  # a period's start, and what writers say of its owners
ReadUsed = Callable[[Scope, float], Iterable[Used]]  # by owners of a scope, since a moment; raises `LedgerUnread`


class LedgerUnread(Exception):
    """The ledger cannot tell what was used."""


class Budgets:
    """Every tenant's budgets, and what becomes of them over the gateway's life."""

    def __init__(
        self,
        read: ReadUsed,
        ledger_works: Callable[[], bool],
        emit: Callable[[Event], None],
        wall_clock: Callable[[], float] = time,
        shared: SharedBudgets | None = None,
    ) -> None:
        """Budgets on the running event loop; `read` is called in a thread, and `emit` hears of thresholds.

        `shared` is this gateway's part in budgets that several gateways share.
        """
        self._shared = shared
        self.accounts = Accounts(self._hear, None if shared is None else shared.make)
        self.is_used = False  # True while a tenant has budgets: without any, no request takes notice of them
        self.is_read = True  # False if it is not known of some budget what was used before
        self._read = read
        self._ledger_works = ledger_works
        self._emit = emit
        self.wall_clock = wall_clock
        self._loop = asyncio.get_running_loop()
        self._tariffs: Mapping[str, Tariff] = {}
        self.review: Callable[[], None] = _nothing
        self._timer: asyncio.TimerHandle | None = None
        self._counts: dict[str, asyncio.Semaphore] = {}
        self._is_started = False
        self._counts_from_zero = False  # True once a budget has begun without its past
        self._fullest: dict[tuple[str, BudgetTerms], Budget] = {}

    def attach(self, review: Callable[[], None]) -> None:
        """From now on `review` is called when more may be left for those who wait."""
        self.review = review

    # -- life

    def configure(
        self, terms: Mapping[str, Sequence[BudgetTerms]], present: Set[str], tariffs: Mapping[str, Tariff]
    ) -> None:
        """Take over the budgets of the tenants in `terms`, forget those not in `present`; `tariffs` has all pools."""
        self.note_time()
        self._tariffs = tariffs
        for tenant, listed in terms.items():
            self.accounts.configure(tenant, listed)
        for tenant in self.accounts.tenants - present:
            self.accounts.forget(tenant)
        self.is_used = self.accounts.has_any
        kept = set(self.accounts.terms())
        self._fullest = {entry: budget for entry, budget in self._fullest.items() if entry in kept}
        if self._is_started:
            self._begin()

    def start(self) -> None:
        """Find out what was used before, and watch for the beginnings of periods; nothing is served until then."""
        self._is_started = True
        unknown = list(self.accounts.unknown())
        if unknown:
            self._load(unknown, self._used(unknown, self.accounts.now))
        self._begin()

    def _begin(self) -> None:
        """Read what a reload wants to know, and arm the timer if there are budgets now."""
        unknown = list(self.accounts.unknown())
        if unknown:
            reading = self._loop.run_in_executor(None, self._used, unknown, self.accounts.now)
            reading.add_done_callback(lambda done: None if done.cancelled() else self._load(unknown, done.result()))
        if self._timer is None and self.is_used:
            self._arm()

    def _used(self, unknown: Sequence[tuple[str, BudgetTerms]], now: float) -> _Found | None:
        """For each of `unknown` the beginning of its period and what was used since; None if nobody knows."""
        read: dict[tuple[Scope, float], list[Used]] = {}
        found = []
        try:
            for tenant, terms in unknown:
                start = span_of(terms.period, terms.zone, now).start
                if (terms.scope, start) not in read:
                    read[terms.scope, start] = list(self._read(terms.scope, start))
                sums: dict[Owner, dict[str, float]] = {}
                for used in read[terms.scope, start]:
                    if used.owner.tenant == tenant:
                        by_writer = sums.setdefault(used.owner, {})
                        by_writer[used.writer] = by_writer.get(used.writer, 0.0) + used.amount(terms.unit)
                found.append((start, sums))
        except LedgerUnread:
            return None
        return found

    def _load(
        self,
        unknown: Sequence[tuple[str, BudgetTerms]],
        found: _Found | None,
    ) -> None:
        """Count what was found; if nothing could be read, only budgets that refuse then stay unknown."""
        self.note_time()
        for place, (tenant, terms) in enumerate(unknown):
            if found is not None:
                self.accounts.load(tenant, terms, *found[place])
            elif not terms.refuses_unknown:
                self._counts_from_zero = True
                self.accounts.load(tenant, terms, 0.0, {})
        self.is_read = found is not None and not self._counts_from_zero
        self.review()

    def note_ledger(self) -> None:
        """The ledger works again: read what could not be read before."""
        if self._is_started and not self.is_read:
            self._begin()

    def note_time(self) -> None:
        """Let the accounts know the time, by which periods begin and end."""
        self.accounts.now = self.wall_clock()

    def _arm(self) -> None:
        self.note_time()
        seconds = QUARTER_SECONDS - self.accounts.now % QUARTER_SECONDS
        self._timer = self._loop.call_later(seconds, self.begin_periods)

    def begin_periods(self) -> None:
        """Let those run who waited for a new period, and arm the timer for the next quarter of an hour."""
        self._timer = None
        if self.is_used:
            self._arm()
            self.review()

    def close(self) -> None:
        """Disarm the timer."""
        if self._timer is not None:
            self._timer.cancel()

    # -- one request

    def claim(self, context: Context, ticket: Ticket, max_model_len: int) -> Claim | None:
        """The claim of a request on its budgets; None if it has none."""
        if ticket.tenant not in self.accounts:
            return None
        self.note_time()
        end_user = pseudonym(context.parsed.end_user)
        budgets = self.accounts.of(ticket.tenant, context.identity.key_id, end_user)
        if not budgets:
            return None
        claim = Claim(self.accounts, budgets, _need(context.parsed, max_model_len), self._tariffs[ticket.pool])
        claim.expected_tokens = ticket.max_output_tokens
        if context.parsed.prompt_tokens is not None:
            claim.is_exact = True
        return claim

    async def weigh(self, context: Context, claim: Claim, worker: WorkerEndpoint | None, most: int) -> None:
        """Let a worker count the prompt if the budgets may not have enough for all that the request asks for.

        `most` is the context length. Raises `Refusal` if the ledger does not work and a budget refuses then. Cancelled:
        nothing is held.
        """
        self.note_time()
        for budget in claim.budgets:
            if budget.terms.refuses_unknown and not (self._ledger_works() and budget.is_known):
                raise Refusal(Outcome.NO_LEDGER, _RETRY_SECONDS)
        if claim.is_exact or worker is None or claim.fits_whole:
            return
        question = prompt_question(context.parsed)
        if question is None:
            return
        turns = self._counts.setdefault(context.identity.tenant.name, asyncio.Semaphore(COUNTS_AT_ONCE))
        async with turns:
            tokens = await _count(context, worker, *question)
        if tokens is not None:
            claim.state_prompt(tokens, most - tokens)

    def snapshot(self, tenants: Collection[str] | None = None) -> BudgetsSnapshot | None:
        """The fullest budget of each entry of `tenants` (None: of all); None if nobody has one."""
        if not self.is_used:
            return None
        self.note_time()
        shown = []
        for tenant, terms in self.accounts.terms():
            budget = self._fullest.get((tenant, terms))
            if budget is not None and (tenants is None or tenant in tenants):
                budget.turn(self.accounts.now)
                shown.append(_snapshot(budget))
        return BudgetsSnapshot(tuple(shown), self.is_read, self.accounts.excesses)

    def _hear(self, budget: Budget, is_at_limit: bool) -> None:
        if self._shared is not None:
            self._shared.touch(budget)
        entry = (budget.owner.tenant, budget.terms)
        fullest = self._fullest.get(entry)
        if fullest is None or fullest.tally.span != budget.tally.span or fullest.used < budget.used:
            self._fullest[entry] = budget
        percent = budget.newly_reached(is_at_limit=is_at_limit)
        if percent:
            terms, owner = budget.terms, budget.owner
            amount, used = _shown(terms, terms.amount), _shown(terms, budget.used)
            unit, period = terms.unit.value, terms.period.value
            self._emit(BudgetThreshold(*owner, percent, unit, amount, used, period, budget.ends))


def refusal_of(claim: Claim | None) -> BudgetRefusal:
    """What a request is told for which a budget has too little left."""
    budget = None if claim is None else claim.limited_by
    assert claim is not None
    assert budget is not None
    tally, terms = budget.tally, budget.terms
    held = f", and {_words(terms, tally.reserved)} are reserved by requests that run" if tally.reservations else ""
    message = (
        f"The budget of {_OWNERS[terms.scope]} for this {terms.period.value} has too little left for this request: of "
        f"{_words(terms, terms.amount)} {_UNITS[terms.unit]} {_words(terms, budget.used)} are used{held}. "
        f"It starts again at {budget.ends}; until then a retry has no effect."
    )
    return BudgetRefusal(message, limited_by(budget), tally.span.end - claim.accounts.now)


def shortened_rest(parsed: ParsedRequest, claim: Claim | None) -> bytes:
    """The body for the worker, with the output limit that budgets leave to it."""
    return parsed.rest if claim is None or not claim.is_shortened else parsed.shortened(claim.output_tokens)


def limited_by(budget: Budget) -> str:
    """A budget as a header names it: whose, of what, how often."""
    terms = budget.terms
    return f"budget:{terms.scope.value}:{terms.unit.value}:{terms.period.value}"


def budget_headers(claim: Claim | None) -> list[tuple[str, str]]:
    """What a client is told with the first byte of an answer that may get less long than it asked for."""
    if claim is None or not claim.is_shortened or claim.limited_by is None:
        return []
    return [(LIMITED_BY, limited_by(claim.limited_by)), (MOST_OUTPUT, str(claim.output_tokens))]


def _nothing() -> None:
    """Do nothing: nobody waits yet."""


def _snapshot(budget: Budget) -> BudgetSnapshot:
    owner, terms, tally = budget.owner, budget.terms, budget.tally
    amount, used, reserved = (_shown(terms, each) for each in (terms.amount, budget.used, tally.reserved))
    names = (owner.tenant, terms.scope.value, terms.unit.value, terms.period.value, owner.key, owner.end_user)
    return BudgetSnapshot(*names, amount, used, reserved, budget.ends)


def _words(terms: BudgetTerms, amount: float) -> str:
    return f"{_shown(terms, amount):.12g}"


def _shown(terms: BudgetTerms, amount: float) -> float:
    return amount / NANO if terms.unit is Unit.MONEY else amount


def _need(parsed: ParsedRequest, max_model_len: int) -> Need:
    """What a request may use at most, by the bytes of its prompt and by what it says of its answer."""
    prompt_tokens, output_tokens = _prompt_bound(parsed, max_model_len), 0
    least_tokens = 0
    if parsed.endpoint.kind is Kind.GENERATE:
        stated = parsed.max_output_tokens
        output_tokens = max_model_len if stated is None else min(stated, max_model_len)
        least_tokens = max(LEAST_OUTPUT_TOKENS, parsed.min_output_tokens)
        if not _UNWRITABLE.isdisjoint(parsed.rights_used):
            least_tokens = output_tokens
    # A limit that the client named itself may be lowered; a new one must leave room for the prompt.
    tellable = output_tokens if parsed.max_output_tokens is not None else max(0, max_model_len - prompt_tokens)
    return Need(prompt_tokens, output_tokens, parsed.sequences, least_tokens, tellable)


def _prompt_bound(parsed: ParsedRequest, max_model_len: int) -> int:
    """A token has one byte at least; media and embeddings are bounded by the context length alone."""
    if parsed.prompt_tokens is not None:
        return parsed.prompt_tokens
    prompts = parsed.prompts
    most = max_model_len * prompts
    if parsed.media_parts or "prompt_embeds" in parsed.rights_used:
        return most
    size_bytes = max(parsed.prompt_size, parsed.prompt_bytes)
    if parsed.endpoint.family in (Family.RERANK, Family.SCORE):
        size_bytes *= prompts  # the query stands in each of them
    return min(most, size_bytes + _PROMPT_TOKENS * prompts + _TEMPLATE_TOKENS)


async def _count(context: Context, worker: WorkerEndpoint, path: str, rest: bytes) -> int | None:
    """How many tokens the prompt has at `worker`; None if it does not say. Cancelled: the connection closes."""
    start = orjson.dumps({"model": worker.pool.model_at_workers(context.parsed.model)})[:-1]
    head = request_head(worker.upstream, path, context.request_id, len(start) + len(rest))
    try:
        answer = await fetch(
            worker.utility, head + start, Load(rest), seconds=_COUNT_SECONDS, max_bytes=_MAX_COUNT_BYTES
        )
    except WorkerUnreachable:
        return None
    return counted_tokens(answer.body) if answer.status == 200 else None
