"""The client's side of an answer: its head through aiohttp, its body straight to the transport.

Each piece becomes one HTTP chunk and one write; no task wakes up for it. `write` tells when the client is slow, `drain`
waits until it has caught up, for a bounded time. HTTP/1.0 clients get the bare bytes and the end of the connection.
"""

import asyncio
import socket
from collections.abc import Sequence

from aiohttp import web

HIGH_WATER_BYTES = 64 * 1024  # of answer waiting for a slow client before its worker is no longer read
_HTTP_11 = (1, 1)
# Linux keeps up to 4 MB unsent for a client that does not read (tcp_wmem); what is on its way is not counted in this.
_UNSENT_OPTION: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)


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

    async def open(self, status: int, headers: Sequence[tuple[str, str]], length: int | None) -> None:
        """Send the head; `length` is the body's, where known."""
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
        try:
            await response.prepare(self._request)
        except ConnectionError:
            return  # the client left: its handler is being cancelled
        self._transport = self._request.transport
        if self._transport is not None:
            _bound_buffers(self._transport)

    def write(self, data: bytes) -> bool:
        """Send `data`; False where the client is behind and `drain` must be awaited before more."""
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return True  # the client left: its handler is being cancelled
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        return transport.get_write_buffer_size() <= HIGH_WATER_BYTES

    async def drain(self, seconds: float) -> None:
        """Wait until the client has taken nearly all that waits for it.

        Raises `ClientStalled` after `seconds` without progress.
        """
        protocol = self._request.protocol
        while self._waiting_bytes() and protocol.writing_paused:
            before = self._waiting_bytes()
            try:
                async with asyncio.timeout(seconds):
                    await protocol._drain_helper()
            except TimeoutError:
                if self._waiting_bytes() >= before:
                    self._abort()
                    raise ClientStalled from None
            except ConnectionError:
                return  # the client left: its handler is being cancelled

    def break_off(self) -> None:
        """End the connection: only that tells the client of a body that it is not whole."""
        self.response.force_close()
        if self._transport is not None:
            self._transport.close()

    def _waiting_bytes(self) -> int:
        if self._transport is None or self._transport.is_closing():
            return 0
        return self._transport.get_write_buffer_size()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _bound_buffers(transport: asyncio.Transport) -> None:
    """Let at most `HIGH_WATER_BYTES` wait here and as many unsent in the kernel."""
    transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
    client = transport.get_extra_info("socket")
    if _UNSENT_OPTION is not None and client is not None:
        client.setsockopt(socket.IPPROTO_TCP, _UNSENT_OPTION, HIGH_WATER_BYTES)
