"""The listening sockets, bound once by the parent and inherited by every gateway process."""

import asyncio
import os
import socket
from collections.abc import Sequence

BACKLOG = 1024


async def bound(host: str, port: int) -> Sequence[socket.socket]:
    """A listening socket for each address of `host`; raises `OSError`."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
    sockets = [socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets]
    server.close()
    for each in sockets:
        each.listen(BACKLOG)
    return sockets
