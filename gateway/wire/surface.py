"""The API surface: which paths exist, which dialect each speaks and what kind of work it asks for.

The surface is an allow-list of exact POST paths, in every spelling that vLLM has for them. The gateway does not expose
any other path of the engine; vLLM serves many more, and some of them generate without being metered. Left to
`proxy/router.py`: routing, authentication and the GET paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Dialect(Enum):
    """The API whose error format the client of an endpoint expects."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Kind(Enum):
    """What an endpoint asks of the engine: tokens to generate, one forward pass, or no model run at all."""

    GENERATE = "generate"
    POOLING = "pooling"
    UTILITY = "utility"


class Family(Enum):
    """Which request and response format an endpoint has; the value names it in tables and messages."""

    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSES = "responses"
    MESSAGES = "messages"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    SCORE = "score"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"
    COUNT_TOKENS = "count_tokens"

    # What is known of a family is looked up by it several times in each request; Enum's own hash is a Python function.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One exposed endpoint; `path` is its path at the engine and the spelling that events name."""

    path: str
    dialect: Dialect
    kind: Kind
    family: Family


_ALL = (
    Endpoint("/v1/chat/completions", Dialect.OPENAI, Kind.GENERATE, Family.CHAT),
    Endpoint("/v1/completions", Dialect.OPENAI, Kind.GENERATE, Family.COMPLETION),
    Endpoint("/v1/responses", Dialect.OPENAI, Kind.GENERATE, Family.RESPONSES),
    Endpoint("/v1/messages", Dialect.ANTHROPIC, Kind.GENERATE, Family.MESSAGES),
    Endpoint("/v1/embeddings", Dialect.OPENAI, Kind.POOLING, Family.EMBEDDING),
    Endpoint("/v1/rerank", Dialect.OPENAI, Kind.POOLING, Family.RERANK),
    Endpoint("/v1/score", Dialect.OPENAI, Kind.POOLING, Family.SCORE),
    Endpoint("/tokenize", Dialect.OPENAI, Kind.UTILITY, Family.TOKENIZE),
    Endpoint("/detokenize", Dialect.OPENAI, Kind.UTILITY, Family.DETOKENIZE),
    Endpoint("/v1/messages/count_tokens", Dialect.ANTHROPIC, Kind.UTILITY, Family.COUNT_TOKENS),
)

_SPELLINGS = {"/rerank": "/v1/rerank", "/v2/rerank": "/v1/rerank", "/score": "/v1/score"}
_BY_PATH = {endpoint.path: endpoint for endpoint in _ALL}

ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    _BY_PATH | {spelling: _BY_PATH[path] for spelling, path in _SPELLINGS.items()}
)
"""By path, the endpoint of every path that a client may call."""
