"""Requests that run no model (tokenize, detokenize, count_tokens): not queued, not charged, but bounded per tenant.

They cost the worker's API server milliseconds for each 100 kB and take no slot of a batch. They count against the
tenant's requests per minute. A tenant may have a few at a time in each pool. The bodies of those that are at the
pool's workers have at most 1 MiB together; a larger body goes alone. A flood of them therefore takes little from what
other tenants generate. The gateway reads an answer completely before it sends it, so that a slow client keeps nobody
from the worker. The request's custody counts the answer until the client has taken it.
"""

import asyncio
from collections import deque
from typing import Final

from gateway.clients.downstream import WholeAnswer
from gateway.clients.refusal import Refusal
from gateway.endpoints.failures import WorkerUnreachable, evidence_of_failure
from gateway.endpoints.upstream import Answer, Load, fetch
from gateway.outcomes import Outcome
from gateway.proxy.record import Context, RequestRecord
from gateway.proxy.services import Services
from gateway.wire.engine_answer import describe, media_type, read_error, types_for
from gateway.wire.headers import request_head
from gateway.wire.request import ParsedRequest
from gateway.workers import Evidence, Situation, evidence_of, judge

MAX_AT_ONCE_PER_TENANT: Final = 16
MAX_BYTES_AT_WORKERS: Final = 2**20  # of one tenant's bodies in one pool; a larger one goes alone
MAX_ANSWER_BYTES: Final = 64 * 2**20
_RETRY_SECONDS = 1.0


class _UtilityQueue:
    """One tenant's utility requests in one pool: those at the workers, and those that wait, in their order."""

    def __init__(self) -> None:
        self.requests = 0
        self._bytes_at_workers = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def enter(self, size_bytes: int) -> None:
        """Wait until a body of `size_bytes` may go to a worker; the caller then owes `leave`, unless cancelled here."""
        if not self._waiting and self._has_room(size_bytes):
            self._bytes_at_workers += size_bytes
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size_bytes))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._let_in()  # takes the cancelled one out of the queue
            else:
                self.leave(size_bytes)  # its turn had just come: give the bytes back
            raise

    def leave(self, size_bytes: int) -> None:
        """Note that a body is no longer at a worker."""
        self._bytes_at_workers -= size_bytes
        self._let_in()

    def _has_room(self, size_bytes: int) -> bool:
        return not self._bytes_at_workers or self._bytes_at_workers + size_bytes <= MAX_BYTES_AT_WORKERS

    def _let_in(self) -> None:
        while self._waiting:
            turn, size_bytes = self._waiting[0]
            if not turn.cancelled():
                if not self._has_room(size_bytes):
                    return
                self._bytes_at_workers += size_bytes
                turn.set_result(None)
            self._waiting.popleft()


class UtilityForwarder:
    """Answers utility requests through any worker of the pool that serves."""

    def __init__(self, services: Services) -> None:
        """Start without requests."""
        self._services = services
        self._queues: dict[tuple[str, str], _UtilityQueue] = {}

    async def answer(self, context: Context, record: RequestRecord) -> bool:
        """Answer with the engine's own answer, unchanged; True if the connection is kept. Raises `Refusal`.

        Cancelled at any await: the `finally` blocks below take the request out of its queue and end its visit.
        """
        tenant = context.identity.tenant.name
        wait = await self._services.dispatcher.count_request(tenant)  # cancelled: nothing is held yet
        if wait is not None:
            raise Refusal(Outcome.RATE_LIMITED, wait)
        name = (tenant, context.pool.model)
        queue = self._queues.setdefault(name, _UtilityQueue())
        if queue.requests >= MAX_AT_ONCE_PER_TENANT:
            raise Refusal(Outcome.TENANT_QUEUE_FULL, _RETRY_SECONDS)
        queue.requests += 1
        try:
            answer, outcome = await self._ask(context, queue, record)
            return await self._pass_on(context, answer, outcome, record)
        finally:
            queue.requests -= 1
            if queue.requests == 0:
                del self._queues[name]

    async def _ask(self, context: Context, queue: _UtilityQueue, record: RequestRecord) -> tuple[Answer, Outcome]:
        """The worker's answer, once the request's turn has come."""
        size_bytes, pool = len(context.parsed.rest), context.pool.model
        await queue.enter(size_bytes)  # cancelled: `enter` itself gives back what it took
        try:
            dispatcher = self._services.dispatcher
            worker = dispatcher.any_worker(pool)
            if worker is None:
                raise Refusal(Outcome.NO_WORKER, max(_RETRY_SECONDS, dispatcher.outage_seconds(pool)))
            return await self._fetch(context, worker, record)
        finally:
            queue.leave(size_bytes)

    async def _fetch(self, context: Context, worker: str, record: RequestRecord) -> tuple[Answer, Outcome]:
        record.worker = worker
        endpoint, custody, parsed = self._services.endpoints[worker], context.custody, context.parsed
        start, rest = parsed.upstream_start(endpoint.pool.model_at_workers(parsed.model), ""), parsed.rest
        size = len(start) + len(rest)
        head = request_head(
            endpoint.upstream, parsed.endpoint.path, context.request_id, size, context.request.headers.fields
        )
        load = Load(rest, lambda come_bytes: custody.hold_from_outside(parsed.size_bytes + come_bytes))
        seconds = context.pool.timeouts.first_byte_seconds
        visits = self._services.endpoints.visits
        visits[worker] += 1  # the worker's endpoint is kept while it has visits
        try:  # cancelled: `fetch` closes the connection, so that the worker stops
            answer = await fetch(endpoint.utility, head + start, load, seconds=seconds, max_bytes=MAX_ANSWER_BYTES)
        except WorkerUnreachable as error:
            record.detail = str(error)
            raise Refusal(_outcome(evidence_of_failure(error)), _RETRY_SECONDS) from None
        finally:
            visits[worker] -= 1
        outcome = self._judge(answer, parsed, record)
        parsed.let_go()
        custody.hold(answer.size_bytes)
        return answer, outcome

    def _judge(self, answer: Answer, parsed: ParsedRequest, record: RequestRecord) -> Outcome:
        """The outcome of a request with this answer; raises `Refusal` if the worker is at fault."""
        error = None if answer.status == 200 else read_error(answer.headers, answer.body)
        evidence = evidence_of(
            answer.status,
            is_answer=answer.status == 200 and media_type(answer.headers) in types_for(parsed),
            is_of_request=error is not None and not error.names_model,
        )
        outcome = _outcome(evidence)
        if outcome not in (Outcome.COMPLETED, Outcome.REJECTED_BY_ENGINE):
            record.detail = describe(answer.status, answer.headers, error)
            raise Refusal(outcome, _RETRY_SECONDS, record.detail)
        return outcome

    async def _pass_on(self, context: Context, answer: Answer, outcome: Outcome, record: RequestRecord) -> bool:
        headers = self._services.answer_headers(answer.headers, context)
        whole = WholeAnswer(answer.status, b"", headers, more=answer.pieces)
        return await self._services.delivery.deliver(context.request, whole, record, outcome)


def _outcome(evidence: Evidence) -> Outcome:
    outcome = judge(Situation.UTILITY, evidence).outcome
    assert outcome is not None
    return outcome
