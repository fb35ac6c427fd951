"""Reads which models an engine serves, from its `GET /v1/models` as vLLM and OpenAI write it."""

import orjson

_MOST_MODEL_LEN = 100_000_000


def read_models(body: bytes) -> dict[str, int | None] | None:
    """The context length of each model by name, None if the engine does not say it; None if `body` lists no models."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    cards = document.get("data") if isinstance(document, dict) else None
    if not isinstance(cards, list):
        return None
    return {
        card["id"]: _length(card.get("max_model_len"))
        for card in cards
        if isinstance(card, dict) and isinstance(card.get("id"), str)
    }


def _length(value: object) -> int | None:
    is_length = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_MODEL_LEN
    return value if is_length and isinstance(value, int) else None
