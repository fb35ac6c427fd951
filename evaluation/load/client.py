"""A client of an OpenAI-compatible endpoint: it knows the address and the API, and sends one request after another.

This module renders the bytes of the requests, which are streamed. If a server has given up a connection that was used
before, the request goes over a new one. A record says how each request ended; no exception does.
"""

import asyncio
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import orjson

from evaluation.load.connection import ExchangeRecord, OnTokens, StreamConnection
from evaluation.load.prompts import Prompt

CUT_OFF = "cut off by the end of the run"
MODELS_SECONDS = 30.0

KNOWN_LENGTH = {"ignore_eos": True}
FINAL_USAGE = {"stream_options": {"include_usage": True}}
RUNNING_USAGE = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}

_HTTP_PORT = 80


class NoModelError(Exception):
    """The endpoint lists no model; the message says what it did instead."""


def allow_many_connections() -> None:
    """Allow as many descriptors as the system does: every connection needs one, and the usual soft limit is 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint listens, and the path that its `/v1` stands under."""

    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """The address of a base URL, with or without `/v1`; raises ValueError with a remedy."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url} is no http:// URL: put a proxy that speaks HTTP in front of another")
        return cls(parts.hostname, parts.port or _HTTP_PORT, parts.path.rstrip("/").removesuffix("/v1"))

    @property
    def netloc(self) -> str:
        """Host and port as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def post(self, path: str, body: object, key: str | None) -> bytes:
        """A POST of `body` as JSON with `key` as its bearer."""
        content = orjson.dumps(body)
        head = [
            f"POST {self.prefix}{path} HTTP/1.1",
            f"Host: {self.netloc}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            *([f"Authorization: Bearer {key}"] if key else []),
        ]
        return "\r\n".join([*head, "", ""]).encode() + content

    async def first_model(self, key: str | None) -> str:
        """The first model that is listed to the holder of `key`; raises NoModelError."""
        url = f"http://{self.netloc}{self.prefix}/v1/models"
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = aiohttp.ClientTimeout(total=MODELS_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, headers=headers) as answer:
                document = await answer.json(content_type=None)
                return str(document["data"][0]["id"])
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            raise NoModelError(f"GET {url}: {type(fault).__name__}: {fault}") from fault
        except (ValueError, KeyError, IndexError, TypeError) as fault:
            raise NoModelError(f"GET {url} ({answer.status}) names no model: give --model") from fault


class Surface(Enum):
    """Which API the load speaks; the value is its path."""

    COMPLETIONS = "/v1/completions"
    CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the load goes, and how it speaks there.

    `url` is the base without `/v1`; `more_urls` are those of other gateways of the same fleet. `keys` holds each
    tenant's credential (none: no credential). `fields` go into every request. With `guesses`, if no usage is reported,
    events count as tokens, and a prompt counts its bytes divided by `bytes_per_token`. The client reads nothing for
    `rests_seconds` after each read.
    """

    url: str
    model: str
    keys: Mapping[str, str] = field(default_factory=dict)
    surface: Surface = Surface.COMPLETIONS
    fields: Mapping[str, object] = field(default_factory=lambda: KNOWN_LENGTH | RUNNING_USAGE)
    guesses: bool = False
    bytes_per_token: float = 1.0
    rests_seconds: float = 0.0
    more_urls: Sequence[str] = ()

    @property
    def urls(self) -> Sequence[str]:
        """Every URL at which the load may send."""
        return (self.url, *self.more_urls)

    def body(self, prompt: Prompt, output_tokens: int) -> dict[str, object]:
        """A request for at most `output_tokens`, streamed unless `fields` say otherwise."""
        if self.surface is Surface.COMPLETIONS:
            assert isinstance(prompt, str), "a conversation needs the chat surface"
            asked: dict[str, object] = {"prompt": prompt}
        else:
            asked = {"messages": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt}
        return {"model": self.model, **asked, "max_tokens": output_tokens, "stream": True, **self.fields}


class Client:
    """Sends requests to the first URL of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._address = Address.parse(endpoint.url)

    def render(self, prompt: Prompt, output_tokens: int, key: str | None) -> bytes:
        """The bytes of one request."""
        return self._address.post(self.endpoint.surface.value, self.endpoint.body(prompt, output_tokens), key)

    async def exchange(
        self, request: bytes, record: ExchangeRecord, on_tokens: OnTokens, connection: StreamConnection | None = None
    ) -> StreamConnection | None:
        """Send one request, on `connection` if that is open. Returns the connection if it can be used again."""
        try:
            if connection is None or not connection.is_open or not await connection.exchange(request, record):
                connection = await self._connect(on_tokens)
                await connection.exchange(request, record)
        except OSError as fault:
            record.ended_at = asyncio.get_running_loop().time()
            record.error = f"cannot connect: {fault}"
            return None
        except asyncio.CancelledError:
            record.error = record.error or CUT_OFF
            raise
        if record.error:
            connection.close()
            return None
        return connection

    async def _connect(self, on_tokens: OnTokens) -> StreamConnection:
        endpoint, loop = self.endpoint, asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: StreamConnection(
                on_tokens,
                guesses=endpoint.guesses,
                rests_seconds=endpoint.rests_seconds,
                is_whole=endpoint.fields.get("stream") is False,
            ),
            self._address.host,
            self._address.port,
        )
        return connection
