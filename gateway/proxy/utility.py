"""Requests that run no model (tokenize, detokenize, count_tokens): not queued, not charged, but bounded per tenant.

They cost the worker's API server a few milliseconds and take no slot of a batch. Each tenant has a few at a time and
pays for them from its requests per minute, so that they are no way round its limits.
"""

from collections import Counter

from aiohttp import web

from gateway.config import Pool
from gateway.outcomes import Outcome
from gateway.proxy.directory import Identity
from gateway.proxy.exchange import Services
from gateway.proxy.health import evidence_of_failure
from gateway.proxy.record import Record
from gateway.proxy.refusal import Refusal, own_headers
from gateway.proxy.upstream import WorkerUnreachable, fetch
from gateway.wire.engine_answer import describe, media_type, read_error, types_for
from gateway.wire.headers import forwarded_response_headers, request_head
from gateway.wire.request import Reading
from gateway.workers import Evidence, Situation, evidence_of, judge

MAX_AT_ONCE_PER_TENANT = 16
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_RETRY_SECONDS = 1.0


class UtilityDesk:
    """Answers utility requests through any worker of the pool that serves."""

    def __init__(self, services: Services) -> None:
        """A desk without requests."""
        self._services = services
        self._running: Counter[str] = Counter()

    async def answer(
        self, request: web.BaseRequest, reading: Reading, pool: Pool, identity: Identity, record: Record
    ) -> web.StreamResponse:
        """The engine's answer, unchanged; raises `Refusal`."""
        tenant = identity.tenant.name
        wait = self._services.dispatcher.count_request(tenant)
        if wait is not None:
            raise Refusal(Outcome.RATE_LIMITED, wait)
        if self._running[tenant] >= MAX_AT_ONCE_PER_TENANT:
            raise Refusal(Outcome.TENANT_QUEUE_FULL, _RETRY_SECONDS)
        self._running[tenant] += 1
        try:
            return await self._forward(request, reading, pool, record)
        finally:
            self._running[tenant] -= 1
            if self._running[tenant] == 0:
                del self._running[tenant]

    async def _forward(
        self, request: web.BaseRequest, reading: Reading, pool: Pool, record: Record
    ) -> web.StreamResponse:
        worker = self._services.dispatcher.any_worker(pool.model)
        if worker is None:
            raise Refusal(Outcome.NO_WORKER, _RETRY_SECONDS)
        record.worker = worker
        link = self._services.links[worker]
        start, rest = reading.upstream_start(link.pool.model_at_workers(reading.model), ""), reading.rest
        size = len(start) + len(rest)
        head = request_head(link.upstream, reading.endpoint.path, record.request_id, size, request.raw_headers)
        visits = self._services.links.visits
        visits[worker] += 1  # it is not taken away before they end
        try:
            answer = await fetch(
                link.utility,
                head + start,
                body=rest,
                seconds=pool.timeouts.first_byte_seconds,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except WorkerUnreachable as error:
            record.detail = str(error)
            raise Refusal(_outcome(evidence_of_failure(error)), _RETRY_SECONDS) from None
        finally:
            visits[worker] -= 1
        said = None if answer.status == 200 else read_error(answer.headers, answer.body)
        evidence = evidence_of(
            answer.status,
            is_answer=answer.status == 200 and media_type(answer.headers) in types_for(reading),
            is_of_request=said is not None and not said.names_model,
        )
        outcome = _outcome(evidence)
        if outcome not in (Outcome.COMPLETED, Outcome.REJECTED_BY_ENGINE):
            record.detail = describe(answer.status, answer.headers, said)
            raise Refusal(outcome, _RETRY_SECONDS, record.detail)
        record.end(outcome, status=answer.status)
        response = web.Response(status=answer.status, body=answer.body)
        for name, value in forwarded_response_headers(answer.headers):
            response.headers[name] = value
        for name, value in own_headers(request, record.request_id):
            response.headers[name] = value
        return response


def _outcome(evidence: Evidence) -> Outcome:
    outcome = judge(Situation.ASIDE, evidence).outcome
    assert outcome is not None
    return outcome
