"""The socket below a transport, for what the transport itself does only in the event loop's next turn.

A turn may be long where the machine is busy, and a worker generates on meanwhile. Nothing here waits. A transport
without a socket, or one that is closing, has no input and nothing to hang up.
"""

import asyncio
import os
import select
import socket
from contextlib import suppress


def poll_for_input(transport: asyncio.Transport) -> "select.poll | None":
    """A poll object: `poll(0)` shows whether bytes or the connection's end wait to be read; None without a socket."""
    number = _number(transport)
    if number is None:
        return None
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return poll


def take_input(transport: asyncio.Transport, most_bytes: int) -> bytes:
    """Up to `most_bytes` of what waits to be read; the transport will not see them."""
    number = _number(transport)
    if number is None:
        return b""
    try:
        return os.read(number, most_bytes)
    except OSError:  # nothing waits, or the connection is broken
        return b""


def hang_up(transport: asyncio.Transport) -> None:
    """Tell the other side that the connection ends; the transport still has to be closed."""
    number = _number(transport)
    if number is None:
        return
    plain = socket.socket(fileno=number)
    try:
        with suppress(OSError):  # the other side was first
            plain.shutdown(socket.SHUT_RDWR)
    finally:
        plain.detach()  # the transport still owns it


def _number(transport: asyncio.Transport) -> int | None:
    """The socket's descriptor."""
    if transport.is_closing():
        return None
    found = transport.get_extra_info("socket")
    return None if found is None else int(found.fileno())
