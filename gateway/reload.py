"""Reads the configuration again when one of its files changes or SIGHUP asks: one at a time, off the event loop.

A large configuration takes seconds to read, and no stream may notice. So a thread reads it and works out what changed;
the event loop only takes the result over. Every quarter of a second the files are looked at, through all links: this
finds every change, wherever the files lie and however they were replaced. The key files of the last good configuration
count too. A writer may be half way through. So changed files are read only when they stand still. If something is then
wrong or missing (a tenant, a key, a pool, a worker, bytes of a file, its last line's end), it is believed only when the
files have stood still for longer and still say so. SIGHUP reads at once.
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
MOST_SECONDS = 30.0  # after this time files that never stand still are read all the same
_LOOKS_SHARE = 0.05  # looking takes at most this share of the time, however many key files there are

Stamps = dict[Path, tuple[int, int, int, int] | None]


def read(path: Path) -> Loaded | ConfigError:
    """The configuration at `path`, or what is wrong with it."""
    try:
        return load(path)
    except ConfigError as error:
        return error


class Reloader:
    """Keeps one gateway's configuration up to date."""

    def __init__(self, gateway: Gateway, loaded: Loaded) -> None:
        """Start from `loaded`, the configuration with which `gateway` runs."""
        self._gateway = gateway
        self._path = loaded.path
        self._files = (loaded.path, *loaded.key_files)
        self._read = stamps(self._files)  # the files as they were at the last reading
        self._pause_seconds = LOOK_SECONDS
        self._lock = asyncio.Lock()
        self._asked = Errands("a reload that was asked for broke")
        # Without this task only SIGHUP takes a change over.
        self._background = Background("configuration watch", self._watch, "the watch on the configuration broke")

    def start(self) -> None:
        """Reload after every change, until `stop`; a change while the gateway was starting counts too."""
        self._background.start()

    async def stop(self) -> None:
        """End the watch, and a reload that runs."""
        await self._asked.stop()
        await self._background.stop()

    def ask(self) -> None:
        """Reload now, as SIGHUP asks."""
        self._asked.run("reload", self.reload())

    async def reload(self) -> None:
        """Read the configuration, and let the gateway take over what was found."""
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
        """Wait until the changing files can be believed, and take them over."""
        loop = asyncio.get_running_loop()
        began = since = loop.time()
        seen, doubted = await self._look(), None
        while True:
            await asyncio.sleep(self._pause_seconds)
            fresh, now = await self._look(), loop.time()
            if fresh != seen:
                seen, since = fresh, now
            if seen == self._read:
                return  # the files are as before, or SIGHUP has taken them over
            is_sure = now - since >= DOUBT_SECONDS or now - began >= MOST_SECONDS
            if is_sure or (now - since >= STILL_SECONDS and seen != doubted):
                if await self._try(seen, is_sure=is_sure):
                    return
                doubted = seen

    async def _try(self, seen: Stamps, *, is_sure: bool) -> bool:
        """Read, and take the result over unless it is doubtful; True if it was taken over."""
        async with self._lock:
            found = await asyncio.to_thread(read, self._path)
            if not is_sure and (self._is_doubtful(found, seen) or await self._look() != seen):
                return False
            await self._take_over(found, seen)
            return True

    def _is_doubtful(self, found: Loaded | ConfigError, seen: Stamps) -> bool:
        """True if a writer may be half way through: the result is faulty, or has less than before."""
        if isinstance(found, ConfigError) or not found.ends_in_newline:
            return True
        return takes_away(self._gateway.config, found.config) or _have_shrunk(self._read, seen)

    async def _look(self) -> Stamps:
        began = time.perf_counter()
        seen = await asyncio.to_thread(stamps, self._files)
        self._pause_seconds = max(LOOK_SECONDS, (time.perf_counter() - began) / _LOOKS_SHARE)
        return seen


def stamps(files: Iterable[Path]) -> Stamps:
    """The stamp of each file, which changes when the file is changed or replaced."""
    return {file: stamp(file) for file in files}


def stamp(file: Path) -> tuple[int, int, int, int] | None:
    """Device, inode, time (ns) and size (bytes) of `file`, links followed; None if there is no such file."""
    try:
        status = os.stat(file)  # noqa: PTH116 - of many files, several times a second
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _have_shrunk(before: Stamps, after: Stamps) -> bool:
    """True if a file has become shorter or is gone."""
    sizes = ((before[file], after.get(file)) for file in before)
    return any(old is not None and (new is None or new[-1] < old[-1]) for old, new in sizes)
