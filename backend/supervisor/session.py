"""What the supervisor and the program that started it say to each other: one JSON object a line.

In: `{"start": PLAN}`, `{"stop": NAME}`, `{"restart": NAME, "reason": TEXT}`. Out: first `{"supervisor": {...}}` with
the key that engines ask for and the GPUs found, then `{"worker": STATUS}` for every change and
`{"output": {"worker": NAME, "line": TEXT}}` for the lines that a worker writes. The end of the input is the end of
every worker, and so is a line that cannot be read.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import asdict

import orjson

from backend.supervisor.machine import Machine
from backend.supervisor.plan import PlanError, read_plan
from backend.supervisor.supervisor import Supervisor
from backend.supervisor.worker import Status, WorkerCallbacks

MAX_LINE_BYTES = 1 << 20

Write = Callable[[dict[str, object]], None]


def write_line(message: dict[str, object]) -> None:
    """Write a message to standard output; a reader that is gone is noticed at the end of its input."""
    try:
        sys.stdout.buffer.write(orjson.dumps(message) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return


def callbacks(write: Write) -> WorkerCallbacks:
    """Tells everything as messages."""

    def changed(status: Status) -> None:
        write({"worker": asdict(status)})

    def wrote(worker: str, line: str) -> None:
        write({"output": {"worker": worker, "line": line}})

    return WorkerCallbacks(changed, wrote)


def greeting(machine: Machine) -> dict[str, object]:
    """The first message."""
    return {"supervisor": {"api_key": machine.api_key, "gpus": [asdict(gpu) for gpu in machine.gpus]}}


async def obey(supervisor: Supervisor, orders: asyncio.StreamReader) -> None:
    """Do as `orders` say until they end; raises `PlanError` at one that makes no sense."""
    async for line in orders:
        match _read(line):
            case {"start": plan}:
                supervisor.start(read_plan(plan))
            case {"stop": str(name)}:
                supervisor.stop(name)
            case {"restart": str(name), "reason": str(reason)}:
                supervisor.restart(name, reason)
            case order:
                raise PlanError(f"an order is neither start, stop nor restart: {str(order)[:200]}")


def _read(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise PlanError(f"an order is not JSON: {error}") from None


async def standard_input() -> asyncio.StreamReader:
    """Standard input as a stream."""
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
