"""One HTTP exchange as bytes: no client library may hide what a server really sent."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

EXCHANGE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names in lower case, the body without its chunk frames."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        """The events of a stream, without the blank lines that end them."""
        assert self.headers["content-type"].startswith("text/event-stream"), self.body
        assert self.body.endswith(b"\n\n"), self.body[-200:]
        return self.body[:-2].split(b"\n\n")


def exchange(url: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Send one request on a connection of its own; `body` is sent as JSON unless it is bytes."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=EXCHANGE_SECONDS)
    payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    typed = {} if payload is None else {"content-type": "application/json"}
    try:
        connection.request(method, path, payload, typed | dict(headers or {}))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()
