"""The client's side of an answer: its head through aiohttp, its body straight to the transport.

Each piece becomes one HTTP chunk and one write; no task wakes up for it. `write` tells when the client is slow, `drain`
waits until it has caught up, for a bounded time. HTTP/1.0 clients get the bare bytes and the end of the connection.
"""

import asyncio
from collections.abc import Sequence

from aiohttp import web

HIGH_WATER_BYTES = 64 * 1024  # of answer waiting for a slow client before its worker is no longer read
_HTTP_11 = (1, 1)


class ClientStalled(Exception):
    """The client took no byte of its answer for too long."""


class Downstream:
    """One answer on its way to one client."""

    def __init__(self, request: web.BaseRequest, headers: Sequence[tuple[str, str]]) -> None:
        """An answer to `request` that carries `headers`, the gateway's own."""
        self._request = request
        self._headers = headers
        self._response: web.StreamResponse | None = None
        self._transport: asyncio.Transport | None = None
        self._is_chunked = False

    @property
    def is_open(self) -> bool:
        """True once the head was sent."""
        return self._response is not None

    @property
    def response(self) -> web.StreamResponse:
        """The response to return to aiohttp, which writes the last chunk."""
        assert self._response is not None
        return self._response

    async def open(self, status: int, headers: Sequence[tuple[str, str]], first: bytes, length: int | None) -> None:
        """Send the head and the first bytes of the body in one write; `length` is the body's, where known."""
        response = web.StreamResponse(status=status)
        for name, value in (*headers, *self._headers):
            response.headers.add(name, value)
        if length is not None:
            response.content_length = length
        elif self._request.version >= _HTTP_11:
            response.enable_chunked_encoding()
            self._is_chunked = True
        else:
            response.force_close()
        self._response = response
        await response.prepare(self._request)
        self._transport = self._request.transport
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        if first:
            await response.write(first)

    def write(self, data: bytes) -> bool:
        """Send `data`; False where the client is behind and `drain` must be awaited before more."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return True  # the client left: its handler is being cancelled
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        return transport.get_write_buffer_size() <= HIGH_WATER_BYTES

    async def drain(self, seconds: float) -> None:
        """Wait until the client has caught up; raises `ClientStalled` after `seconds` without progress."""
        while self._waiting_bytes() > HIGH_WATER_BYTES:
            before = self._waiting_bytes()
            try:
                async with asyncio.timeout(seconds):
                    await self._request.protocol._drain_helper()
            except TimeoutError:
                if self._waiting_bytes() >= before:
                    self._abort()
                    raise ClientStalled from None
            except ConnectionError:
                return  # the client left: its handler is being cancelled

    def end_badly(self, last: bytes) -> None:
        """Send `last` and no more; without chunks only a broken connection says that the body is not whole."""
        assert self._response is not None
        if last:
            self.write(last)
        if not self._is_chunked:
            self._response.force_close()
            if self._transport is not None:
                self._transport.close()

    def _waiting_bytes(self) -> int:
        if self._transport is None or self._transport.is_closing():
            return 0
        return self._transport.get_write_buffer_size()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
