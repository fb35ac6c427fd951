"""Reads a request body: strictly the fields that decide cost, rights and metering, and leaves the rest to the engine.

`read_request` applies the table of `fields.py` once. The scheduler estimates from the `ParsedRequest`, and the worker
gets the same values, because the body is written anew: what a client wrote twice or oddly cannot be read in two ways.
The engine judges every other field, and its answer reaches the client unchanged.
"""

from collections.abc import Generator, Mapping
from typing import Final

import orjson

from gateway.outcomes import Outcome
from gateway.wire.attribution import cut_attribution
from gateway.wire.coercion import coerce_fields, flag_of
from gateway.wire.end_user import end_user
from gateway.wire.engine_arguments import ARGUMENTS, EngineTenant, take_arguments, with_tenant
from gateway.wire.errors import RequestFault
from gateway.wire.fields import ACCIDENTAL, FIELDS, UNTREATED, Rule, Treatment
from gateway.wire.json_body import count_values, parse_object, read_object, write_json
from gateway.wire.limits import Rights, limit_choices, limit_output, limit_rest, shorten_output
from gateway.wire.measures import measure
from gateway.wire.prompt import Prompt
from gateway.wire.surface import Endpoint, Family, Kind

__all__ = ["LONG_BODY_BYTES", "ParsedRequest", "RequestFault", "Rights", "read_in_steps", "read_request"]

MAX_MODEL_CHARS: Final = 256
LONG_BODY_BYTES: Final = 128 * 1024  # a body beyond this is read in steps; up to this, reading takes a few milliseconds

_UTILITY: Final = Kind.UTILITY
_RESPONSES: Final = Family.RESPONSES
_METERED_STREAMS: Final = frozenset({Family.CHAT, Family.COMPLETION})
_STREAMING: Final = frozenset({Family.CHAT, Family.COMPLETION, Family.RESPONSES, Family.MESSAGES})
_FORCED_STREAM_OPTIONS: Final = {"include_usage": True, "continuous_usage_stats": True}
_STATELESS = "this gateway is stateless and keeps no responses; send the whole conversation in 'input'"
_RESPONSES_REFUSALS: Final = {
    "conversation": f"'conversation' is not supported: {_STATELESS}.",
    "background": f"'background' is not supported: {_STATELESS}.",
    "previous_response_id": f"'previous_response_id' is not supported: {_STATELESS}.",
}
_REMEDY: Final = "The gateway's operator gives it in the configuration: `allow: [{right}]` at the tenant in `tenants`."
# What the engine's prompt is made of, in about the order in which templates render it: the end of a conversation last.
_PROMPT_MEMBERS: Final[Mapping[Family, tuple[str, ...]]] = {
    Family.CHAT: ("tools", "documents", "messages"),
    Family.MESSAGES: ("system", "tools", "documents", "messages"),
    Family.COMPLETION: ("prompt",),
    Family.RESPONSES: ("instructions", "tools", "previous_input_messages", "input"),
}
_MEMBER_STARTS: Final[Mapping[str, bytes]] = {
    name: b',"%b":' % name.encode() for names in _PROMPT_MEMBERS.values() for name in names
}


