"""An HTTP client that sends exactly the bytes it is given and reads answers one by one."""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; header names in lower case, values in order."""

    status: int
    headers: dict[str, list[str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The only value of header `name`, None where it is absent."""
        values = self.headers.get(name, [])
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        """The data of each server-sent event."""
        return [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]


class Wire:
    """One client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, host: str, port: int) -> "Wire":
        """Connect to the gateway."""
        return cls(*await asyncio.open_connection(host, port, limit=64 * 2**20))

    def send(self, data: bytes) -> None:
        """Send `data` as it is."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the kernel takes more."""
        await self._writer.drain()

    async def head(self) -> tuple[int, dict[str, list[str]]]:
        """Status and headers of the next answer."""
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(":")
            headers.setdefault(name.lower(), []).append(value.strip())
        return int(lines[0].split(" ")[1]), headers

    async def answer(self, *, has_body: bool = True) -> Answer:
        """The next answer, whole; interim ones are returned as they come."""
        status, headers = await self.head()
        if not has_body or status < 200:
            return Answer(status, headers, b"")
        if "chunked" in headers.get("transfer-encoding", ()):
            body = await self._chunks()
        elif "content-length" in headers:
            body = await self._reader.readexactly(int(headers["content-length"][0]))
        else:
            body = await self._reader.read()
        return Answer(status, headers, body)

    async def _chunks(self) -> bytes:
        body = b""
        while piece := await self.chunk():
            body += piece
        return body

    async def chunk(self) -> bytes:
        """The next chunk of a body, b"" at its end."""
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        return (await self._reader.readexactly(size + 2))[:-2]

    async def ended(self) -> bytes:
        """What comes until the gateway closes the connection."""
        try:
            return await self._reader.read()
        except ConnectionResetError:
            return b""

    def abort(self) -> None:
        """Leave at once, with a reset."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Leave."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
