"""Runs the supervisor, the child process that starts engine workers beside the gateway, and talks with it.

Messages are JSON objects, one a line. The gateway writes `{"start": PLAN}`, `{"stop": NAME}` and
`{"restart": NAME, "reason": TEXT}`. The supervisor writes `{"supervisor": ...}` first, with the key that its workers
demand. Then it writes `{"worker": STATUS}` at every change and `{"output": ...}` for each line that a worker writes.
It ends every worker when its input ends, and the kernel ends it with the gateway. A supervisor that dies is started
again and gets its orders again. `launched` decides what to order.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson
from pydantic import TypeAdapter, ValidationError

from gateway.background import Background

# The file that was installed beside the gateway; its module's name could also mean a module in the current folder.
COMMAND = ("-P", str(Path(__file__).resolve().parents[2] / "backend" / "__main__.py"), "supervise")
RESTART_SECONDS = 1.0
# vLLM gets 8 s to end by itself, and `vtc-backend vllm` 12 s, which include these.
STOP_SECONDS = 20.0
_MAX_LINE_BYTES = 1 << 20  # a message has at most 40 lines of a worker, each cut at 4 KiB, which JSON may write sixfold
_SHOWN_BYTES = 200  # the most that is shown of a line that is no message

WorkerPlan = Mapping[str, object]
_PATIENCE = frozenset({"start_seconds", "max_failed_starts"})  # only the supervisor uses these, not the process


def runs_alike(plan: WorkerPlan, other: WorkerPlan) -> bool:
    """True if a process started by the one plan does as well for the other."""
    return all(plan.get(name) == other.get(name) for name in (plan.keys() | other.keys()) - _PATIENCE)


class LaunchFailed(Exception):
    """Workers that the gateway should start did not start; the text says which, and their last words."""


@dataclass(frozen=True, slots=True)
class LaunchStatus:
    """What the supervisor says of one worker; it defines the fields."""

    worker: str
    state: str
    url: str = ""
    engine: str = ""
    reason: str = ""
    restarts: int = 0
    is_crash_loop: bool = False
    last_lines: tuple[str, ...] = ()


_STATUS = TypeAdapter(LaunchStatus)


def read_status(value: object) -> LaunchStatus:
    """The status that a message holds; raises pydantic's `ValidationError`."""
    return _STATUS.validate_python(value)


@dataclass(frozen=True, slots=True)
class SupervisorCallbacks:
    """What to call at a worker's new state (`changed`), at its output (`wrote`), if the supervisor dies (`lost`)."""

    changed: Callable[[LaunchStatus], None]
    wrote: Callable[[str, str], None]
    lost: Callable[[str], None]


class Supervisor(Protocol):
    """Who runs the workers: a process of this gateway, or the one that it shares with others."""

    @property
    def api_key(self) -> str:
        """The key that the workers demand; "" before the first of them is ready."""
        ...

    def start(self, name: str, plan: WorkerPlan) -> WorkerPlan:
        """Order a worker to run by `plan`; returns the plan by which it runs, another one if it ran before."""
        ...

    def stop(self, name: str) -> None:
        """Order the end of a worker."""
        ...

    def restart(self, name: str, reason: str) -> None:
        """Order a new start of a worker that serves, by force if it does not end."""
        ...

    async def close(self) -> None:
        """End what would be left of it."""
        ...


class SupervisorProcess:
    """The child process; `start`, `stop` and `restart` are orders, which it carries out when it can."""

    def __init__(self, callbacks: SupervisorCallbacks) -> None:
        """Run nothing before the first order."""
        self.api_key = ""
        self._callbacks = callbacks
        self._plans: dict[str, WorkerPlan] = {}
        self._process: asyncio.subprocess.Process | None = None
        # Without this task no worker comes back.
        self._background = Background("supervisor", self._keep_running, "the link to the supervisor broke")

    def start(self, name: str, plan: WorkerPlan) -> WorkerPlan:
        """Order a worker to run by `plan`, which is returned; the first such order starts the supervisor itself."""
        self._plans[name] = plan
        self._background.start()
        self._say({"start": plan})
        return plan

    def stop(self, name: str) -> None:
        """Order the end of a worker."""
        self._plans.pop(name, None)
        self._say({"stop": name})

    def restart(self, name: str, reason: str) -> None:
        """Order a new start of a worker that serves, by force if it does not end."""
        self._say({"restart": name, "reason": reason})

    async def close(self) -> None:
        """End the supervisor and every worker, by force if they do not end."""
        await self._background.stop()

    def _say(self, order: Mapping[str, object]) -> None:
        """Write an order, if the supervisor runs; at its start it gets every plan anyway."""
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(orjson.dumps(order) + b"\n")

    async def _keep_running(self) -> None:
        while True:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *COMMAND,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_MAX_LINE_BYTES,
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches the gateway alone, which ends its workers when it has drained
            )
            self._process = process
            try:
                for plan in self._plans.values():
                    self._say({"start": plan})
                await self._hear(process)
                reason = f"the supervisor ended with status {await process.wait()}"
            finally:
                self._process = None
                await _end(process)
            self._callbacks.lost(reason)
            await asyncio.sleep(RESTART_SECONDS)

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                self._take(orjson.loads(line))
            except (orjson.JSONDecodeError, ValidationError):  # a library in the supervisor has printed something
                self._callbacks.wrote("supervisor", line[:_SHOWN_BYTES].decode(errors="replace").rstrip())

    def _take(self, message: object) -> None:
        match message:
            case {"supervisor": {"api_key": str(key)}}:
                self.api_key = key
            case {"worker": status}:
                self._callbacks.changed(read_status(status))
            case {"output": {"worker": str(worker), "line": str(text)}}:
                self._callbacks.wrote(worker, text)


def _environment() -> dict[str, str]:
    """The gateway's environment without its engine key: launched workers get a key of their own."""
    return {name: value for name, value in os.environ.items() if name != "VLLM_API_KEY"}


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close the supervisor's input, which orders it to end everything; kill it after `STOP_SECONDS`."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await _drained(process)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _drained(process: asyncio.subprocess.Process) -> None:
    """Read what it still writes until it has ended, so that it never blocks on a line that nobody reads."""
    assert process.stdout is not None
    while await process.stdout.read(65536):
        pass
    await process.wait()
