"""The events with which a broken stream ends are what the SDKs' own readers and types take, in all streaming APIs."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import orjson
import pytest
from anthropic.types import ErrorResponse
from openai.types.responses import ResponseErrorEvent

from gateway.outcomes import Outcome
from gateway.wire.errors import error_event
from gateway.wire.sse import event_data
from gateway.wire.surface import Family

ENDS = [Outcome.WORKER_LOST_STREAMING, Outcome.WORKER_STALLED, Outcome.CUT_BY_SHUTDOWN, Outcome.INTERNAL]
MESSAGE = "The worker was lost."
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%b]}\n\n'
BEGINNINGS = {
    Family.CHAT: CHUNK % b'{"index":0,"delta":{"content":"tea"},"finish_reason":null}',
    Family.COMPLETION: CHUNK % b'{"index":0,"text":"tea","finish_reason":null}',
    Family.RESPONSES: b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
    b'"sequence_number":6,"item_id":"i","output_index":0,"content_index":0,"delta":"tea","logprobs":[]}\n\n',
    Family.MESSAGES: b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"tea"}}\n\n',
}
ASKING: dict[Family, Callable[[Any], Iterator[Any]]] = {
    Family.CHAT: lambda client: client.chat.completions.create(model="m", messages=[], stream=True),
    Family.COMPLETION: lambda client: client.completions.create(model="m", prompt="hi", stream=True),
    Family.RESPONSES: lambda client: client.responses.create(model="m", input="hi", stream=True),
    Family.MESSAGES: lambda client: client.messages.create(model="m", messages=[], max_tokens=5, stream=True),
}
EVERY = pytest.mark.parametrize("family", BEGINNINGS)


def payload(family: Family, outcome: Outcome, sequence_number: int = 7) -> Any:
    return orjson.loads(event_data(error_event(family, outcome, MESSAGE, "rid", sequence_number)))


@EVERY
@pytest.mark.parametrize("outcome", ENDS)
def test_an_sdk_raises_its_own_error_with_our_words(family: Family, outcome: Outcome) -> None:
    """After what had come, and not as a fault of its reader."""
    stream = BEGINNINGS[family] + error_event(family, outcome, MESSAGE, "rid", 7)

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    library: Any = anthropic if family is Family.MESSAGES else openai
    kind = library.Anthropic if family is Family.MESSAGES else library.OpenAI
    with httpx2.Client(transport=httpx2.MockTransport(answer)) as transport:
        events = ASKING[family](kind(api_key="k", base_url="http://gateway", http_client=transport, max_retries=0))
        assert next(events) is not None
        with pytest.raises(library.APIError, match=MESSAGE):
            list(events)


@pytest.mark.parametrize("outcome", ENDS)
def test_a_responses_error_is_an_event_of_openai(outcome: Outcome) -> None:
    """Every member that the type demands, with its type; the number continues the stream's."""
    event = ResponseErrorEvent.model_validate(payload(Family.RESPONSES, outcome), strict=True)
    assert (event.type, event.message, event.sequence_number) == ("error", MESSAGE, 7)
    assert event.code == outcome.wire_form.openai_code


@pytest.mark.parametrize("outcome", ENDS)
def test_a_responses_error_has_what_the_ai_sdk_demands(outcome: Outcome) -> None:
    """Its schema of an error chunk: a number, and an error with type, code and message as text."""
    event = payload(Family.RESPONSES, outcome)
    assert event["type"] == "error"
    assert type(event["sequence_number"]) is int
    assert all(type(event["error"][name]) is str for name in ("type", "code", "message"))
    assert event["error"]["param"] is None


@pytest.mark.parametrize("outcome", ENDS)
def test_a_messages_error_is_an_error_of_anthropic(outcome: Outcome) -> None:
    """One of the error types that the API has, and the request's id."""
    error = ErrorResponse.model_validate(payload(Family.MESSAGES, outcome), strict=True)
    assert error.error.type == outcome.wire_form.anthropic_type
    assert error.request_id == "rid"
