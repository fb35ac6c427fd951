"""Measures the turns of an event loop from inside: `python -m evaluation.bench.loop_turns FILE [ARGUMENTS]`.

With ARGUMENTS it runs `python -m gateway ARGUMENTS`, without them an idle loop, to compare with. A timer of one
millisecond reads the processor time of the loop's thread. A turn that took longer delays the next tick, so the longest
turn takes at most what the thread used between two ticks. By how much a tick is late on the clock is the loop's lag,
which also depends on what else runs on the machine. On SIGUSR1 the figures since the last time are written to FILE.
"""

import asyncio
import os
import runpy
import signal
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep, thread_time
from typing import NamedTuple

import orjson
import uvloop

from evaluation.load.processes import Child

TICK_SECONDS = 0.001
_PERMILLE = 0.999
_LOOK_SECONDS = 0.005
_ANSWER_SECONDS = 60.0


class Turns(NamedTuple):
    """What was seen since the last time: the longest turn by processor time, and the lag of the loop by the clock."""

    longest_seconds: float
    lag_p999_seconds: float
    longest_lag_seconds: float
    ticks: int


class TurnMeter:
    """Measures the loop on which it is started."""

    def __init__(self, loop: asyncio.AbstractEventLoop, file: Path) -> None:
        self._loop = loop
        self._file = file
        self._lags = array("d")
        self._longest_seconds = 0.0
        self._used_seconds = 0.0
        self._ticked_at = 0.0

    def start(self) -> None:
        """Tick from the loop's first turn on."""
        self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._loop.add_signal_handler(signal.SIGUSR1, self._write)
        self._used_seconds, self._ticked_at = thread_time(), perf_counter()
        self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        used, now = thread_time(), perf_counter()
        self._longest_seconds = max(self._longest_seconds, used - self._used_seconds)
        self._lags.append(now - self._ticked_at - TICK_SECONDS)
        self._used_seconds, self._ticked_at = used, now
        self._loop.call_later(TICK_SECONDS, self._tick)

    def _write(self) -> None:
        lags = sorted(self._lags) or [0.0]
        turns = Turns(self._longest_seconds, lags[int(_PERMILLE * (len(lags) - 1))], lags[-1], len(self._lags))
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(turns._asdict()))
        fresh.replace(self._file)
        self._lags, self._longest_seconds = array("d"), 0.0
        self._used_seconds, self._ticked_at = thread_time(), perf_counter()  # writing this was no turn of the loop's


def turns_of(process: Child, file: Path) -> Turns:
    """What the process has seen since the last call; waits for it in this thread. Raises `TimeoutError`."""
    file.unlink(missing_ok=True)
    os.kill(process.pid, signal.SIGUSR1)
    end = perf_counter() + _ANSWER_SECONDS
    while not file.exists():
        if perf_counter() > end:
            raise TimeoutError(f"{process.name} does not say how long its turns were")
        sleep(_LOOK_SECONDS)
    return Turns(**orjson.loads(file.read_bytes()))


def _measured(make_loop: Callable[[], uvloop.Loop], file: Path) -> uvloop.Loop:
    loop = make_loop()
    TurnMeter(loop, file).start()
    return loop


def main(file: Path, arguments: list[str]) -> None:
    """Run the gateway, or an idle loop."""
    make_loop = uvloop.new_event_loop
    if arguments:
        uvloop.new_event_loop = lambda: _measured(make_loop, file)
        sys.argv[:] = ["gateway", *arguments]
        runpy.run_module("gateway", run_name="__main__", alter_sys=True)
        return
    loop = _measured(make_loop, file)
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    loop.call_soon(lambda: print("ready idle", flush=True))  # noqa: T201 - what `child` waits for
    loop.run_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
