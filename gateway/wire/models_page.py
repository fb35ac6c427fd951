"""What an engine says that it serves: its `GET /v1/models`, as vLLM and OpenAI write it."""

import orjson

_MOST_MODEL_LEN = 100_000_000


def read_models(body: bytes) -> dict[str, int | None] | None:
    """Each model by name with its context length, where that is told; None where `body` is no list of models."""
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
