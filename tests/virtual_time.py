"""Virtual time: real sockets, a clock that jumps. And the check that a test leaves nothing behind.

The event loop polls its sockets without waiting; only when none of them has anything to say does the clock jump to the
next timer. Why no byte in flight is jumped over: both ends of every connection live in this one thread, so whatever was
sent was sent before the poll. Linux delivers over loopback through one queue per processor, first in, first out, and
normally within the sending system call. The thread is tied to one processor while the loop runs, and before each poll
a datagram is sent over loopback and awaited: what was sent before it has then been delivered. What a delivery itself
sends (acknowledgements, a window that opens, data that waited for it) joins the queue behind the datagram: hence
several quiet rounds in a row before a jump. Events are handed on in the order of their descriptors, so a run repeats
bit by bit.
"""

import asyncio
import functools
import gc
import logging
import os
import selectors
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

QUIET_ROUNDS = 3
MAX_POLLS_WITHOUT_A_JUMP = 100_000
_DELIVERY_SECONDS = 30.0  # of real time, for a datagram over loopback on a machine that is busy elsewhere
_SETTLING_SECONDS = 1.0  # of virtual time, for closed connections to be forgotten at the end of a story

_T = TypeVar("_T")
_P = ParamSpec("_P")


@asynccontextmanager
async def passing_time() -> AsyncIterator[None]:
    """A context in which time goes on while a thread works: of itself virtual time does not wait for threads."""
    passing = asyncio.create_task(_pass_time())
    try:
        yield
    finally:
        passing.cancel()


async def _pass_time() -> None:
    while True:  # noqa: ASYNC110 - it waits for nothing but time
        await asyncio.sleep(0.05)


class Deadlock(Exception):
    """Everybody waits, nothing is scheduled and no byte is in flight: real time would pass for ever."""


class _Barrier:
    """A datagram over loopback that arrives after everything sent before it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.connect(self._socket.getsockname())
        self._socket.settimeout(_DELIVERY_SECONDS)

    def pass_through(self) -> None:
        """Return when the queue has been worked off up to here."""
        self._socket.send(b"\0")
        self._socket.recv(1)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: reports what is ready, else moves the clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.jumps = 0
        self._polls = 0
        self._barrier = _Barrier()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now, in the order of descriptors; nothing after a jump of `timeout`."""
        self._polls += 1
        if self._polls > MAX_POLLS_WITHOUT_A_JUMP:
            raise Deadlock("the clock stands still: something is repeated without end")
        for _ in range(QUIET_ROUNDS):
            self._barrier.pass_through()
            events = super().select(0)
            if events or timeout == 0:
                return sorted(events, key=lambda event: event[0].fd)
        if timeout is None:
            raise Deadlock("nothing is scheduled and nothing is in flight")
        if self.now + timeout > self.now:
            self._polls = 0
        self.now += timeout
        self.jumps += 1
        return []

    def close(self) -> None:
        """Close the selector and the barrier."""
        self._barrier.close()
        super().close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, which starts at zero."""

    def __init__(self) -> None:
        """A loop of its own sockets; keeps the faults that tasks and callbacks left to nobody."""
        self.selector = _JumpingSelector()
        super().__init__(self.selector)
        self.faults: list[str] = []
        self.expected_in_log: list[str] = []
        self._turns_left = 0
        self._at_turn: Callable[[], None] | None = None
        self.set_exception_handler(self._note_fault)

    def time(self) -> float:
        """Virtual seconds."""
        return self.selector.now

    def after_turns(self, turns: int, callback: Callable[[], None]) -> None:
        """Call `callback` between two turns of the loop, `turns` from now; it replaces an earlier one."""
        self._turns_left, self._at_turn = turns, callback

    def _run_once(self) -> None:
        if self._at_turn is not None:
            if self._turns_left == 0:
                callback, self._at_turn = self._at_turn, None
                callback()
            self._turns_left -= 1
        super()._run_once()  # type: ignore[misc]

    def _note_fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    def leftovers(self) -> list[str]:
        """What a finished story has left in the loop: tasks, timers, sockets."""
        tasks = [f"task {task.get_name()}: {task.get_coro()!r}" for task in asyncio.all_tasks(self)]
        timers = [f"timer {timer!r}" for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        sockets = [
            f"socket {key.fileobj!r}"
            for key in self.selector.get_map().values()
            if key.fd != self._ssock.fileno()  # type: ignore[attr-defined]
        ]
        return tasks + timers + sockets


class _ErrorLog(logging.Handler):
    """Keeps what libraries log as wrong."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line, with its exception."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        self.lines.append(f"{record.name}: {text}")


def virtual_loop() -> VirtualLoop:
    """The loop of the running story."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def expect_in_log(text: str) -> None:
    """The running story makes a library log a warning or an error with `text` in it; without it the story fails."""
    virtual_loop().expected_in_log.append(text)


def run_in_virtual_time(story: Coroutine[Any, Any, _T]) -> _T:
    """The result of `story`, run in virtual time; asserts that it left nothing behind.

    Nothing: no exception that nobody retrieved, no warning or error in the log, no task, timer, socket or descriptor.
    """
    gc.collect()
    gc.freeze()  # the collection at the end need only look at what the test made
    descriptors = _descriptors()
    processors = os.sched_getaffinity(0)
    log = _ErrorLog()
    logging.getLogger().addHandler(log)
    os.sched_setaffinity(0, {sorted(processors)[os.getpid() % len(processors)]})
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(story)
        loop.run_until_complete(asyncio.sleep(_SETTLING_SECONDS))
        leftovers = loop.leftovers()
    finally:
        _end(loop)
        asyncio.set_event_loop(None)
        os.sched_setaffinity(0, processors)
        logging.getLogger().removeHandler(log)
    assert not leftovers, "left in the loop: " + "; ".join(leftovers)
    assert not loop.faults, "retrieved by nobody: " + "; ".join(loop.faults)
    unexpected = [line for line in log.lines if not any(text in line for text in loop.expected_in_log)]
    assert not unexpected, "in the log: " + "; ".join(unexpected)
    assert all(any(text in line for line in log.lines) for text in loop.expected_in_log), "missing in the log"
    assert _descriptors() == descriptors, "descriptors left open or closed twice"
    return result


def virtual_time(story: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Make an asynchronous test one that runs in virtual time."""

    @functools.wraps(story)
    def test(*args: _P.args, **kwargs: _P.kwargs) -> None:
        run_in_virtual_time(story(*args, **kwargs))

    return test


def _end(loop: VirtualLoop) -> None:
    """Cancel what is left, so that one failed story does not spoil the next."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(loop.shutdown_asyncgens())
    del tasks
    gc.collect()
    loop.close()


def _descriptors() -> set[str]:
    """Open descriptors by number and kind; the one that lists them closes with the listing."""
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names only
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}').partition(':')[0]}")  # noqa: PTH115
        except FileNotFoundError:
            continue
    return found
