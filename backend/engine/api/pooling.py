"""`POST /v1/embeddings`, `/v1/score`, `/v1/rerank`: prompts that are computed and pooled, with nothing generated.

A text's vector counts its words in hashed dimensions, so that texts that share words are near; a score is the cosine
of two vectors. The engine computes the prompts like any others, and they take their share of its steps.
"""

import math
from base64 import b64encode
from collections.abc import Sequence
from struct import pack
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import AliasChoices, BaseModel, Field

from backend.engine.api.errors import ApiError
from backend.engine.api.exchange import Exchange
from backend.engine.api.frontend import FRONTEND, Frontend
from backend.engine.prose import seed_of
from backend.engine.work import Work

DIMENSIONS = 64
_Texts = str | list[str]


class EmbeddingRequest(BaseModel):
    """`POST /v1/embeddings`; token ids are bytes."""

    model: str | None = None
    input: str | list[Annotated[int, Field(ge=0, le=255)]] | list[str] | list[list[Annotated[int, Field(ge=0, le=255)]]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=DIMENSIONS)] = DIMENSIONS
    priority: int = 0
    cache_salt: str | None = None

    def texts(self) -> list[bytes]:
        """Each input as bytes."""
        if isinstance(self.input, str):
            return [self.input.encode()]
        if self.input and isinstance(self.input[0], int):
            return [bytes(token for token in self.input if isinstance(token, int))]
        return [text.encode() if isinstance(text, str) else bytes(_ids(text)) for text in self.input]


def _ids(tokens: Any) -> list[int]:
    return list(tokens)


class ScoreRequest(BaseModel):
    """`POST /v1/score`: one text or several against several."""

    model: str | None = None
    queries: _Texts = Field(validation_alias=AliasChoices("queries", "text_1", "data_1"))
    documents: _Texts = Field(validation_alias=AliasChoices("documents", "items", "text_2", "data_2"))

    def pairs(self) -> list[tuple[str, str]]:
        """Texts to compare; a single one is compared with every other."""
        queries = [self.queries] if isinstance(self.queries, str) else self.queries
        documents = [self.documents] if isinstance(self.documents, str) else self.documents
        return list(zip(queries * len(documents) if len(queries) == 1 else queries, documents, strict=False))

    def texts(self) -> list[bytes]:
        """Every text once: each is embedded by itself."""
        return [
            text.encode()
            for side in (self.queries, self.documents)
            for text in ([side] if isinstance(side, str) else side)
        ]


class RerankRequest(BaseModel):
    """`POST /v1/rerank`."""

    model: str | None = None
    query: str
    documents: list[str]
    top_n: Annotated[int, Field(ge=0)] = 0


async def embeddings(request: web.Request) -> web.StreamResponse:
    """Vectors."""
    frontend = request.app[FRONTEND]
    async with frontend.exchange(request) as exchange:
        asked = await frontend.read(request, EmbeddingRequest)
        _check_model(frontend, asked.model)
        texts = asked.texts()
        prompt_tokens = await _compute(frontend, exchange, "embd", texts)
        vectors = (embedding(text, asked.dimensions) for text in texts)
        encode = _base64 if asked.encoding_format == "base64" else list[float]
        data = [
            {"index": index, "object": "embedding", "embedding": encode(vector)} for index, vector in enumerate(vectors)
        ]
        document = _listing(f"embd-{exchange.base_id}", exchange, data, prompt_tokens)
        return await exchange.answer(document, 0)


async def score(request: web.Request) -> web.StreamResponse:
    """Likeness of pairs."""
    frontend = request.app[FRONTEND]
    async with frontend.exchange(request) as exchange:
        asked = await frontend.read(request, ScoreRequest)
        _check_model(frontend, asked.model)
        pairs = asked.pairs()
        prompt_tokens = await _compute(frontend, exchange, "score", asked.texts())
        data = [
            {"index": index, "object": "score", "score": likeness(first, second)}
            for index, (first, second) in enumerate(pairs)
        ]
        document = _listing(f"score-{exchange.base_id}", exchange, data, prompt_tokens)
        return await exchange.answer(document, 0)


async def rerank(request: web.Request) -> web.StreamResponse:
    """Documents by likeness to a query, the best first."""
    frontend = request.app[FRONTEND]
    async with frontend.exchange(request) as exchange:
        asked = await frontend.read(request, RerankRequest)
        _check_model(frontend, asked.model)
        texts = [text.encode() for text in (asked.query, *asked.documents)]
        prompt_tokens = await _compute(frontend, exchange, "rerank", texts)
        results: list[dict[str, Any]] = [
            {
                "index": index,
                "document": {"text": document, "multi_modal": None},
                "relevance_score": likeness(asked.query, document),
            }
            for index, document in enumerate(asked.documents)
        ]
        results.sort(key=lambda result: -result["relevance_score"])
        document = {
            "id": f"rerank-{exchange.base_id}",
            "model": exchange.engine.config.model,
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
            "results": results[: asked.top_n or len(results)],
        }
        return await exchange.answer(document, 0)


async def _compute(frontend: Frontend, exchange: Exchange, name: str, texts: Sequence[bytes]) -> int:
    """Let the engine compute the prompts; returns their tokens."""
    frontend.check_room(len(texts))
    prompts = tuple(text or b" " for text in texts)
    work = Work(request_id=f"{name}-{exchange.base_id}", prompts=prompts, max_tokens=1, is_pooling=True)
    frontend.check_work(work)
    async with frontend.generation(work, exchange) as generation:
        async for _ in generation.deltas():
            pass
    return work.prompt_tokens


def _listing(name: str, exchange: Exchange, data: list[dict[str, Any]], prompt_tokens: int) -> dict[str, Any]:
    usage = exchange.usage(prompt_tokens, 0)
    return {
        "id": name,
        "object": "list",
        "created": exchange.created,
        "model": exchange.engine.config.model,
        "data": data,
        "usage": {**usage, "prompt_tokens_details": None, "completion_tokens_details": None},
    }


def _check_model(frontend: Frontend, asked: str | None) -> None:
    """vLLM's pooling endpoints refuse an unknown model in fewer words than the generating ones."""
    if asked and asked != frontend.engine.config.model:
        raise ApiError(404, f"The model `{asked}` does not exist.", "NotFoundError")


def embedding(text: bytes, dimensions: int = DIMENSIONS) -> list[float]:
    """A vector of length one."""
    vector = [0.0] * dimensions
    for word in text.lower().split() or [b" "]:
        vector[seed_of(word) % dimensions] += 1.0
    norm = math.sqrt(sum(value * value for value in vector))
    return [value / norm for value in vector]


def likeness(first: str, second: str) -> float:
    """Cosine of two texts, 0 to 1."""
    pairs = zip(embedding(first.encode()), embedding(second.encode()), strict=True)
    return min(sum(left * right for left, right in pairs), 1.0)


def _base64(vector: list[float]) -> str:
    return b64encode(pack(f"<{len(vector)}f", *vector)).decode()
