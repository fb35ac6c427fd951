"""A request's bytes on the wire, and where they go."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import orjson

_HTTP_PORT = 80


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
