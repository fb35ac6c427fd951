"""Whatever bytes come as a body: they are refused in words, or what a worker is sent means what was measured."""

import json
from typing import Any

import orjson
import pytest
from any_bytes import damaged, kept
from hypothesis import given
from hypothesis import strategies as st

from gateway.outcomes import Outcome
from gateway.wire.engine_arguments import EngineTenant
from gateway.wire.errors import error_body
from gateway.wire.fields import FIELDS, RIGHTS
from gateway.wire.request import ParsedRequest, RequestFault, Rights, read_request
from gateway.wire.surface import ENDPOINTS, Endpoint, Family, Kind

from .transcripts import BODIES

EVERYTHING = Rights(allow=RIGHTS, max_choices=64)
RIGHTS_OF = {
    "nothing allowed": Rights(),
    "everything allowed": EVERYTHING,
    "strict": Rights(strict=True),
    "cut to 8 tokens": Rights(allow=RIGHTS, max_output_tokens=8),
    "no more than 8 tokens": Rights(allow=RIGHTS, max_output_tokens=8, cuts_output=False),
}
PAYER = EngineTenant("payer", 2.0)
OUTPUT_LIMITS = {
    Family.CHAT: ("max_completion_tokens", "max_tokens"),
    Family.COMPLETION: ("max_tokens",),
    Family.RESPONSES: ("max_output_tokens",),
    Family.MESSAGES: ("max_tokens",),
}
NAMES = st.sampled_from(sorted({name for fields in FIELDS.values() for name in fields} | {"system", "x", "", "\0"}))
ODD = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            1,
            -1,
            3,
            2**63,
            10**30,
            1.5,
            4.0,
            -0.0,
            float("nan"),
            float("inf"),
            "",
            "4",
            "true",
            "on",
        ),
        *("\ud800", "\0", " 7 ", "data:,x", "http://h/x", "x-anthropic-billing-header: a; cch=b;\nc", [], {}),
    ]
)
INNER = st.sampled_from(
    [
        *("role", "content", "type", "text", "image_url", "url", "uuid", "tool_calls", "input", "source", "arguments"),
        *("budget_tokens", "include_usage", "continuous_usage_stats", "chat_template", "vtc_tenant", "user_id"),
    ]
)
VALUES = st.recursive(
    ODD | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(INNER | NAMES, inner, max_size=4),
    max_leaves=8,
)
OBJECTS = st.builds(
    lambda path, fields, is_ascii: json.dumps({**BODIES[path], **fields}, ensure_ascii=is_ascii).encode(
        "utf-8", "surrogatepass"
    ),
    st.sampled_from(sorted(BODIES)),
    st.dictionaries(NAMES, VALUES, max_size=6),
    st.booleans(),
)
WORDS = [
    *(
        b'"model":"tiny",',
        b'"n":3,',
        b'"n":null,',
        b'"stream":true,',
        b'"stream":"no",',
        b'"max_tokens":1,',
        b"NaN",
        b"1e400",
    ),
    *(
        b'"messages":[',
        b'"prompt":[[1,2],[3]],',
        b'"cache_salt":"mine",',
        b'"priority":-1,',
        b'"vllm_xargs":{"vtc_weight":9},',
    ),
    *(
        b"[" * 300,
        b"{",
        b"}",
        b"]",
        b",",
        b'"',
        b"\\ud800",
        b"\\u0000",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\0",
        b"-0",
        b"0" * 400,
    ),
]
ORIGINALS = [orjson.dumps({"model": "tiny", **fields}) for fields in BODIES.values()]
bodies = damaged(ORIGINALS + kept("bodies"), WORDS) | OBJECTS


def is_understood(path: str, body: bytes, rights: Rights) -> None:
    """The body is refused with a message in the API's format, or sent as the gateway understood it."""
    endpoint = ENDPOINTS[path]
    try:
        parsed = read_request(endpoint, body, rights)
    except RequestFault as fault:
        assert fault.outcome in (Outcome.BAD_REQUEST, Outcome.FORBIDDEN)
        assert orjson.loads(error_body(endpoint.dialect, fault.outcome, fault.message, fault.param))["error"]["message"]
        return
    for payer in (None, PAYER):
        sent = parsed.upstream_start("served", "salt", payer) + parsed.rest
        _is_what_was_measured(endpoint, parsed, _members_once(sent))
        assert _figures(read_request(endpoint, sent, EVERYTHING)) == _figures(parsed)


def _figures(parsed: ParsedRequest) -> tuple[object, ...]:
    """The figures that estimates, limits and metering use."""
    return (
        parsed.stream,
        parsed.sequences,
        parsed.prompt_bytes,
        parsed.prompt_tokens,
        parsed.media_parts,
        parsed.max_output_tokens,
        parsed.min_output_tokens,
    )


def _members_once(sent: bytes) -> dict[str, Any]:
    """The JSON of `sent` by another reader than the gateway's; no name twice in an object, no number that is none."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    def no_number(text: str) -> None:
        raise AssertionError(text)

    value = json.loads(sent.decode(), object_pairs_hook=members, parse_constant=no_number)
    assert isinstance(value, dict)
    return value


def _is_what_was_measured(endpoint: Endpoint, parsed: ParsedRequest, sent: dict[str, Any]) -> None:
    """What the engine reads in `sent` is what the gateway has read, and what is the gateway's is the gateway's."""
    family = endpoint.family
    assert sent["model"] == "served"
    assert sent.get("cache_salt") == (None if endpoint.kind is Kind.UTILITY else "salt")
    assert not {"priority", "request_id", "session_id", "stream_interval", "safety_identifier"} & sent.keys()
    if family in OUTPUT_LIMITS:
        assert bool(sent.get("stream")) == parsed.stream
        limits = [sent[name] for name in OUTPUT_LIMITS[family] if sent.get(name) is not None]
        unsaid = 16 if family is Family.COMPLETION and "max_tokens" not in sent else None
        assert parsed.max_output_tokens == (limits[0] if limits else unsaid)
    if family in (Family.CHAT, Family.COMPLETION):
        assert (sent.get("n") or 1) == parsed.choices
        assert not parsed.stream or sent["stream_options"]["continuous_usage_stats"] is True


@given(path=st.sampled_from(sorted(ENDPOINTS)), body=bodies, rights=st.sampled_from(sorted(RIGHTS_OF)))
def test_any_body_is_refused_or_sent_as_it_was_understood(path: str, body: bytes, rights: str) -> None:
    """On every path and for every tenant."""
    is_understood(path, body, RIGHTS_OF[rights])


@pytest.mark.parametrize("rights", RIGHTS_OF)
@pytest.mark.parametrize("path", sorted(ENDPOINTS))
def test_kept_bodies_are_refused_or_sent_as_they_were_understood(path: str, rights: str) -> None:
    """Those that were found or feared."""
    for body in kept("bodies"):
        is_understood(path, body, RIGHTS_OF[rights])
