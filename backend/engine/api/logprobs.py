"""Log probabilities that look like a model's: fixed by the token, so that every run repeats.

The k most likely tokens are the sampled byte and the letters after it; the sampled one is always the most likely.
"""

from collections.abc import Sequence
from typing import Any

from backend.engine.work import END_TOKEN


def token_text(token_id: int) -> str:
    """The text of one token; part of a character shows as the replacement character."""
    return "</s>" if token_id == END_TOKEN else bytes([token_id]).decode("utf-8", "replace")


def _alternatives(token_id: int, count: int) -> list[tuple[str, float]]:
    own = (token_text(token_id), _logprob(token_id))
    others = [(chr(97 + (token_id + rank) % 26), own[1] - rank) for rank in range(1, count + 2)]
    return [own, *(other for other in others if other[0] != own[0])][: max(count, 1)]


def _logprob(token_id: int) -> float:
    return -((token_id * 37) % 100) / 100 - 0.015625


def chat_logprobs(token_ids: Sequence[int], top: int) -> dict[str, Any]:
    """`choices[].logprobs` of chat completions."""
    return {"content": [_chat_entry(token_id, top) for token_id in token_ids]}


def _chat_entry(token_id: int, top: int) -> dict[str, Any]:
    alternatives = _alternatives(token_id, top)[:top]
    entry = _scored(token_text(token_id), _logprob(token_id))
    return {**entry, "top_logprobs": [_scored(text, logprob) for text, logprob in alternatives]}


def _scored(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def completion_logprobs(token_ids: Sequence[int], top: int, offset: int) -> dict[str, Any]:
    """`choices[].logprobs` of text completions; `offset` is where the first token stands in the text."""
    tokens = [token_text(token_id) for token_id in token_ids]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "text_offset": offsets,
        "token_logprobs": [_logprob(token_id) for token_id in token_ids],
        "tokens": tokens,
        "top_logprobs": [dict(_alternatives(token_id, top + 1)) for token_id in token_ids],
    }
