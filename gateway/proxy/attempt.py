"""Turns what an attempt met at its worker into evidence for `workers.judgement`, from the relay's head and end."""

from typing import Final

from gateway.proxy.relay import AttemptEnd, Relay
from gateway.wire.engine_answer import describe, read_error
from gateway.workers import Evidence, evidence_of

_ENDS: Final = {
    AttemptEnd.LOST: Evidence.LOST,
    AttemptEnd.STALE: Evidence.LOST,
    AttemptEnd.MALFORMED: Evidence.MALFORMED,
    AttemptEnd.WHOLE: Evidence.TRUNCATED,
    AttemptEnd.STALLED: Evidence.SILENT,
    AttemptEnd.CUT: Evidence.CUT,
}


def before_answer(relay: Relay) -> Evidence:
    """What an attempt met before the client has a byte; the relay's `reason` then describes it in words."""
    is_whole = relay.end in (None, AttemptEnd.WHOLE)
    if relay.is_answer and is_whole and relay.has_bytes:
        return Evidence.ANSWERED
    is_too_long = relay.end is AttemptEnd.MALFORMED and not relay.is_answer and relay.status > 0
    if not (is_whole or is_too_long):
        assert relay.end is not None
        return _ENDS[relay.end]
    if relay.is_answer:
        relay.reason = "an empty answer"
        return Evidence.TRUNCATED
    error = read_error(relay.headers, relay.buffered)
    described = describe(relay.status, relay.headers, error)
    relay.reason = f"{relay.reason}; {described}" if relay.reason else described
    is_of_request = error is not None and not error.names_model
    return evidence_of(relay.status, is_answer=False, is_of_request=is_of_request)


def in_answer(relay: Relay) -> Evidence:
    """How an incomplete answer ended, as evidence."""
    assert relay.end is not None
    return Evidence.ERROR if relay.meter.has_error else _ENDS[relay.end]
