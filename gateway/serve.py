"""The process of a gateway: its event loop, its signals, the watch on its configuration, what it prints.

SIGTERM and SIGINT drain and end it (a second one ends it at once), SIGHUP and a change of the file reload. Log lines go
to standard error; standard output gets the greeting, or with `announce` exactly one line, `ready URL`.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console
from rich.text import Text
from watchfiles import awatch

from gateway.app import Gateway
from gateway.config import ConfigError, FileKey, Loaded, ensure_key_files, load
from gateway.proxy.embedded import EmbeddedFailed
from gateway.telemetry.logs import Log

_WATCH_DEBOUNCE_MS = 200
_WATCH_STEP_MS = 50
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve: the configuration's file, a port instead of its own, whether missing key files are created."""

    config: Path
    port: int | None = None
    create_keys: bool = False
    announce: bool = False


def serve(options: ServeOptions) -> int:
    """Run a gateway until it is told to end; the exit status."""
    try:
        keys = ensure_key_files(options.config) if options.create_keys else []
        loaded = load(options.config)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)  # noqa: T201 - there is no log before there is a configuration
        return 1
    if options.port is not None:
        loaded = _on_port(loaded, options.port)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Process(loaded, options, keys).run())


def _on_port(loaded: Loaded, port: int) -> Loaded:
    listen = loaded.config.listen.model_copy(update={"port": port})
    return Loaded(loaded.config.model_copy(update={"listen": listen}), loaded.path, loaded.key_files)


class _Process:
    def __init__(self, loaded: Loaded, options: ServeOptions, keys: Sequence[FileKey]) -> None:
        self._loaded = loaded
        self._options = options
        self._keys = keys
        self._end: asyncio.Event

    async def run(self) -> int:
        self._end = asyncio.Event()
        logs = self._loaded.config.logs
        log = Log(sys.stderr, logs.format, logs.level)
        try:
            return await self._serve(log)
        finally:
            log.close()

    async def _serve(self, log: Log) -> int:
        loop = asyncio.get_running_loop()
        gateway = Gateway(self._loaded, log)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        try:
            url = await gateway.start()
        except (EmbeddedFailed, OSError, RuntimeError) as error:
            log.logger.error("the gateway could not start", reason=str(error))  # noqa: TRY400 - told in words
            await gateway.stop()
            return 1
        loop.add_signal_handler(signal.SIGHUP, gateway.reload)
        watch = asyncio.create_task(self._watch(gateway), name="configuration watch")
        gc.freeze()  # what lives as long as the process need not be looked at again
        self._greet(url)
        await self._end.wait()
        await gateway.stop()
        await watch
        return 0

    def _stop(self) -> None:
        if self._end.is_set():
            os._exit(_INTERRUPTED)  # asked twice: now, whatever runs
        self._end.set()

    async def _watch(self, gateway: Gateway) -> None:
        """Reload on a change of the configuration or a key file; folders are watched, for editors replace files."""
        files = {file.resolve() for file in (self._loaded.path, *self._loaded.key_files)}
        changes = awatch(
            *{file.parent for file in files},
            watch_filter=lambda _, path: Path(path).resolve() in files,
            debounce=_WATCH_DEBOUNCE_MS,
            step=_WATCH_STEP_MS,
            stop_event=self._end,
            recursive=False,
        )
        async for _ in changes:
            gateway.reload()

    def _greet(self, url: str) -> None:
        if self._options.announce:
            print(f"ready {url}", flush=True)  # noqa: T201 - the contract with whoever started us
            return
        console = Console(soft_wrap=True, highlight=False)
        console.print(Text(f"vtc-gateway serves at {url}", style="bold green"))
        for key in self._keys:
            console.print(f"  tenant [bold]{key.tenant}[/]: key {key.key}")
        model = self._loaded.config.pools[0].model
        shown = self._keys[0].key if self._keys else "$KEY"
        console.print("Try:")
        console.print(
            f"  curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {shown}' "
            "-H 'Content-Type: application/json' "
            f'-d \'{{"model": "{model}", "stream": true, "max_tokens": 32, '
            '"messages": [{"role": "user", "content": "Hello"}]}\'',
            markup=False,
        )
