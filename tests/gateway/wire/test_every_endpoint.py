"""Every endpoint has its row in every table of the wire: what fails here for a new one says where a row is missing."""

import orjson
import pytest

from gateway.outcomes import Outcome
from gateway.usage import Usage
from gateway.wire.attribution import HEADER
from gateway.wire.coercion import TYPED
from gateway.wire.engine_arguments import ARGUMENTS, EngineTenant
from gateway.wire.errors import RequestFault, error_event
from gateway.wire.fields import FIELDS, UNTREATED
from gateway.wire.meters import meter_for
from gateway.wire.request import ParsedRequest, Rights, read_request
from gateway.wire.sse import event_data
from gateway.wire.surface import ENDPOINTS, Endpoint, Family, Kind

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": f"{HEADER}: 1\nhi"}
SMALLEST: dict[Family, dict[str, object]] = {
    Family.CHAT: {"messages": [USER]},
    Family.COMPLETION: {"prompt": "hi"},
    Family.RESPONSES: {"input": "hi"},
    Family.MESSAGES: {"messages": [USER], "max_tokens": 9},
    Family.EMBEDDING: {"input": "hi"},
    Family.RERANK: {"query": "hi", "documents": ["a"]},
    Family.SCORE: {"queries": "hi", "documents": ["a"]},
    Family.TOKENIZE: {"prompt": "hi"},
    Family.DETOKENIZE: {"tokens": [1]},
    Family.COUNT_TOKENS: {"messages": [USER]},
}
# Where an API of conversations has its system texts; None: it has none.
WITH_SYSTEM_TEXT: dict[Family, dict[str, object] | None] = {
    Family.CHAT: {"messages": [SYSTEM]},
    Family.COMPLETION: None,
    Family.RESPONSES: {"input": [SYSTEM]},
    Family.MESSAGES: {"messages": [SYSTEM]},
}
OPENAI = {"prompt_tokens": 3, "completion_tokens": 5}
LATER = {"input_tokens": 3, "output_tokens": 5}
# What the engine says was used, as each API writes it.
USED: dict[Family, dict[str, int]] = {
    **dict.fromkeys((Family.CHAT, Family.COMPLETION, Family.EMBEDDING, Family.RERANK, Family.SCORE), OPENAI),
    **dict.fromkeys((Family.RESPONSES, Family.MESSAGES), LATER),
}
# The members of the event that ends a broken stream, and the line before its data; the SDKs of each API read these.
NAMED = b"event: error"
ERROR_EVENTS: dict[Family, tuple[bytes, set[str]]] = {
    Family.CHAT: (b"", {"error"}),
    Family.COMPLETION: (b"", {"error"}),
    Family.RESPONSES: (NAMED, {"type", "code", "message", "param", "sequence_number", "error"}),
    Family.MESSAGES: (NAMED, {"type", "error", "request_id"}),
}
ALL = sorted(set(ENDPOINTS.values()), key=lambda endpoint: endpoint.path)
GENERATING = [endpoint for endpoint in ALL if endpoint.kind is Kind.GENERATE]


def read(endpoint: Endpoint, rights: Rights = Rights(), **fields: object) -> ParsedRequest:  # noqa: B008 - frozen
    """The smallest request to `endpoint`, and `fields`."""
    return read_request(endpoint, orjson.dumps(SMALLEST[endpoint.family] | fields), rights)


def sent(parsed: ParsedRequest, tenant: EngineTenant | None = None) -> dict[str, object]:
    """What a worker gets."""
    body: dict[str, object] = orjson.loads(parsed.upstream_start("m", "salt", tenant) + parsed.rest)
    return body


def test_every_family_has_its_rules_of_fields() -> None:
    """Which fields pass, which of them need no look, and which have a type."""
    assert set(FIELDS) == set(UNTREATED) == set(TYPED) == set(Family)


@pytest.mark.parametrize("endpoint", ALL, ids=lambda endpoint: endpoint.family.value)
def test_every_prompt_is_measured(endpoint: Endpoint) -> None:
    """Its text or its tokens are counted."""
    parsed = read(endpoint)
    assert parsed.prompt_bytes > 0 or parsed.prompt_tokens


