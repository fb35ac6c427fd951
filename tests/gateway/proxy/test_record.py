"""The event of a request's end tells what its record holds, each under its own name."""

from gateway.events import RequestFinished
from gateway.outcomes import Outcome
from gateway.proxy.record import RequestRecord

SAME = {name for name in RequestFinished._fields if hasattr(RequestRecord("id", "/endpoint", 0.0), name)}


def _whole() -> RequestRecord:
    """A streamed request of which everything is known, no two values the same."""
    record = RequestRecord("id", "/endpoint", 100.0, client_request_id="theirs", client_address="192.0.2.7")
    record.end_user = "c0ffee"
    record.tenant, record.key_id, record.pool, record.asked_pool = "tenant", "key", "pool", "asked"
    record.model, record.worker, record.detail = "model", "worker", "detail"
    record.outcome, record.status, record.streamed = Outcome.COMPLETED, 201, True
    record.attempts, record.prompt_tokens, record.cached_tokens, record.output_tokens = 2, 31, 17, 5
    record.service, record.longest_gap_seconds, record.estimated_tokens = 99.5, 0.25, 3
    record.body_read_at, record.submitted_at, record.granted_at, record.sent_at = 101.0, 102.0, 104.0, 108.0
    record.started_at, record.last_token_at = 116.0, 132.0
    record.queue_wait_seconds, record.retries = 2.5, 4
    return record


def test_every_value_stands_under_its_own_name() -> None:
    """The event is made by position: a value in its neighbour's place would be another tenant's, another pool's."""
    record = _whole()
    event = record.finished(164.0)
    assert len(SAME) == 24
    assert {name: getattr(event, name) for name in SAME} == {name: getattr(record, name) for name in SAME}
    assert len({getattr(event, name) for name in SAME}) == 24
    assert (event.queue_wait_seconds, event.ttft_seconds, event.inter_token_seconds) == (2.5, 16.0, 4.0)
    assert (event.gateway_seconds, event.duration_seconds) == (5.0, 64.0)


def test_an_answer_that_is_not_streamed_has_no_times_of_tokens() -> None:
    """Its tokens came at once, whenever they were made."""
    record = _whole()
    record.streamed = False
    event = record.finished(164.0)
    assert (event.ttft_seconds, event.inter_token_seconds, event.longest_gap_seconds) == (None, None, None)
    assert (event.queue_wait_seconds, event.gateway_seconds) == (2.5, 5.0)


def test_what_is_not_known_is_not_told() -> None:
    """A request that nobody ended is an internal failure; one that was never queued did not wait."""
    event = RequestRecord("id", "/endpoint", arrived_at=1.0).finished(2.0)
    assert (event.outcome, event.status, event.duration_seconds) == (Outcome.INTERNAL, 500, 1.0)
    assert event.queue_wait_seconds is event.ttft_seconds is event.inter_token_seconds is event.gateway_seconds is None
