"""The event at a request's end has each known fact under its own name."""

from types import SimpleNamespace
from typing import cast

from uncompiled import needs_sources

from gateway.clients.custody import Custody
from gateway.clients.request import ClientRequest
from gateway.config import Pool
from gateway.events import RequestFinished
from gateway.fairness import PoolAccount, Ticket
from gateway.outcomes import Outcome
from gateway.proxy.directory import Identity
from gateway.proxy.record import AnswerFacts, Context, RequestRecord
from gateway.usage import Usage
from gateway.wire.request import ParsedRequest
from gateway.wire.surface import ENDPOINTS

KNOWN = {
    "request_id": "id",
    "endpoint": "/endpoint",
    "tenant": "tenant",
    "key_id": "key",
    "pool": "pool",
    "model": "model",
    "worker": "worker",
    "outcome": Outcome.COMPLETED,
    "status": 201,
    "streamed": True,
    "attempts": 2,
    "prompt_tokens": 31,
    "cached_tokens": 17,
    "output_tokens": 5,
    "service": 99.5,
    "queue_wait_seconds": 2.5,
    "ttft_seconds": 16.0,
    "inter_token_seconds": 4.0,
    "longest_gap_seconds": 0.25,
    "gateway_seconds": 6.0,
    "duration_seconds": 64.0,
    "detail": "detail",
    "asked_pool": "asked",
    "client_request_id": "theirs",
    "estimated_tokens": 3,
    "retries": 7,
    "client_address": "192.0.2.7",
    "end_user": "c0ffee",
    "lost_prompt_tokens": 23,
    "lost_output_tokens": 13,
    "worker_seconds": 0.5,
    "choices": 9,
    "end_user_name": "ann",
}


def _pool(model: str) -> Pool:
    return cast(Pool, SimpleNamespace(model=model))


def _context(*, stream: bool) -> Context:
    """A request that a fallback pool serves."""
    identity = cast(Identity, SimpleNamespace(tenant=SimpleNamespace(name="tenant"), key_id="key"))
    parsed = ParsedRequest(ENDPOINTS["/v1/chat/completions"], "model")
    parsed.stream, parsed.choices = stream, 9
    request, custody = cast(ClientRequest, None), cast(Custody, None)
    return Context(request, "id", custody, identity, parsed, _pool("asked"), _pool("pool"), 101.0)


def _whole(*, stream: bool = True) -> RequestRecord:
    """A request with all values known and all of them different."""
    record = RequestRecord("id", "/endpoint", 100.0, client_request_id="theirs", client_address="192.0.2.7")
    record.context = _context(stream=stream)
    record.identity, record.worker = record.context.identity, "worker"
    record.end_user, record.end_user_name = "c0ffee", "ann"
    ticket = record.ticket = Ticket("id", "tenant", "key", "pool")
    ticket.attempts, ticket.retries = 2, 7
    ticket.submitted_at, ticket.granted_at, ticket.waited_seconds = 102.0, 103.0, 2.5
    ticket.settle(Usage(31, 17, 5), 99.5)
    ticket.worker, ticket.worker_seconds, record.lost = "worker", 0.5, Usage(23, 0, 13)
    answer = record.answer = AnswerFacts()
    answer.sent_at, answer.started_at, answer.last_token_at = 108.0, 116.0, 132.0
    answer.longest_gap_seconds, answer.estimated_tokens = 0.25, 3
    record.end(Outcome.COMPLETED, "detail", 201)
    return record


@needs_sources
def test_every_value_stands_under_its_own_name() -> None:
    """The event is made by position: a value in its neighbour's place would be another tenant's, another pool's."""
    assert len(set(KNOWN.values())) == len(KNOWN) == len(RequestFinished._fields)
    assert _whole().finished(164.0)._asdict() == KNOWN


@needs_sources
def test_what_a_request_has_used_so_far_stands_under_its_own_names() -> None:
    """It has the names of the event of its end, and their values but for those that go on."""
    so_far = _whole().so_far(164.0, cast(PoolAccount, None), 8.5)._asdict()
    assert so_far == {name: KNOWN[name] for name in so_far} | {"worker_seconds": 8.5}


@needs_sources
def test_an_answer_that_is_not_streamed_has_no_times_of_tokens() -> None:
    """Its tokens came at once, whenever the engine made them."""
    event = _whole(stream=False).finished(164.0)
    assert (event.ttft_seconds, event.inter_token_seconds, event.longest_gap_seconds) == (None, None, None)
    assert (event.queue_wait_seconds, event.gateway_seconds) == (2.5, 6.0)


def test_what_is_not_known_is_not_reported() -> None:
    """A request that nobody ended is an internal failure; one that was never queued did not wait."""
    event = RequestRecord("id", "/endpoint", arrived_at=1.0).finished(2.0)
    assert (event.outcome, event.status, event.duration_seconds) == (Outcome.INTERNAL, 500, 1.0)
    assert event.queue_wait_seconds is event.ttft_seconds is event.inter_token_seconds is event.gateway_seconds is None


@needs_sources
def test_a_request_that_leaves_its_queue_waits_no_longer() -> None:
    """Its refusal may take a slow client long to read."""
    record = _whole()
    ticket = record.ticket = Ticket("id", "tenant", "key", "pool")
    ticket.wait(102.0)
    ticket.leave(105.0)
    assert record.finished(164.0).queue_wait_seconds == 3.0