class ParsedRequest:
    """One request as the gateway understands it; `model` is "" if the client named none, which vLLM allows.

    `prompt_bytes` and `prompt_tokens` cover all prompts. `max_output_tokens` and `min_output_tokens` are per sequence;
    `max_output_tokens` is None if only the engine's context bounds the output. `rest` is the JSON for the worker after
    the members of `upstream_start`, from the comma to the closing brace. So a request that waits holds text instead of
    objects, and it is written once however often it is sent. `rest` has three parts in this order: the members that
    make up the prompt, up to `prompt_size` bytes, so that the next turn of a conversation begins like the last one;
    then the others that decide the engine's work, up to `identity_size`; then those that do not (`ACCIDENTAL`).
    `rights_used` are the tenant's rights without which the request would have been refused.
    The class is no dataclass, because the `__init__` of a dataclass is not compiled.
    """

    stream: bool = False
    wants_usage: bool = False
    wants_continuous_usage: bool = False
    choices: int = 1
    prompts: int = 1
    prompt_bytes: int = 0
    prompt_tokens: int | None = None
    media_parts: int = 0
    max_output_tokens: int | None = None
    min_output_tokens: int = 0
    end_user: str | None = None
    stream_options: bytes | None = None
    engine_arguments: bytes | None = None
    rest: bytes = b"}"
    prompt_size: int = 0
    identity_size: int = 0
    rights_used: frozenset[str] = frozenset()

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        """A request of which nothing else was read."""
        self.endpoint = endpoint
        self.model = model

    @property
    def identity(self) -> memoryview:
        """The JSON that decides the engine's work; two requests with the same identity are one request, asked again."""
        return memoryview(self.rest)[: self.identity_size]

    @property
    def prompt(self) -> memoryview:
        """The JSON of the members that make up the engine's prompt."""
        return memoryview(self.rest)[: self.prompt_size]

    @property
    def size_bytes(self) -> int:
        """Bytes of the client's text that are kept for the worker."""
        return len(self.rest) + len(self.stream_options or b"") + len(self.engine_arguments or b"")

    def shortened(self, most_output_tokens: int) -> bytes:
        """`rest` with an output limit of so many tokens for each sequence."""
        fields = self.deciding()
        shorten_output(self.endpoint.family, fields, most_output_tokens)
        return self.rest[: self.prompt_size] + _members(fields) + self.rest[self.identity_size :]

    def deciding(self) -> dict[str, object]:
        """The members beside the prompt that decide the engine's work; a long prompt is not read once more for them."""
        members = self.rest[self.prompt_size : self.identity_size].removeprefix(b",")
        return read_object(b"{%b}" % members)

    def let_go(self) -> None:
        """Drop the text, because the request is not sent again."""
        self.rest, self.prompt_size = b"", 0
        self.stream_options = self.engine_arguments = None

    @property
    def reports_at_end(self) -> bool:
        """True if the answer tells its usage at its end only: a whole answer, or a stream without running figures."""
        return not self.stream or self.endpoint.family not in _METERED_STREAMS

    @property
    def sequences(self) -> int:
        """How many sequences the engine runs for this request."""
        return self.choices * self.prompts

    def upstream_start(self, model: str, cache_salt: str, tenant: EngineTenant | None = None) -> bytes:
        """The beginning of the JSON for a worker that serves `model`; the caller sends `rest` after it.

        `cache_salt` keeps the prefix caches of tenants apart. `tenant` is for a worker that orders its own queue; it is
        left out at endpoints that generate nothing.
        """
        ours: dict[str, object] = {"model": model}
        if self.endpoint.kind is not _UTILITY:
            ours["cache_salt"] = cache_salt
        if self.stream_options is not None:
            ours["stream_options"] = orjson.Fragment(self.stream_options)
        arguments = self.engine_arguments
        if tenant is not None and self.endpoint.family in _STREAMING:
            arguments = with_tenant(arguments, tenant)
        if arguments is not None:
            ours[ARGUMENTS] = orjson.Fragment(arguments)
        return orjson.dumps(ours)[:-1]


def read_request(endpoint: Endpoint, body: bytes, rights: Rights) -> ParsedRequest:
    """Read `body` for a tenant with `rights`; raises `RequestFault`, which names the field."""
    fields = read_object(body)
    parsed, prompt = _understand(endpoint, fields, rights)
    _write_rest(parsed, fields, prompt.members)
    return parsed


def read_in_steps(endpoint: Endpoint, body: bytes, rights: Rights) -> Generator[None, None, ParsedRequest]:
    """Read a long body as `read_request` does, in steps of some milliseconds each."""
    yield from count_values(body)
    fields = parse_object(body)
    yield
    parsed, prompt = _understand(endpoint, fields, rights)
    yield
    _write_rest(parsed, fields, prompt.members)
    return parsed


def _understand(endpoint: Endpoint, fields: dict[str, object], rights: Rights) -> tuple[ParsedRequest, Prompt]:
    """What `fields` ask for; they are brought to what the engine is to read."""
    family = endpoint.family
    parsed = ParsedRequest(endpoint, _model(fields))
    parsed.end_user = end_user(family, fields)
    coerce_fields(family, fields)
    _apply_treatments(parsed, fields, rights)
    cut_attribution(family, fields)
    if family in _STREAMING:
        _read_stream(parsed, fields)
        parsed.engine_arguments = take_arguments(fields)
    if family is _RESPONSES:
        fields["store"] = False  # as vLLM answers, which stores nothing either and takes `store: true` for a default
    parsed.max_output_tokens = limit_output(family, fields, rights)
    parsed.choices = limit_choices(family, fields, rights)
    parsed.min_output_tokens = limit_rest(family, fields, rights, parsed.max_output_tokens)
    prompt = measure(family, fields)
    _take_prompt(parsed, prompt, rights)
    return parsed, prompt


