"""The process of a gateway, or of the parent of several: its event loop, its signals, what it prints.

On SIGTERM or SIGINT the gateway drains and ends; a second signal ends it at once. SIGHUP and a change of the file make
it reload. Log lines go to standard error. Standard output gets the greeting, or with `announce` exactly one line,
`ready URL`. A process that a parent has started prints nothing and tells its parent instead.
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
from typing import TYPE_CHECKING, Protocol

import orjson
import uvloop

from gateway.app import Gateway
from gateway.cli.service_manager import NotHeard, ServiceManager
from gateway.config import Config, ConfigError, FileKey, Loaded, PolicyName, ensure_key_files, load
from gateway.processes import (
    DirectoryFault,
    Member,
    Parent,
    ParentLink,
    ProcessFailed,
    ProcessPlan,
    StoreMissing,
    TakeOverFailed,
    member_of,
    runtime_directory,
    usable_cores,
)
from gateway.reload import Reloader
from gateway.telemetry.logs import Log
from gateway.watch.supervisor import LaunchFailed

if TYPE_CHECKING:
    from gateway.admin.listener import AdminListener

_INTERRUPTED = 130
_FAILURES = (DirectoryFault, LaunchFailed, NotHeard, OSError, ProcessFailed, RuntimeError, StoreMissing, TakeOverFailed)
# So many objects may be allocated between two garbage collections. Reference counts free nearly all objects of a
# request. With Python's default of 700 the collector would look at every request in flight for almost nothing.
GC_ALLOCATIONS = 20_000


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve: the configuration's file, a port that replaces its own, whether to create missing key files.

    `processes` is a number or `auto`. `take_over` replaces the gateway that runs with this configuration.
    """

    config: Path
    port: int | None = None
    create_keys: bool = False
    announce: bool = False
    processes: str | None = None
    take_over: bool = False


def serve(options: ServeOptions) -> int:
    """Run a gateway until a signal ends it; returns the exit status."""
    try:
        keys = ensure_key_files(options.config) if options.create_keys else []
        loaded = load(options.config)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)  # noqa: T201 - there is no log before there is a configuration
        return 1
    if options.processes not in (None, "1") and (obstacle := _obstacle(loaded.config)):
        print(f"--processes: {obstacle}", file=sys.stderr)  # noqa: T201 - as above
        return 1
    if options.port is not None:
        loaded = _on_port(loaded, options.port)
    raise_descriptor_limit()
    process = _Process(loaded, options, keys, ServiceManager(os.environ), member_of(os.environ))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(process.run())


def _obstacle(config: Config) -> str:
    """Why several processes cannot serve `config`, as the check of its own `processes` says it; "" if they can."""
    policy = config.scheduler.policy.name
    if policy is not PolicyName.VTC:
        return f"several processes share an account by `vtc` only, not by `{policy.value}`"
    return "" if config.admin.listen is None else "`admin.listen` is for one gateway process; leave one of them out"


