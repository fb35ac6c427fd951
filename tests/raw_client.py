"""An HTTP/1.1 client that hides nothing: each read with its time, how an answer ended, leaving at any moment."""

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_READ_BYTES = 65536


@dataclass(slots=True)
class Answer:
    """What came back; `is_whole` where the body had its own end, `times` when each read of the body came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = False
    times: list[float] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """The value of header `name`, None where it is absent."""
        return self.headers.get(name)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        """The events of a stream; every one must be whole."""
        assert self.body.endswith(b"\n\n"), self.body[-200:]
        return self.body.split(b"\n\n")[:-1]

    @property
    def data(self) -> list[bytes]:
        """The data of each event of a stream."""
        return [event.partition(b"data: ")[2] for event in self.events]

    @property
    def documents(self) -> list[Any]:
        """The JSON of a stream's `data:` events, the end marker left out."""
        return [json.loads(text) for text in self.data if text != b"[DONE]"]

    @property
    def is_done(self) -> bool:
        """True where the stream says that it is complete."""
        return self.is_whole and self.body.endswith(b"data: [DONE]\n\n")

    @property
    def error(self) -> dict[str, Any] | None:
        """The one error that a stream ends with, None where it has none; more than one is a fault."""
        errors = [document["error"] for document in self.documents if "error" in document]
        assert len(errors) <= 1
        if errors:
            assert "error" in self.documents[-1], "an error event is the last one"
        return errors[0] if errors else None


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client on an open connection."""
        self._reader = reader
        self._writer = writer
        self.answer = Answer()

    @classmethod
    async def connect(cls, url: str, *, receive_bytes: int | None = None) -> "Client":
        """Connect to `url`; `receive_bytes` bounds what the kernel and the reader take in unasked."""
        parts = urlsplit(url)
        sock = socket.socket()
        sock.setblocking(False)
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
        except BaseException:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock, limit=receive_bytes or _READ_BYTES)
        return cls(reader, writer)

    def send(
        self, path: str, body: object = None, headers: Mapping[str, str] | None = None, *, version: str = "1.1"
    ) -> None:
        """Send a request: POST of `body` as JSON, or GET without one."""
        lines = [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send_raw(request_bytes(path, body, lines, version=version))

    def send_raw(self, request: bytes) -> None:
        """Send `request` as it is."""
        self.answer = Answer()
        self._writer.write(request)

    async def read_head(self) -> Answer:
        """Wait for status and headers."""
        self.answer = Answer()
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        self.answer.status = int(first.split(" ")[1])
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in self.answer.headers, f"{name} twice"
            self.answer.headers[name.lower()] = value
        return self.answer

    async def read(self, *, has_body: bool = True) -> Answer:
        """Wait for the whole answer, or for the connection to break; an interim answer is one by itself."""
        try:
            await self.read_head()
        except (asyncio.IncompleteReadError, ConnectionError):
            return self.answer
        if not has_body or self.answer.status < 200:
            self.answer.is_whole = True
            return self.answer
        return await self.read_rest()

    async def read_rest(self) -> Answer:
        """Wait for the rest of the body, or for the connection to break."""
        try:
            while await self.read_piece():
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            self.answer.is_whole = False
        return self.answer

    async def read_slowly(self, pause_seconds: float) -> None:
        """Read the rest of the body with a pause after each piece."""
        while True:
            if not await self.read_piece():
                return
            await asyncio.sleep(pause_seconds)

    async def take(self, count: int) -> bytes:
        """Exactly `count` bytes of what comes; raises `IncompleteReadError` if the connection ends before."""
        return await self._reader.readexactly(count)

    async def read_piece(self) -> bytes:
        """One chunk, or one read, of the body; b"" at its end."""
        answer = self.answer
        if answer.headers.get("transfer-encoding") == "chunked":
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            piece = (await self._reader.readexactly(size + 2))[:-2]
            answer.is_whole = not size
        elif "content-length" in answer.headers:
            length = int(answer.headers["content-length"])
            piece = await self._reader.read(min(_READ_BYTES, length - len(answer.body)))
            answer.is_whole = len(answer.body) + len(piece) == length
        else:
            piece = await self._reader.read(_READ_BYTES)
            answer.is_whole = not piece
        answer.body += piece
        if piece:
            answer.times.append(asyncio.get_running_loop().time())
        return piece

    async def is_closed(self) -> bool:
        """Wait for the other side's next word: True where it is the end of the connection."""
        try:
            return not await self._reader.read(1)
        except ConnectionError:
            return True

    def leave(self) -> None:
        """Break off at once (RST)."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close in order (FIN)."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


def request_bytes(path: str, body: object = None, headers: Sequence[str] = (), *, version: str = "1.1") -> bytes:
    """A whole request: POST of `body` (bytes as they are, anything else as JSON), or GET where it is None."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/{version}", "Host: gateway"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n" + content


async def ask(
    url: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, *, version: str = "1.1"
) -> Answer:
    """One request on a connection of its own; a caller that is cancelled breaks off."""
    client = await Client.connect(url)
    try:
        client.send(path, body, headers, version=version)
        return await client.read()
    except asyncio.CancelledError:
        client.leave()
        raise
    finally:
        await client.close()