def _take_prompt(parsed: ParsedRequest, prompt: Prompt, rights: Rights) -> None:
    if prompt.rights_needed:
        for right, param in prompt.rights_needed.items():
            _require(parsed, right, param, rights)
    parsed.prompts = prompt.prompts
    parsed.prompt_bytes = prompt.text_bytes
    parsed.prompt_tokens = prompt.token_ids
    parsed.media_parts = prompt.media_parts


def _write_rest(parsed: ParsedRequest, fields: dict[str, object], written: Mapping[str, bytes]) -> None:
    """Write `rest` from the members that pass, without those of `upstream_start`, and remove them from `fields`.

    `written` has the JSON of members that are written already.
    """
    endpoint = parsed.endpoint
    fields.pop("model", None)
    if endpoint.kind is not _UTILITY:
        fields.pop("cache_salt", None)
    if parsed.stream_options is not None:
        fields.pop("stream_options", None)
    pieces: list[bytes] = []
    for name in _PROMPT_MEMBERS.get(endpoint.family, ()):
        if name in fields:
            value = fields.pop(name)
            text = written.get(name) or write_json(value)
            start = _MEMBER_STARTS[name]
            pieces += (start, text)
            parsed.prompt_size += len(start) + len(text)
    accidents = {name: fields.pop(name) for name in [name for name in fields if name in ACCIDENTAL]}
    deciding = _members(fields)
    parsed.identity_size = parsed.prompt_size + len(deciding)
    pieces += (deciding, _members(accidents), b"}")
    parsed.rest = b"".join(pieces)


def _members(fields: Mapping[str, object]) -> bytes:
    """The JSON of `fields` with a comma before each member."""
    return b"," + write_json(fields)[1:-1] if fields else b""


def _apply_treatments(parsed: ParsedRequest, fields: dict[str, object], rights: Rights) -> None:
    """Remove the fields that are the gateway's, and refuse those that the tenant may not send."""
    family = parsed.endpoint.family
    untreated = UNTREATED[family]
    for name in [name for name in fields if name not in untreated]:
        _treat(parsed, name, FIELDS[family].get(name), fields, rights)
    template_arguments = fields.get("chat_template_kwargs")
    if isinstance(template_arguments, dict) and "chat_template" in template_arguments:
        _require(parsed, "chat_template", "chat_template_kwargs.chat_template", rights)


def _treat(parsed: ParsedRequest, name: str, rule: Rule | None, fields: dict[str, object], rights: Rights) -> None:
    if rule is None:
        if rights.strict and fields[name] is not None:
            message = f"'{name}' is not a known field, and this tenant accepts known fields only."
            raise RequestFault(Outcome.BAD_REQUEST, message, name)
    elif rule.treatment is Treatment.REMOVE:
        del fields[name]
    elif rule.treatment is Treatment.RIGHT:
        if _is_active(name, fields[name]):
            _require(parsed, rule.right, name, rights)
    elif rule.treatment is Treatment.REFUSE and fields[name]:
        raise RequestFault(Outcome.BAD_REQUEST, _RESPONSES_REFUSALS[name], name)


def _is_active(name: str, value: object) -> bool:
    """False if the value asks for nothing: SDKs send defaults. But `prompt_logprobs` of 0 asks for something."""
    if name == "best_of" and value == 1:
        return False
    if name == "prompt_logprobs":
        return value is not None
    return bool(value)


def _require(parsed: ParsedRequest, right: str, param: str, rights: Rights) -> None:
    if right not in rights.allow:
        message = f"'{param}' needs the right '{right}', which this tenant lacks. {_REMEDY.format(right=right)}"
        raise RequestFault(Outcome.FORBIDDEN, message, param)
    parsed.rights_used |= {right}


def _model(fields: Mapping[str, object]) -> str:
    model = fields.get("model")
    if model is None:
        return ""
    if not isinstance(model, str) or len(model) > MAX_MODEL_CHARS:
        raise RequestFault(Outcome.BAD_REQUEST, "'model' must be the name of a model.", "model")
    return model


def _read_stream(parsed: ParsedRequest, fields: Mapping[str, object]) -> None:
    parsed.stream = bool(fields.get("stream"))
    if parsed.reports_at_end:
        return
    options = fields.get("stream_options")
    options = {} if options is None else options
    if not isinstance(options, dict):
        raise RequestFault(Outcome.BAD_REQUEST, "'stream_options' must be an object.", "stream_options")
    parsed.stream_options = write_json(options | _FORCED_STREAM_OPTIONS)
    wishes = [options.get(name) is not None and flag_of(options[name], name) for name in _FORCED_STREAM_OPTIONS]
    # vLLM ignores the wish for running usage without the wish for usage.
    parsed.wants_usage, parsed.wants_continuous_usage = wishes[0], all(wishes)
