"""Embedded workers: the engines without a GPU that a configuration may ask the gateway to start beside itself.

Each is a child process on a loopback port of its own choosing, ready when it says so on standard output; it ends with
its parent however that ends. A worker that dies is noticed like any other, by its probes.
"""

import asyncio
import sys
from dataclasses import dataclass

from gateway.config import Pool, Worker

START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_READY = b"ready "


class EmbeddedFailed(Exception):
    """An embedded worker did not start; the text says which and what it said last."""


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    reader: asyncio.Task[None]


class EmbeddedWorkers:
    """The child processes of one gateway."""

    def __init__(self) -> None:
        """None yet."""
        self._children: list[_Child] = []

    async def start(self, pool: Pool, worker: Worker) -> str:
        """Start `worker` of `pool` and return its URL; raises `EmbeddedFailed`."""
        assert worker.profile is not None
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backend", "embedded"),
            *("--profile", worker.profile, "--model", pool.engine_model),
            *("--max-num-seqs", str(worker.window.sequences), "--max-model-len", str(pool.max_model_len)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the gateway, which ends its workers when it has drained
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                url = await _ready_url(process)
        except TimeoutError:
            process.kill()
            raise EmbeddedFailed(f"worker {worker.name} was not ready within {START_SECONDS:g} s") from None
        except EmbeddedFailed as failure:
            raise EmbeddedFailed(f"worker {worker.name} {failure}; its last words are above") from None
        except asyncio.CancelledError:
            process.kill()
            raise
        reader = asyncio.create_task(_discard(process), name=f"output of worker {worker.name}")
        self._children.append(_Child(process, reader))
        return url

    async def stop(self) -> None:
        """End every worker, by force where it does not go."""
        for child in self._children:
            if child.process.returncode is None:
                child.process.terminate()
        await asyncio.gather(*(_ended(child) for child in self._children))
        self._children.clear()


async def _ready_url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if line.startswith(_READY):
            return line.removeprefix(_READY).decode("ascii").strip()
    raise EmbeddedFailed(f"ended at start with exit code {await process.wait()}")


async def _discard(process: asyncio.subprocess.Process) -> None:
    """Keep the pipe empty: a worker must never block on a line that nobody reads."""
    assert process.stdout is not None
    while await process.stdout.read(65536):
        pass


async def _ended(child: _Child) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await child.process.wait()
    except TimeoutError:
        child.process.kill()
        await child.process.wait()
    await child.reader
