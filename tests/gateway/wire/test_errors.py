"""Error bodies and events: the format of the API that was called, one event, never an end mark."""

import orjson
import pytest

from gateway.outcomes import Outcome
from gateway.wire.errors import error_body, error_event
from gateway.wire.sse import EventSplitter, event_data
from gateway.wire.surface import Dialect, Family

MESSAGE = 'no "room"\n\ndata: [DONE]'


@pytest.mark.parametrize("outcome", Outcome)
def test_openai_bodies(outcome: Outcome) -> None:
    """`{error: {message, type, param, code}}` with type and code of the outcome."""
    assert orjson.loads(error_body(Dialect.OPENAI, outcome, MESSAGE, "n")) == {
        "error": {
            "message": MESSAGE,
            "type": outcome.wire_form.openai_type,
            "param": "n",
            "code": outcome.wire_form.openai_code,
        }
    }


@pytest.mark.parametrize("outcome", Outcome)
def test_anthropic_bodies(outcome: Outcome) -> None:
    """The error is `{type: error, error: {type, message}}`, with the request's id if it is known."""
    expected = {"type": "error", "error": {"type": outcome.wire_form.anthropic_type, "message": MESSAGE}}
    assert orjson.loads(error_body(Dialect.ANTHROPIC, outcome, MESSAGE)) == expected
    with_id = orjson.loads(error_body(Dialect.ANTHROPIC, outcome, MESSAGE, "n", "req-1"))
    assert with_id == expected | {"request_id": "req-1"}


@pytest.mark.parametrize("family", Family)
def test_an_error_event_is_one_event(family: Family) -> None:
    """Exactly one event with a JSON payload that holds the message, and no end mark."""
    event = error_event(family, Outcome.WORKER_LOST_STREAMING, MESSAGE)
    assert EventSplitter().feed(event) == [event]
    payload = orjson.loads(event_data(event))
    match family:
        case Family.MESSAGES:
            assert event.startswith(b"event: error\n")
            assert payload == {"type": "error", "error": {"type": "api_error", "message": MESSAGE}}
        case Family.RESPONSES:
            assert event.startswith(b"event: error\n")
            error = {"message": MESSAGE, "type": "server_error", "param": None, "code": "worker_lost"}
            assert payload == {
                "type": "error",
                "code": "worker_lost",
                "message": MESSAGE,
                "param": None,
                "sequence_number": 0,
                "error": error,
            }
        case _:
            assert event.startswith(b'data: {"error"')
            assert payload["error"]["message"] == MESSAGE
