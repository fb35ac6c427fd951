"""What a client may ask: the routes, the credentials, and the handler of each request.

A route matches one exact path. The matched route says who may call it, never the URL as it was written. Every request
ends with one outcome, one event and one answer in the format of the API that was called. `exchange` handles requests
that are scheduled, `utility` those that run no model.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.clients.body import body_at_hand, read_body
from gateway.clients.custody import Custody
from gateway.clients.downstream import WholeAnswer, give_up
from gateway.clients.origins import Origins, is_preflight, preflight_answer
from gateway.clients.protocol import check_protocol
from gateway.clients.refusal import Refusal, WrongMethod, refusal_answer
from gateway.clients.request import ClientRequest
from gateway.clients.request_ids import RequestIds
from gateway.events import Observer, OpenRequest
from gateway.fairness import Ticket
from gateway.long_work import LongWork
from gateway.outcomes import Outcome
from gateway.proxy.control import Control
from gateway.proxy.directory import Directory, Identity
from gateway.proxy.exchange import Exchange
from gateway.proxy.record import Context, RequestRecord
from gateway.proxy.services import Services
from gateway.proxy.utility import UtilityForwarder
from gateway.wire.end_user import named_by_header, pseudonym
from gateway.wire.errors import RequestFault
from gateway.wire.headers import client_request_id, presented_keys
from gateway.wire.request import LONG_BODY_BYTES, read_in_steps, read_request
from gateway.wire.surface import ENDPOINTS, Endpoint, Kind
from gateway.wire.target import MODELS, path_of, remedy, shown
from gateway.workers import prefix_chain

DRAIN_RETRY_SECONDS: Final = 5.0
_UNKNOWN: Final = "unknown"
_GENERATE: Final = Kind.GENERATE
_POOLING: Final = Kind.POOLING
_UTILITY: Final = Kind.UTILITY
_COMPLETED: Final = Outcome.COMPLETED

_READING: Final = "GET, HEAD"

_Page = Callable[[ClientRequest], Awaitable[WholeAnswer]]


@dataclass(frozen=True, slots=True)
class RouterLimits:
    """Bounds on requests, and the web origins whose pages may read the answers."""

    max_body_bytes: int
    body_timeout_seconds: float
    allowed_origins: tuple[str, ...] = ()


class Router:
    """Answers every request that the HTTP server has parsed, and reports the others."""

    def __init__(
        self, directory: Directory, services: Services, control: Control, limits: RouterLimits, observer: Observer
    ) -> None:
        """Serve the tenants of `directory`, which a reload replaces."""
        self.directory = directory
        self.is_draining = False
        self._services = services
        self._control = control
        self._limits = limits
        self._origins = Origins(limits.allowed_origins)
        self._observer = observer
        self._delivery = services.delivery
        self._utility = UtilityForwarder(services)
        self._loop = asyncio.get_running_loop()
        self._ids = RequestIds()
        self._long_bodies = LongWork()
        self._exchanges: dict[str, Exchange] = {}  # by the id of the request
        self._none_left = asyncio.Event()
        self._pages: Mapping[str, _Page] = MappingProxyType(
            {
                "/health": lambda _: control.health(),
                "/ready": lambda request: control.ready(_query(request)),
                "/metrics": lambda _: control.metrics(),
                "/debug/state": self._debug_state,
            }
        )

    @property
    def exchanges(self) -> frozenset[Exchange]:
        """Every scheduled request that has not ended."""
        return frozenset(self._exchanges.values())

    def open_request(self, request_id: str) -> OpenRequest | None:
        """What a request, which was granted, has used so far; None if it has ended."""
        exchange = self._exchanges.get(request_id)
        return None if exchange is None else exchange.so_far()

    async def ended(self, deadline: float) -> None:
        """Wait until no scheduled request is left, but not beyond `deadline` (loop time)."""
        try:
            async with asyncio.timeout_at(deadline):
                while self._exchanges:
                    self._none_left.clear()
                    await self._none_left.wait()
        except TimeoutError:
            return

    async def handle(self, request: ClientRequest) -> bool:
        """Answer one request; True if its connection may carry another one.

        Cancelled at any await: the calls below close what they opened (custody, ticket, visit), the outcome that was
        noted first stays, and `finally` reports the event.
        """
        path = path_of(request.target) or ""
        endpoint = ENDPOINTS.get(path)
        label = self._label(path) if endpoint is None else endpoint.path
        address, id_there = request.line.address, client_request_id(request.headers)
        record = RequestRecord(self._ids.draw(), label, self._loop.time(), id_there, address)
        request.id = record.request_id
        self._origins.note(request)
        try:
            check_protocol(request)
            if is_preflight(request):
                record.is_minor = True
                return await self._answer_minor(request, preflight_answer(request), record)
            if endpoint is None:
                return await self._answer_page(request, path, record)
            return await self._answer_api(request, endpoint, record)
        except RequestFault as fault:
            record.end(fault.outcome, record.detail or fault.message)
            if request.has_begun:
                give_up(request)
                return False
            return await self._delivery.deliver(request, self._refuse(fault, request, record), record, fault.outcome)
        except asyncio.CancelledError:
            record.end(Outcome.CLIENT_GONE_QUEUED)
            raise
        finally:
            if not record.is_minor or record.outcome is not _COMPLETED:
                self._observer.observe(record.finished(self._loop.time()))

    def note_unparsed(self, request: ClientRequest, request_id: str, status: int, detail: str) -> None:
        """Report a request that the HTTP server refused because it could not be parsed."""
        now = self._loop.time()
        record = RequestRecord(request_id, _UNKNOWN, now, client_address=request.line.address)
        record.end(Outcome.BAD_REQUEST, detail, status)
        self._observer.observe(record.finished(now))

    def _label(self, path: str) -> str:
        """The name that events use for a path outside the API: one of a closed list."""
        if path in self._pages:
            return path
        return MODELS if _is_models(path) else _UNKNOWN

    async def _answer_page(self, request: ClientRequest, path: str, record: RequestRecord) -> bool:
        if path not in self._pages and not _is_models(path):
            record.detail = f"path {shown(path)}"
            raise RequestFault(Outcome.UNKNOWN_PATH, remedy(path))
        if request.method not in ("GET", "HEAD"):
            raise WrongMethod(record.endpoint, _READING)
        if path in self._pages:
            record.is_minor = True
            page = await self._pages[path](request)
        else:
            page = self._control.models(self._identify(request, record), path)
        return await self._answer_minor(request, page, record)

    async def _answer_minor(self, request: ClientRequest, answer: WholeAnswer, record: RequestRecord) -> bool:
        """Answer with one of the gateway's own texts; its custody counts it until the client has taken it."""
        with Custody(self._services.holdings, record.tenant, 1.0, asyncio.current_task(self._loop)) as custody:
            request.holding = custody
            custody.hold(answer.size_bytes)
            return await self._delivery.deliver(request, answer, record, _COMPLETED)

    async def _answer_api(self, request: ClientRequest, endpoint: Endpoint, record: RequestRecord) -> bool:
        if request.method != "POST":
            raise WrongMethod(endpoint.path, "POST")
        identity = self._identify(request, record)
        if self.is_draining:
            raise Refusal(Outcome.DRAINING, DRAIN_RETRY_SECONDS)
        tenant, task = identity.tenant, asyncio.current_task(self._loop)
        with Custody(self._services.holdings, tenant.name, tenant.weight, task) as custody:
            request.holding = custody
            return await self._answer_in_custody(request, endpoint, custody, record)

    async def _answer_in_custody(
        self, request: ClientRequest, endpoint: Endpoint, custody: Custody, record: RequestRecord
    ) -> bool:
        """Read the body and answer; the request's custody counts the body from its first byte on."""
        limits, identity = self._limits, record.identity
        assert identity is not None
        body = body_at_hand(request, limits.max_body_bytes)
        if body is None:  # cancelled while it is read: there is no ticket yet, and the custody lets go of the pieces
            body = await read_body(request, limits.max_body_bytes, limits.body_timeout_seconds, custody.hold)
            identity = self._identify(request, record)  # a reload may have come meanwhile
        read_at = self._loop.time()
        if len(body) <= LONG_BODY_BYTES:
            parsed = read_request(endpoint, body, identity.rights)
        else:
            custody.hold(len(body))  # cancelled in the steps: as while the body is read
            parsed = await self._long_bodies.carry_out(read_in_steps(endpoint, body, identity.rights))
        del body  # a request that waits keeps what is in `parsed`
        header = identity.tenant.end_user_header
        if header is not None:
            parsed.end_user = named_by_header(request.headers.get(header.lower()) or "") or parsed.end_user
        record.end_user, record.end_user_name = pseudonym(parsed.end_user), parsed.end_user or ""
        custody.hold(parsed.size_bytes)
        asked = identity.pool(parsed.model or _only_model(identity))
        dispatcher = self._services.dispatcher
        pool = identity.fallback_for(asked, dispatcher.serves, dispatcher.awaits)
        custody.pool = pool.model
        context = Context(request, record.request_id, custody, identity, parsed, asked, pool, read_at)
        record.context = context
        if endpoint.kind is _UTILITY:
            return await self._utility.answer(context, record)
        return await self._exchange(context, record)

    async def _exchange(self, context: Context, record: RequestRecord) -> bool:
        ticket = record.ticket = make_ticket(self._services, context)
        exchange = Exchange(self._services, context, ticket, record, self._confirm)
        self._exchanges[record.request_id] = exchange
        try:
            return await exchange.run()
        finally:
            del self._exchanges[record.request_id]
            if not self._exchanges:
                self._none_left.set()

    def _confirm(self, context: Context) -> None:
        """Raise `RequestFault` if a reload has taken from a waiting request what it was admitted by."""
        if self.directory is context.identity.directory:
            return
        pools = {context.model: context.asked_pool.model}
        if context.pool is not context.asked_pool:
            pools[context.pool.model] = context.pool.model
        now = self.directory.identify(presented_keys(context.request.headers))
        now.confirm(context.identity, pools, context.parsed.rights_used)

    def _identify(self, request: ClientRequest, record: RequestRecord) -> Identity:
        identity = record.identity = self.directory.identify(presented_keys(request.headers))
        return identity

    async def _debug_state(self, request: ClientRequest) -> WholeAnswer:
        is_admin = self.directory.is_admin(presented_keys(request.headers))
        return await self._control.debug_state(is_admin=is_admin)

    def _refuse(self, fault: RequestFault, request: ClientRequest, record: RequestRecord) -> WholeAnswer:
        body = request.body
        is_strange = fault.outcome is Outcome.BAD_REQUEST and not record.tenant
        # What follows cannot be trusted, or the rest of the body is not worth reading.
        is_last = is_strange or body.is_broken or not body.is_whole
        rates = self._services.dispatcher.rates(record.tenant)
        return refusal_answer(request, fault, record.request_id, rates, is_last=is_last)


