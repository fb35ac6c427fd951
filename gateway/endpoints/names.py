"""Where a worker's host is: its name looked up beside the event loop, the last good addresses kept.

A host that is an address is never looked up. At most one lookup of a host runs, for everybody who asks meanwhile, in a
thread of its own. Where it was found before, a lookup that fails, or is slow, costs nothing but `PATIENT_SECONDS` once:
the last addresses are used, and what a slow one finds counts from then on. Only a host that was never found is unknown.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

PATIENT_SECONDS = 0.5  # for a lookup of a host that was found before
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
    """One host, and where it was found last."""

    def __init__(self, name: str, ask: LookUp | None = None) -> None:
        """Nothing is looked up before it is asked for, by `ask` in place of the system."""
        self._name = name
        self._ask = ask or look_up
        self._is_address = _is_address(name)
        self._known: tuple[str, ...] = (name,) if self._is_address else ()
        self._lookup: asyncio.Task[None] | None = None
        self._is_slow = False

    @property
    def is_known(self) -> bool:
        """True once it was found."""
        return bool(self._known)

    async def addresses(self) -> tuple[str, ...]:
        """Where it is, as far as is known soon; raises `OSError` where it was never found."""
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
        """Wait for no lookup any more."""
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
            lookup.exception()  # who waits for it is told; nobody may


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
