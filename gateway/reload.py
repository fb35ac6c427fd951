"""Reads the configuration again: when a file of it changes, and when told; one at a time, and off the event loop.

A large configuration takes seconds to read, which no stream must notice: a thread reads it and works out what changed,
the loop only takes that over. A look at the files every quarter of a second, through all links, finds a change wherever
they lie and however they were replaced; the key files of the last good configuration count as part of it. A writer may
stop half way: what changed is read when the files stand still, and what is then wrong or gone (a tenant, a key, a pool,
a worker, bytes of a file, its last line's end) is taken for true only when they have stood still for longer and say it
again. SIGHUP reads at once.
"""

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path

from gateway.app import Gateway
from gateway.background import Background, Errands
from gateway.config import ConfigError, Loaded, load, takes_away

LOOK_SECONDS = 0.25
STILL_SECONDS = 0.5
DOUBT_SECONDS = 3.0
MOST_SECONDS = 30.0  # after which files that never stand still are read all the same
_LOOKS_SHARE = 0.05  # of the time at most is spent on looking, however many key files there are

Stamps = dict[Path, tuple[int, int, int, int] | None]


def read(path: Path) -> Loaded | ConfigError:
    """What a gateway is to run with, or what is wrong with it."""
    try:
        return load(path)
    except ConfigError as error:
        return error


class Reloader:
    """Keeps one gateway's configuration up to date."""

    def __init__(self, gateway: Gateway, loaded: Loaded) -> None:
        """Start from `loaded`, with which `gateway` runs."""
        self._gateway = gateway
        self._path = loaded.path
        self._files = (loaded.path, *loaded.key_files)
        self._read = stamps(self._files)  # the files as they were when they were read last
        self._pause_seconds = LOOK_SECONDS
        self._lock = asyncio.Lock()
        self._asked = Errands("a reload that was asked for broke")
        # Without it a change is taken over only where SIGHUP asks for that.
        self._background = Background("configuration watch", self._watch, "the watch on the configuration broke")

    def start(self) -> None:
        """Reload after every change, until `stop`; one during the start, which may load models for minutes, counts."""
        self._background.start()

    async def stop(self) -> None:
        """Reload no more."""
        await self._asked.stop()
        await self._background.stop()

    def ask(self) -> None:
        """Reload now, as SIGHUP asks."""
        self._asked.run("reload", self.reload())

    async def reload(self) -> None:
        """Read, and let the gateway take over what it found."""
        async with self._lock:
            before = await self._look()
            await self._take_over(await asyncio.to_thread(read, self._path), before)

    async def _take_over(self, found: Loaded | ConfigError, seen: Stamps) -> None:
        self._gateway.take_over(await asyncio.to_thread(self._gateway.prepare, found))
        if isinstance(found, Loaded):
            self._files = (found.path, *found.key_files)
            seen = {file: seen[file] if file in seen else stamp(file) for file in self._files}
        self._read = seen

    async def _watch(self) -> None:
        while True:
            if await self._look() != self._read:
                await self._follow()
            await asyncio.sleep(self._pause_seconds)

    async def _follow(self) -> None:
        """The files change: take over what they come to say."""
        loop = asyncio.get_running_loop()
        began = since = loop.time()
        seen, doubted = await self._look(), None
        while True:
            await asyncio.sleep(self._pause_seconds)
            fresh, now = await self._look(), loop.time()
            if fresh != seen:
                seen, since = fresh, now
            if seen == self._read:
                return  # as it was, or taken over by SIGHUP
            is_sure = now - since >= DOUBT_SECONDS or now - began >= MOST_SECONDS
            if is_sure or (now - since >= STILL_SECONDS and seen != doubted):
                if await self._try(seen, is_sure=is_sure):
                    return
                doubted = seen

    async def _try(self, seen: Stamps, *, is_sure: bool) -> bool:
        """Read; take it over unless it must be seen again. True where it was taken over."""
        async with self._lock:
            found = await asyncio.to_thread(read, self._path)
            if not is_sure and (self._is_doubtful(found, seen) or await self._look() != seen):
                return False
            await self._take_over(found, seen)
            return True

    def _is_doubtful(self, found: Loaded | ConfigError, seen: Stamps) -> bool:
        """Whether this may be a part of what is being written: it is faulty, or has less than before."""
        if isinstance(found, ConfigError) or not found.ends_in_newline:
            return True
        return takes_away(self._gateway.config, found.config) or _have_shrunk(self._read, seen)

    async def _look(self) -> Stamps:
        began = time.perf_counter()
        seen = await asyncio.to_thread(stamps, self._files)
        self._pause_seconds = max(LOOK_SECONDS, (time.perf_counter() - began) / _LOOKS_SHARE)
        return seen


def stamps(files: Iterable[Path]) -> Stamps:
    """What tells each file from the one that stood there before."""
    return {file: stamp(file) for file in files}


def stamp(file: Path) -> tuple[int, int, int, int] | None:
    """Where `file` leads, and its time and size; None where it leads nowhere."""
    try:
        status = os.stat(file)  # noqa: PTH116 - of many files, several times a second
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _have_shrunk(before: Stamps, after: Stamps) -> bool:
    """True where a file has become shorter, or is not there."""
    sizes = ((before[file], after.get(file)) for file in before)
    return any(old is not None and (new is None or new[-1] < old[-1]) for old, new in sizes)