def _is_models(path: str) -> bool:
    return path == MODELS or (path.startswith(f"{MODELS}/") and len(path) > len(MODELS) + 1)


def _query(request: ClientRequest) -> str:
    return request.target.partition("?")[2]


def _only_model(identity: Identity) -> str:
    """The model of a request that names none, as some endpoints allow: the only one that the key may use."""
    pools = {pool.model for pool in identity.models.values()}
    if len(pools) == 1:
        return pools.pop()
    raise RequestFault(Outcome.BAD_REQUEST, "Name the model: this key may use several.", "model")


def make_ticket(services: Services, context: Context) -> Ticket:
    """The ticket of a request, with an estimate of its tokens before the engine has counted any."""
    parsed, pool, identity = context.parsed, context.pool, context.identity
    prompts, sequences, tenant = parsed.prompts, parsed.sequences, identity.tenant.name
    prompt_tokens = parsed.prompt_tokens
    if prompt_tokens is None:
        prompt_tokens = services.dispatcher.account(pool.model).prompts.estimate(
            tenant, parsed.prompt_bytes, prompts=prompts, media_parts=parsed.media_parts
        )
    max_model_len = services.endpoints.max_model_len(pool)
    prompt_tokens = min(prompt_tokens, max_model_len * prompts)
    per_sequence = max(1, max_model_len - prompt_tokens // prompts)
    stated = max_model_len if parsed.max_output_tokens is None else parsed.max_output_tokens
    endpoint = parsed.endpoint
    generating = 0 if endpoint.kind is _POOLING else sequences
    ticket = Ticket(context.request_id, tenant, identity.flow(parsed.end_user), pool.model)
    ticket.is_watched = parsed.stream
    if pool.knows_prefixes and endpoint.kind is _GENERATE:
        model, is_shared = pool.model_at_workers(parsed.model), services.dispatcher.shares_workers
        ticket.prefix = prefix_chain(parsed.prompt, identity.payer.name, model, is_shared=is_shared)
    ticket.sized(
        sequences=sequences,
        prompt_tokens=prompt_tokens,
        max_output_tokens=min(per_sequence, stated) * generating,
        reports_at_end=parsed.reports_at_end,
    ).bounded(most_prompt_tokens=max_model_len * prompts, most_output_tokens=stated * generating)
    if services.budgets is not None and services.budgets.is_used:
        ticket.claim = services.budgets.claim(context, ticket, max_model_len)
    return ticket