def raise_descriptor_limit() -> None:
    """Raise the process's limit of descriptors to the most that the machine allows; many shells start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _on_port(loaded: Loaded, port: int) -> Loaded:
    listen = loaded.config.listen.model_copy(update={"port": port})
    return replace(loaded, config=loaded.config.model_copy(update={"listen": listen}))


class _Program(Protocol):
    """What this process runs: one gateway, or the parent of several."""

    async def start(self) -> str:
        """Start it; returns the URL for clients."""
        ...

    def reload(self) -> None:
        """Read the configuration again."""
        ...

    async def stop(self) -> None:
        """Drain and end."""
        ...

    def kill(self) -> None:
        """End at once what would not end with this process."""
        ...


class _OneGateway:
    """A gateway in this process, and the watch on its configuration."""

    def __init__(self, loaded: Loaded, log: Log, parent: ParentLink | None) -> None:
        self._parent = parent
        self._gateway = Gateway(loaded, log, parent=parent)
        self._reloader = Reloader(self._gateway, loaded)
        listen = loaded.config.admin.listen
        self._admin = None if listen is None or parent is not None else _admin_listener(self._gateway, listen)
        self._has_begun = False

    async def start(self) -> str:
        if self._admin is not None:
            await self._admin.start()
        self._has_begun = True
        url = await self._gateway.start()
        self._reloader.start()
        gc.freeze()  # the collector need not look again at objects that live as long as the process
        gc.set_threshold(GC_ALLOCATIONS)
        return url

    def reload(self) -> None:
        self._reloader.ask()

    async def stop(self) -> None:
        await self._reloader.stop()
        if self._parent is not None and self._parent.is_replaced:
            await self._gateway.retire()
        if self._has_begun:
            await self._gateway.stop()
        if self._admin is not None:
            await self._admin.stop()

    def kill(self) -> None:
        pass


def _admin_listener(gateway: Gateway, address: str) -> "AdminListener":
    from gateway.admin.listener import AdminListener  # its library is loaded only where the page is served

    return AdminListener(gateway, address)


class _Process:
    def __init__(
        self,
        loaded: Loaded,
        options: ServeOptions,
        keys: Sequence[FileKey],
        manager: ServiceManager,
        member: Member | None,
    ) -> None:
        self._loaded = loaded
        self._options = options
        self._keys = keys
        self._manager = manager
        self._member = member
        self._end: asyncio.Event
        self._serves = False

    async def run(self) -> int:
        self._end = asyncio.Event()
        logs = self._loaded.config.logs
        log = Log(sys.stderr, logs.format, logs.level, self._name())
        link = None if self._member is None else ParentLink(self._member, self._end.set)
        try:
            if link is not None:
                await link.greeted()
            return await self._serve(self._program(log, link), log, link)
        finally:
            if link is not None:
                link.close()
            log.close()

    def _name(self) -> str:
        """The name of this process in the log; "" if it is the only one."""
        if self._member is not None:
            return self._member.name
        return "parent" if self._has_parent() else ""

    def _has_parent(self) -> bool:
        return self._count() > 1 or self._options.take_over

    def _count(self) -> int:
        """How many gateway processes there are to be."""
        asked = self._options.processes or self._loaded.config.processes
        return usable_cores() if asked == "auto" else int(asked)

    def _program(self, log: Log, link: ParentLink | None) -> _Program:
        if self._member is None:
            for warning in self._loaded.warnings:
                log.logger.warning("configuration warning", warning=str(warning))
        if link is not None or not self._has_parent():
            return _OneGateway(self._loaded, log, link)
        config, options = self._loaded.config, self._options
        port = () if options.port is None else ("--port", str(options.port))
        directory = runtime_directory(options.config, config.listen.port, os.environ)
        plan = ProcessPlan(self._count(), (str(options.config), *port), directory, options.take_over)
        return Parent(config, plan, log.logger, self._manager.hear_ready, self._end.set)

    async def _serve(self, program: _Program, log: Log, link: ParentLink | None) -> int:
        self._listen_to_signals(program)
        try:
            url = await self._started(program)
        except _FAILURES as error:
            log.logger.error("the gateway could not start", reason=self._reason(error))  # noqa: TRY400 - told in words
            await program.stop()
            return 1
        if url is None:
            await program.stop()
            return 0
        if link is None:
            try:
                self._manager.hear_ready()
            except NotHeard as fault:
                log.logger.warning("service manager", reason=str(fault))
            self._greet(url)
        else:
            link.say_ready(url)
        await self._end.wait()
        await program.stop()
        return 0

    def _listen_to_signals(self, program: _Program) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, program)
        loop.add_signal_handler(signal.SIGHUP, self._reload, program)

    async def _started(self, program: _Program) -> str | None:
        """Start the program and return its URL; None if a signal came first."""
        starting = asyncio.create_task(program.start(), name="start")  # noqa: TID251 - awaited here
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

    def _reload(self, program: _Program) -> None:
        if self._serves:  # before that the configuration has only just been read
            program.reload()

    def _stop(self, program: _Program) -> None:
        if self._member is not None:  # the parent ends it by force if need be; a service manager may signal it as well
            self._end.set()
        elif self._end.is_set():
            program.kill()
            os._exit(_INTERRUPTED)  # this is the second signal, so end now, whatever runs
        self._end.set()

    def _greet(self, url: str) -> None:
        if self._options.announce:
            print(f"ready {url}", flush=True)  # noqa: T201 - the contract with whoever started us
            return
        from rich.console import Console
        from rich.text import Text

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
