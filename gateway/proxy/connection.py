"""One client connection of aiohttp's server that waits without a task.

aiohttp keeps a task for each connection and starts another for each request. Here a request that has come starts the
one task that answers it, and those that were sent behind it in their order; it ends with the last answer. What waits is
a connection and a timer. Reading requests, writing answers and closing stay aiohttp's.
"""

import asyncio

from aiohttp import http_parser, http_writer, streams, web, web_protocol


class Connection(web_protocol.RequestHandler):
    """One client connection; `is_serving` while a request on it is being answered."""

    __slots__ = ("_linger_seconds", "is_serving")

    def __init__(
        self, manager: web.Server, loop: asyncio.AbstractEventLoop, *, linger_seconds: float, **options: object
    ) -> None:
        """`linger_seconds`: for how long the rest of a body is read that its answer did not wait for."""
        super().__init__(manager, loop=loop, **options)  # type: ignore[arg-type]
        self._linger_seconds = linger_seconds
        self.is_serving = False

    async def start(self) -> None:
        """Nothing: what aiohttp starts with the connection has nothing to answer yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        super().connection_made(transport)
        self._task_handler = None

    def data_received(self, data: bytes) -> None:
        """Parse; a request that nobody is answering starts the task that does."""
        super().data_received(data)
        if self._messages and not self.is_serving:
            self.is_serving = True
            self._task_handler = self._loop.create_task(self._serve())

    async def _serve(self) -> None:
        """Answer the requests that have come, in order."""
        is_kept = True
        try:
            while is_kept and self._messages and not self._force_close:
                is_kept = await self._answer(*self._messages.popleft())
        except Exception:
            self.logger.exception("a client connection failed")
            self.force_close()
        except BaseException:
            self.force_close()
            raise
        finally:
            self.is_serving = False
            self._task_handler = None
        if not is_kept and self.transport is not None:
            self.transport.close()

    async def _answer(
        self, message: http_parser.RawRequestMessage | web_protocol._ErrInfo, payload: streams.StreamReader
    ) -> bool:
        """Answer one request; True where the connection is kept for another."""
        self._free_place()
        manager = self._manager
        assert manager is not None and self._task_handler is not None
        manager.requests_count += 1
        handler = manager.request_handler
        if isinstance(message, web_protocol._ErrInfo):
            handler = self._make_error_handler(message)
            message = web_protocol.ERROR
        writer = http_writer.StreamWriter(self, self._loop)
        request = manager.request_factory(message, payload, self, writer, self._task_handler)
        try:
            response, is_reset = await self._handle_request(request, None, handler)
        except ConnectionError:
            return False
        finally:
            request._task = None  # type: ignore[assignment]  # a ring of references otherwise
        if is_reset:
            return False
        self._keepalive = bool(response.keep_alive)
        if not payload.is_eof():
            await self._discard(payload)
        return self._expect_next()

    def _free_place(self) -> None:
        """The parser may read one more request ahead."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    async def _discard(self, payload: streams.StreamReader) -> None:
        """Read what is left of a body for a while, so that the answer is read before the connection closes."""
        try:
            async with asyncio.timeout(self._linger_seconds):
                while not payload.is_eof() and not self._force_close:
                    await payload.readany()
        except TimeoutError:
            self.close()

    def _expect_next(self) -> bool:
        """Keep the connection for `keepalive_timeout`, unless it is to close; whether it is kept."""
        if not self._keepalive or self._close or self._force_close:
            return False
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        return True

    def _process_keepalive(self) -> None:
        """Close where nothing has come for the whole time."""
        super()._process_keepalive()
        if self._keepalive_handle is None and not self.is_serving:
            self.force_close()
