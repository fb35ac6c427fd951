"""Looks up the addresses of a worker's host in a thread beside the event loop, and keeps the last good ones.

A host that is an address is never looked up. At most one lookup of a host runs at a time; all who ask meanwhile share
it. If the host was found before, a lookup that fails costs nothing, and a slow one costs one wait of `PATIENT_SECONDS`:
the last addresses are used, and the result of a slow lookup counts once it is there. Only a host that was never found
is unknown.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

PATIENT_SECONDS = 0.5  # the longest wait for a lookup of a host that was found before
MAX_ADDRESSES = 8
MAX_LOOKUPS = 64  # of different hosts at a time

LookUp = Callable[[str], Awaitable[list[str]]]

_threads = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="lookup")


async def look_up(host: str) -> list[str]:
    """The addresses of `host`, in the system's order; raises `OSError`."""
    found = await asyncio.get_running_loop().run_in_executor(_threads, _ask_system, host)
    return list(dict.fromkeys(found))


def _ask_system(host: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class Host:
    """One host, and the addresses at which it was found last."""

    def __init__(self, name: str, ask: LookUp | None = None) -> None:
        """Look nothing up before `addresses` is called; `ask` does a lookup in place of the system."""
        self._name = name
        self._ask = ask or look_up
        self._is_address = _is_address(name)
        self._known: tuple[str, ...] = (name,) if self._is_address else ()
        self._lookup: asyncio.Task[None] | None = None
        self._is_slow = False

    @property
    def is_known(self) -> bool:
        """True once the host was found."""
        return bool(self._known)

    async def addresses(self) -> tuple[str, ...]:
        """The best known addresses, without a long wait if some are known; raises `OSError` if none were ever found.

        Cancelled: the lookup goes on for others.
        """
        if self._is_address:
            return self._known
        lookup = self._start()
        if not self._known:
            await asyncio.wait({lookup})
            if lookup.cancelled():
                raise OSError("nobody looks for it any more")
            lookup.result()
        elif not self._is_slow:
            await asyncio.wait({lookup}, timeout=PATIENT_SECONDS)
            self._is_slow = not lookup.done()
        return self._known

    def close(self) -> None:
        """Cancel the lookup that runs."""
        if self._lookup is not None:
            self._lookup.cancel()

    def _start(self) -> asyncio.Task[None]:
        if self._lookup is None:
            lookup = asyncio.create_task(self._find(), name=f"lookup of {self._name}")  # noqa: TID251 - who asks waits
            self._lookup = lookup
            self._lookup.add_done_callback(self._ended)
        return self._lookup

    async def _find(self) -> None:
        found = await self._ask(self._name)
        self._known = tuple(found[:MAX_ADDRESSES]) or self._known

    def _ended(self, lookup: asyncio.Task[None]) -> None:
        self._lookup, self._is_slow = None, False
        if not lookup.cancelled():
            lookup.exception()  # marks it as seen: callers that wait get it, but there may be none


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
