"""Reads a request's body: bounded in size, in time and in rate, so that a slow sender holds nothing for long."""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.clients.request import BrokenBody, ClientRequest
from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault

MIN_BYTES_PER_SECOND: Final = 16 * 1024
_HTTP_11: Final = (1, 1)


def body_at_hand(request: ClientRequest, max_bytes: int) -> bytes | None:
    """The whole body of at most `max_bytes`; None if part of it is still to come, which `read_body` waits for.

    Raises `RequestFault`, also if the head shows that the rest of the body will not be accepted.
    """
    _check_media(request)
    if not request.body.is_whole:
        if (request.stated_bytes or 0) > max_bytes:
            raise _too_large(max_bytes)
        return None
    body = request.body.at_hand()
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


async def read_body(
    request: ClientRequest, max_bytes: int, timeout_seconds: float, hold: Callable[[int], None]
) -> bytes:
    """Wait for the rest of the body, and return the whole of at most `max_bytes`.

    `hold` is called with the body's size in bytes: once if the client has stated it, else as the body grows. A sender
    has `timeout_seconds`, and one second more for each 16 KiB that has come. Raises `RequestFault`.
    """
    hold(request.stated_bytes or 0)
    _invite(request)
    try:
        return await _read_slowly(request, max_bytes, timeout_seconds, hold)
    except BrokenBody as error:
        raise _malformed() from error


def _invite(request: ClientRequest) -> None:
    """Send the interim answer `100 Continue` to a client that waits for it; HTTP/1.0 has none."""
    expects = (request.headers.get("expect") or "").lower() == "100-continue"
    if expects and request.version >= _HTTP_11 and request.line.transport is not None:
        request.line.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _read_slowly(
    request: ClientRequest, max_bytes: int, timeout_seconds: float, hold: Callable[[int], None]
) -> bytes:
    started = asyncio.get_running_loop().time()
    is_of_known_length = request.stated_bytes is not None
    body = bytearray()  # pieces of a few bytes each would hold many times what is counted
    size = 0
    try:
        async with asyncio.timeout_at(started + timeout_seconds) as deadline:
            while piece := await request.body.next_piece():
                body += piece
                size += len(piece)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                if not is_of_known_length:
                    hold(size)
                deadline.reschedule(started + timeout_seconds + size / MIN_BYTES_PER_SECOND)
    except TimeoutError:
        raise RequestFault(Outcome.BODY_TIMEOUT, "The request's body came too slowly.") from None
    return bytes(body)


def _check_media(request: ClientRequest) -> None:
    headers = request.headers
    if "content-encoding" in headers:
        raise RequestFault(
            Outcome.UNSUPPORTED_MEDIA,
            "Compressed request bodies are not accepted; send the JSON without Content-Encoding.",
        )
    named = headers.get("content-type")
    if named is None or named == "application/json":
        return
    media = named.partition(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        raise RequestFault(
            Outcome.UNSUPPORTED_MEDIA, "The body must be JSON: send it with 'Content-Type: application/json'."
        )


def _malformed() -> RequestFault:
    return RequestFault(Outcome.BAD_REQUEST, "The request's body is not well-formed HTTP.")


def _too_large(max_bytes: int) -> RequestFault:
    return RequestFault(
        Outcome.BODY_TOO_LARGE,
        f"The request's body is larger than {max_bytes // 2**20} MiB, the most this gateway accepts: send less, or ask "
        "its operator to raise `listen.max_body_mib`.",
    )