@pytest.mark.parametrize("endpoint", ALL, ids=lambda endpoint: endpoint.family.value)
def test_what_was_used_is_read_of_every_whole_answer(endpoint: Endpoint) -> None:
    """In the format of its API, unless no model runs for it."""
    meter = meter_for(read(endpoint)).whole()
    meter.feed(orjson.dumps({"usage": USED.get(endpoint.family, OPENAI)}))
    meter.end()
    assert meter.has_usage == (endpoint.kind is not Kind.UTILITY)
    if meter.has_usage:
        assert Usage(meter.prompt_tokens, meter.cached_tokens, meter.output_tokens) == Usage(3, 0, 5)


@pytest.mark.parametrize("endpoint", ALL, ids=lambda endpoint: endpoint.family.value)
def test_every_answer_that_is_generated_can_be_streamed(endpoint: Endpoint) -> None:
    """It has a meter of events then, whose answer may still come whole; an endpoint that generates nothing has none."""
    parsed = read(endpoint, stream=True)
    meter = meter_for(parsed)
    assert parsed.stream == meter.is_stream == (endpoint.kind is Kind.GENERATE)
    assert not meter.whole().is_stream


@pytest.mark.parametrize("endpoint", GENERATING, ids=lambda endpoint: endpoint.family.value)
def test_every_answer_that_is_generated_is_held_to_the_tenants_limit(endpoint: Endpoint) -> None:
    """The gateway applies the limit and passes it to the engine; with `refuse` a request for more is refused."""
    parsed = read(endpoint, Rights(max_output_tokens=3))
    (name,) = [name for name, value in sent(parsed).items() if value == 3]
    assert parsed.max_output_tokens == 3
    with pytest.raises(RequestFault):
        read(endpoint, Rights(max_output_tokens=3, cuts_output=False), **{name: 4})


@pytest.mark.parametrize("endpoint", GENERATING, ids=lambda endpoint: endpoint.family.value)
def test_every_prompt_that_is_continued_begins_what_is_sent(endpoint: Endpoint) -> None:
    """What an engine may have cached comes first, and what does not belong to it comes after it."""
    parsed = read(endpoint, temperature=0.5)
    assert b"hi" in bytes(parsed.prompt)
    assert b"temperature" not in bytes(parsed.prompt)


@pytest.mark.parametrize("endpoint", ALL, ids=lambda endpoint: endpoint.family.value)
def test_an_engine_that_orders_its_queue_is_told_who_pays_for_what_it_generates(endpoint: Endpoint) -> None:
    """Where nothing is generated there is no place for it."""
    assert (ARGUMENTS in sent(read(endpoint), EngineTenant("t", 1.0))) == (endpoint.kind is Kind.GENERATE)


@pytest.mark.parametrize("endpoint", GENERATING, ids=lambda endpoint: endpoint.family.value)
def test_the_attribution_header_is_cut_off_every_system_text(endpoint: Endpoint) -> None:
    """So the next turn begins like the last one."""
    fields = WITH_SYSTEM_TEXT[endpoint.family]
    if fields is not None:
        assert b": 1" not in bytes(read(endpoint, **fields).prompt)


@pytest.mark.parametrize("endpoint", GENERATING, ids=lambda endpoint: endpoint.family.value)
def test_every_api_with_choices_is_held_to_the_tenants_limit_of_them(endpoint: Endpoint) -> None:
    """The gateway counts each choice where the API has the field `n`; an engine ignores `n` elsewhere."""
    has_choices = "n" in FIELDS[endpoint.family]
    assert read(endpoint, n=2).choices == (2 if has_choices else 1)
    if has_choices:
        with pytest.raises(RequestFault):
            read(endpoint, Rights(max_choices=2), n=3)


@pytest.mark.parametrize("endpoint", GENERATING, ids=lambda endpoint: endpoint.family.value)
def test_every_stream_can_end_with_an_error_in_the_format_of_its_api(endpoint: Endpoint) -> None:
    """A stream that breaks must not look finished to any client."""
    line, members = ERROR_EVENTS[endpoint.family]
    event = error_event(endpoint.family, Outcome.WORKER_STALLED, "The worker is silent.", "id", 7)
    assert event.partition(b"data: ")[0].strip() == line
    assert set(orjson.loads(event_data(event))) == members
