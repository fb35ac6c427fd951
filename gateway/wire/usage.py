"""Reads how many tokens a request took, from the usage objects of each response format.

Only integers >= 0 count; anything else counts as absent, so that a broken engine never makes a tenant's bill negative.
`prompt_tokens` always includes the cached ones. Anthropic's `input_tokens` does not, and vLLM follows it, so here the
cache fields are added.
"""

from collections.abc import Mapping
from typing import Final

from gateway.usage import Usage

MAX_TOKENS: Final = 2**53  # beyond it a count is garbage, and floats of cost would lose units


def openai_usage(value: object) -> Usage | None:
    """The usage of chat, completions and pooling answers; None if `value` is no usage."""
    if not isinstance(value, dict):
        return None
    prompt = _count(value, "prompt_tokens")
    if prompt is None:
        return None
    cached = _nested_count(value, "prompt_tokens_details", "cached_tokens")
    return Usage(prompt, min(cached, prompt), _count(value, "completion_tokens") or 0)


def responses_usage(value: object) -> Usage | None:
    """The usage of an answer of `/v1/responses`; None if `value` is no usage."""
    if not isinstance(value, dict):
        return None
    prompt = _count(value, "input_tokens")
    if prompt is None:
        return None
    cached = _nested_count(value, "input_tokens_details", "cached_tokens")
    return Usage(prompt, min(cached, prompt), _count(value, "output_tokens") or 0)


def messages_usage(value: object) -> Usage | None:
    """The usage of an answer or event of `/v1/messages`; None if `value` is no usage."""
    if not isinstance(value, dict):
        return None
    fresh = _count(value, "input_tokens")
    if fresh is None:
        return None
    cached = _count(value, "cache_read_input_tokens") or 0
    created = _count(value, "cache_creation_input_tokens") or 0
    return Usage(fresh + cached + created, cached, _count(value, "output_tokens") or 0)


def _count(value: Mapping[str, object], name: str) -> int | None:
    count = value.get(name)
    return count if type(count) is int and 0 <= count <= MAX_TOKENS else None


def _nested_count(value: Mapping[str, object], outer: str, inner: str) -> int:
    details = value.get(outer)
    return (_count(details, inner) or 0) if isinstance(details, dict) else 0
