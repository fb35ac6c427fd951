"""The thread that sends what a file of the ledger has got on to the database of the fleet.

It has an event loop of its own, so that neither a slow database nor the reading of a file delays a request. It keeps no
rows: it reads them from the file for each attempt, and the file notes what was sent. While the database is away they
stay in the file, and follow. Rows that ended longer ago than the database keeps rows are never sent: it would count
them again if it had them before.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import time
from typing import Final

from gateway.config import Postgres
from gateway.ledger.database import LedgerDatabase
from gateway.ledger.database_faults import place_of
from gateway.ledger.faults import LedgerFault
from gateway.ledger.outgoing import Outgoing, Parcel
from gateway.ledger.rows import QUARTER_US
from gateway.ledger.snapshot import FollowerSnapshot

GATHER_SECONDS: Final = 1.0  # between two transactions, unless more rows wait than one takes
PATIENCE_SECONDS: Final = 1.0  # without an answer for so long, the database is said to fail
LONGEST_PAUSE_SECONDS: Final = 5.0  # between two attempts
IDLE_SECONDS: Final = 60.0  # a connection that is not needed for so long is closed
CLOSE_SECONDS: Final = 5.0
UPKEEP_SECONDS: Final = 3600.0
_DAY_US: Final = 86_400_000_000


class Follower:
    """Follows one file; `report` is called in its thread: with a reason when it fails, with None when it works."""

    def __init__(self, path: Path, terms: Postgres, report: Callable[[str | None], None]) -> None:
        """Nothing runs before `start`."""
        self._path = path
        self._terms = terms
        self._report = report
        self._thread = Thread(target=self._run, name="ledger-follower", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._ending = asyncio.Event()
        self._database: LedgerDatabase | None = None
        self._upkeep_at = 0.0
        self._pause_seconds = GATHER_SECONDS
        self._reason: str | None = None
        self._sent_rows = self._behind_rows = self._failures = self._lost_rows = 0

    # -- the side of the gateway

    def start(self) -> None:
        """Begin to follow; the file is touched once `wake` was called."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def wake(self) -> None:
        """The file has rows; called in any thread, at once and without waiting."""
        self._call(self._woken.set)

    def snapshot(self) -> FollowerSnapshot:
        """Its figures at this moment."""
        return FollowerSnapshot(self._reason or "", self._sent_rows, self._behind_rows, self._failures, self._lost_rows)

    def close(self) -> int:
        """Send what is left and end the thread, in a few seconds; returns how many rows stay behind."""
        self._call(self._end)
        self._thread.join(CLOSE_SECONDS)
        self._call(self._cancel)
        self._thread.join(CLOSE_SECONDS)
        return self._behind_rows

    def _call(self, function: Callable[[], object]) -> None:
        assert self._loop is not None, "it was started"
        with suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(function)

    # -- the thread

    def _end(self) -> None:
        self._ending.set()
        self._woken.set()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        loop = self._loop
        assert loop is not None
        try:
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(self._follow())
        except BaseException as error:
            self._say(f"its follower broke: {type(error).__name__}: {error}")
            raise
        finally:
            loop.close()

    async def _follow(self) -> None:
        is_last = False
        self._task = asyncio.current_task()
        try:
            while not is_last:
                await self._until_woken()
                is_last = self._ending.is_set()
                self._woken.clear()
                await self._send_all()
                await _within(self._pause_seconds, self._ending)
        finally:
            if self._database is not None:
                self._database.drop()

    async def _until_woken(self) -> None:
        if not await _within(IDLE_SECONDS, self._woken):
            await self._release()
            await self._woken.wait()

    async def _send_all(self) -> None:
        """Send until nothing is left or an attempt fails."""
        parcel = await self._attempt()
        while parcel is not None and parcel.is_full:
            parcel = await self._attempt()
        if self._reason is not None:
            self._woken.set()  # try again, if only to learn that the database answers

    async def _attempt(self) -> Parcel | None:
        """Send a parcel; None if that fails, which is said within `PATIENCE_SECONDS`."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        timer = loop.call_later(PATIENCE_SECONDS, self._lose_patience)
        try:
            parcel = await self._send()
        except LedgerFault as fault:
            self._failures += 1
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
            if self._database is not None:
                self._database.drop()
                self._database = None
            self._say(str(fault))
            return None
        finally:
            timer.cancel()
        self._pause_seconds = GATHER_SECONDS
        if loop.time() - began_at < PATIENCE_SECONDS:
            self._say(None)
        return parcel

    async def _send(self) -> Parcel:
        with Outgoing(self._path) as outgoing:
            self._behind_rows = outgoing.behind()
            database = await self._connected()
            parcel = await database.add(lambda: outgoing.parcel(self._oldest_us()))
            outgoing.note(parcel)
            self._sent_rows += parcel.row_count
            self._lost_rows += parcel.old_count
            self._behind_rows = outgoing.behind()
        await self._upkeep(database)
        return parcel

    async def _connected(self) -> LedgerDatabase:
        if self._database is None:
            database = self._database = await LedgerDatabase.open(self._terms)
            await database.bring_up()
        return self._database

    async def _upkeep(self, database: LedgerDatabase) -> None:
        """Delete a slice of what is too old, if it is time to look; a day later than rows are refused."""
        now = asyncio.get_running_loop().time()
        if now >= self._upkeep_at and not await database.delete_old((self._oldest_us() - _DAY_US) // QUARTER_US):
            self._upkeep_at = now + UPKEEP_SECONDS

    def _oldest_us(self) -> int:
        """Rows that ended before are too old for the database."""
        return int(time() * 1e6) - self._terms.rows_days * _DAY_US

    async def _release(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            await database.close()

    def _lose_patience(self) -> None:
        if self._reason is None:  # else it is said already why it fails
            self._say(f"{place_of(self._terms.url)} has not answered for {PATIENCE_SECONDS:g} s")

    def _say(self, reason: str | None) -> None:
        if reason != self._reason:
            self._reason = reason
            self._report(reason)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for `event`; False if it has not come in so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
