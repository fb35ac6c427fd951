"""Knows which members of a request make up the engine's prompt, for each family of endpoint.

`prompt.py` counts the text, token ids and media in these members. A family whose prompt nobody estimates counts what it
can.
"""

from collections.abc import Callable, Mapping
from typing import Final

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault
from gateway.wire.prompt import MAX_PROMPTS, Prompt
from gateway.wire.surface import Family

_SCORE_PAIRS: Final = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))


def measure(family: Family, fields: Mapping[str, object]) -> Prompt:
    """The prompts of a request of `family`; raises `RequestFault`."""
    prompt = Prompt()
    _MEASURES[family](fields, prompt)
    return prompt


def _measure_chat(fields: Mapping[str, object], prompt: Prompt) -> None:
    _require_conversation(fields, "messages", prompt)
    if fields.get("system"):
        prompt.add_conversation(fields["system"], "system")
    for name in ("tools", "documents"):
        if fields.get(name):
            prompt.add_member(name, fields[name])


def _require_conversation(fields: Mapping[str, object], name: str, prompt: Prompt) -> None:
    messages = fields.get(name)
    if not isinstance(messages, list):
        raise RequestFault(Outcome.BAD_REQUEST, f"'{name}' must be a list of messages.", name)
    prompt.add_conversation(messages, name)


def _add_optional_text(fields: Mapping[str, object], name: str, prompt: Prompt) -> None:
    value = fields.get(name)
    if isinstance(value, str):
        prompt.add_text(value)


def _measure_completion(fields: Mapping[str, object], prompt: Prompt) -> None:
    """Measure texts, token ids or embeddings; vLLM runs the embeddings in addition to the prompts, if there are any."""
    embeddings = _batch(fields, "prompt_embeds") if fields.get("prompt_embeds") else 0
    if fields.get("prompt") is not None or not embeddings:
        prompt.add_inputs(fields.get("prompt"), "prompt")
        prompt.prompts += embeddings
    else:
        prompt.prompts = embeddings
    if embeddings:
        prompt.token_ids = None
    _add_optional_text(fields, "suffix", prompt)


def _measure_responses(fields: Mapping[str, object], prompt: Prompt) -> None:
    prompt.add_conversation(fields.get("input"), "input")
    prompt.add_conversation(fields.get("previous_input_messages"), "previous_input_messages")
    _add_optional_text(fields, "instructions", prompt)
    if fields.get("tools"):
        prompt.add_member("tools", fields["tools"])


def _measure_embedding(fields: Mapping[str, object], prompt: Prompt) -> None:
    name = "messages" if fields.get("messages") is not None else "input"
    value = fields.get(name)
    match value:
        case [dict(), *_]:
            prompt.add_conversation(value, name)
        case [[dict(), *_], *_]:
            prompt.add_conversation(value, name)
            prompt.prompts = _batch(fields, name)
        case _:
            prompt.add_inputs(value, name)


def _measure_rerank(fields: Mapping[str, object], prompt: Prompt) -> None:
    prompt.add_conversation(fields.get("query"), "query")
    prompt.add_conversation(fields.get("documents"), "documents")
    prompt.prompts = _batch(fields, "documents")


def _measure_score(fields: Mapping[str, object], prompt: Prompt) -> None:
    for pair in _SCORE_PAIRS:
        if all(fields.get(name) is not None for name in pair):
            for name in pair:
                prompt.add_conversation(fields[name], name)
            prompt.prompts = max(_batch(fields, name) for name in pair)
            return


def _measure_tokenize(fields: Mapping[str, object], prompt: Prompt) -> None:
    prompt.add_conversation(fields.get("messages"), "messages")
    _add_optional_text(fields, "prompt", prompt)


def _measure_detokenize(fields: Mapping[str, object], prompt: Prompt) -> None:
    tokens = fields.get("tokens")
    prompt.token_ids = len(tokens) if isinstance(tokens, list) else None


def _batch(fields: Mapping[str, object], name: str) -> int:
    """How many inputs `fields[name]` holds: a list is a batch, any other value is one input."""
    value = fields.get(name)
    count = len(value) if isinstance(value, list) else 1
    if count > MAX_PROMPTS:
        raise RequestFault(Outcome.BAD_REQUEST, f"'{name}' may hold at most {MAX_PROMPTS} inputs.", name)
    return max(count, 1)


_MEASURES: Final[Mapping[Family, Callable[[Mapping[str, object], Prompt], None]]] = {
    Family.CHAT: _measure_chat,
    Family.MESSAGES: _measure_chat,
    Family.COUNT_TOKENS: _measure_chat,
    Family.COMPLETION: _measure_completion,
    Family.RESPONSES: _measure_responses,
    Family.EMBEDDING: _measure_embedding,
    Family.RERANK: _measure_rerank,
    Family.SCORE: _measure_score,
    Family.TOKENIZE: _measure_tokenize,
    Family.DETOKENIZE: _measure_detokenize,
}
