"""The process of a gateway: its event loop, its signals, what it prints.

On SIGTERM or SIGINT the gateway drains and ends; a second signal ends it at once. SIGHUP and a change of the file make
it reload. Log lines go to standard error. Standard output gets the greeting, or with `announce` exactly one line,
`ready URL`.
"""

import asyncio
import errno
import gc
import os
import resource
import shlex
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import uvloop
from rich.console import Console
from rich.text import Text

from gateway.app import Gateway
from gateway.config import ConfigError, FileKey, Loaded, ensure_key_files, load
from gateway.reload import Reloader
from gateway.telemetry.logs import Log
from gateway.watch.supervisor import LaunchFailed

_INTERRUPTED = 130
# So many objects may be allocated between two garbage collections. Reference counts free nearly all objects of a
# request. With Python's default of 700 the collector would look at every request in flight for almost nothing.
GC_ALLOCATIONS = 20_000


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve: the configuration's file, a port that replaces its own, whether to create missing key files."""

    config: Path
    port: int | None = None
    create_keys: bool = False
    announce: bool = False


def serve(options: ServeOptions) -> int:
    """Run a gateway until a signal ends it; returns the exit status."""
    try:
        keys = ensure_key_files(options.config) if options.create_keys else []
        loaded = load(options.config)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)  # noqa: T201 - there is no log before there is a configuration
        return 1
    if options.port is not None:
        loaded = _on_port(loaded, options.port)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Process(loaded, options, keys).run())


def raise_descriptor_limit() -> None:
    """Raise the process's limit of descriptors to the most that the machine allows; many shells start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _on_port(loaded: Loaded, port: int) -> Loaded:
    listen = loaded.config.listen.model_copy(update={"port": port})
    return replace(loaded, config=loaded.config.model_copy(update={"listen": listen}))


class _Process:
    def __init__(self, loaded: Loaded, options: ServeOptions, keys: Sequence[FileKey]) -> None:
        self._loaded = loaded
        self._options = options
        self._keys = keys
        self._end: asyncio.Event
        self._serves = False

    async def run(self) -> int:
        self._end = asyncio.Event()
        logs = self._loaded.config.logs
        log = Log(sys.stderr, logs.format, logs.level)
        try:
            return await self._serve(log)
        finally:
            log.close()

    async def _serve(self, log: Log) -> int:
        for warning in self._loaded.warnings:
            log.logger.warning("configuration warning", warning=str(warning))
        gateway = Gateway(self._loaded, log)
        reloader = Reloader(gateway, self._loaded)
        self._listen_to_signals(reloader)
        try:
            url = await self._started(gateway)
        except (LaunchFailed, OSError, RuntimeError) as error:
            log.logger.error("the gateway could not start", reason=self._reason(error))  # noqa: TRY400 - told in words
            await gateway.stop()
            return 1
        if url is None:
            await gateway.stop()
            return 0
        reloader.start()
        gc.freeze()  # the collector need not look again at objects that live as long as the process
        gc.set_threshold(GC_ALLOCATIONS)
        self._greet(url)
        await self._end.wait()
        await reloader.stop()
        await gateway.stop()
        return 0

    def _listen_to_signals(self, reloader: Reloader) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload, reloader)

    async def _started(self, gateway: Gateway) -> str | None:
        """Start the gateway and return its URL; None if a signal came first."""
        starting = asyncio.create_task(gateway.start(), name="start")  # noqa: TID251 - awaited here
        ending = asyncio.create_task(self._end.wait(), name="end")  # noqa: TID251 - awaited here
        await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
            return None
        self._serves = True
        return starting.result()

    def _reason(self, error: Exception) -> str:
        listen = self._loaded.config.listen
        match error:
            case OSError(errno=errno.EADDRINUSE):
                remedy = "end the program that listens there, or choose another with listen.port or --port"
                return f"port {listen.port} of {listen.host} is in use; {remedy}"
            case OSError(errno=errno.EACCES):
                return (
                    f"port {listen.port} may not be used by this user; choose one above 1023 with listen.port or --port"
                )
            case OSError(errno=errno.EADDRNOTAVAIL) | socket.gaierror():
                return f"listen.host {listen.host} is no address of this machine; use 0.0.0.0 for all that it has"
            case _:
                return str(error)

    def _reload(self, reloader: Reloader) -> None:
        if self._serves:  # before that the configuration has only just been read
            reloader.ask()

    def _stop(self) -> None:
        if self._end.is_set():
            os._exit(_INTERRUPTED)  # this is the second signal, so end now, whatever runs
        self._end.set()

    def _greet(self, url: str) -> None:
        if self._options.announce:
            print(f"ready {url}", flush=True)  # noqa: T201 - the contract with whoever started us
            return
        console = Console(soft_wrap=True, highlight=False)
        console.print(Text(f"vtc-gateway serves at {url}", style="bold green"))
        for key in self._keys:
            console.print(f"  tenant [bold]{key.tenant}[/]: key {key.key}")
        console.print("Try:")
        console.print(f"  {self._example(url)}", markup=False)

    def _example(self, url: str) -> str:
        """A command that works as it is if a key is known; otherwise the user must set `KEY`."""
        key = next(iter(self._keys), None)
        config = self._loaded.config
        tenant = None if key is None else config.tenant(key.tenant)
        usable = [pool.model for pool in config.pools if tenant is None or tenant.may_use(pool)]
        body = orjson.dumps(
            {
                "model": usable[0] if usable else config.pools[0].model,
                "stream": True,
                "max_tokens": 32,
                "messages": [{"role": "user", "content": "Hello"}],
            }
        )
        credential = f"Authorization: Bearer {'$KEY' if key is None else key.key}"
        return (
            f'curl -N {url}/v1/chat/completions -H "{credential}" '
            f"-H 'Content-Type: application/json' -d {shlex.quote(body.decode())}"
        )
