"""Reads the configuration again: when a file of it changes, and when told; one at a time, and off the event loop.

A large configuration takes seconds to read, which no stream must notice: a thread reads, the loop only takes over the
difference. Folders are watched, not files, because editors and Kubernetes replace files; the key files of the last good
configuration count as part of it. Kubernetes replaces the folder too, behind a link: where the link leads is looked up
once a second, for a change that came while no folder was watched.
"""

import asyncio
import os
from pathlib import Path

from watchfiles import awatch

from gateway.app import Gateway
from gateway.config import ConfigError, Loaded, load
from gateway.telemetry.observers import LineLogger

_DEBOUNCE_MS = 200
_STEP_MS = 200
_LOOK_MS = 1000


def read(path: Path) -> Loaded | ConfigError:
    """What a gateway is to run with, or what is wrong with it."""
    try:
        return load(path)
    except ConfigError as error:
        return error


class Reloader:
    """Keeps one gateway's configuration up to date."""

    def __init__(self, gateway: Gateway, loaded: Loaded, logger: LineLogger) -> None:
        """Start from `loaded`, with which `gateway` runs."""
        self._gateway = gateway
        self._path = loaded.path
        self._read_from = loaded.path.resolve()
        self._files = _files(loaded)
        self._stamps = _stamps(self._files)
        self._logger = logger
        self._lock = asyncio.Lock()
        self._asked: set[asyncio.Task[None]] = set()

    def ask(self) -> None:
        """Reload soon, as SIGHUP asks."""
        task = asyncio.create_task(self.reload(), name="reload")
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def reload(self) -> None:
        """Read, and let the gateway take over what it found."""
        async with self._lock:
            self._read_from = self._path.resolve()
            found = await asyncio.to_thread(read, self._path)
            self._gateway.reload(found)
            if isinstance(found, Loaded):
                self._files = _files(found)

    async def watch(self, end: asyncio.Event) -> None:
        """Reload on every change, until `end`; one during the start, which may load models for minutes, counts too."""
        try:
            if _stamps(self._files) != self._stamps:
                await self.reload()
            while not end.is_set():
                try:
                    await self._watch_files(end)
                except FileNotFoundError:
                    if not self._has_moved():
                        raise
                    await self.reload()
        except (OSError, RuntimeError) as error:
            self._logger.error(  # noqa: TRY400 - told in words
                "the configuration is no longer watched; reload with SIGHUP", reason=str(error)
            )

    async def _watch_files(self, end: asyncio.Event) -> None:
        """Watch the present files; return when others have taken their place."""
        files = self._files
        changes = awatch(
            *{file.parent for file in files},
            watch_filter=lambda _, path: Path(path).resolve() in files,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=end,
            recursive=False,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
        )
        async for found in changes:
            if found or self._has_moved():
                await self.reload()
            if self._files != files:
                return

    def _has_moved(self) -> bool:
        """Whether the configuration's path leads to another file than the one that was read last."""
        return self._path.resolve() != self._read_from


def _stamps(files: frozenset[Path]) -> dict[Path, tuple[int, int] | None]:
    """What tells a file from the one that stood there before."""
    return {file: (stat.st_mtime_ns, stat.st_ino) if (stat := _stat(file)) else None for file in files}


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None


def _files(loaded: Loaded) -> frozenset[Path]:
    return frozenset(file.resolve() for file in (loaded.path, *loaded.key_files))
