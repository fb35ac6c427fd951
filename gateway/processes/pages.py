"""The operator's pages of several processes: whichever is asked answers for all.

Each process listens to a Unix socket in the runtime directory. Another process asks there for one page, a word and a
line's end, and gets the process's own answer and then the end of the connection. All are asked at once. One of which
nothing comes within `ANSWER_SECONDS` is named as silent and not waited for. Metrics may take longer to write, so their
answer begins at once with a line that says who answers.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from gateway.long_work import LongWork
from gateway.processes.estate import Estate
from gateway.processes.member import Member
from gateway.processes.merging import MergedMetrics, merged_availability, merged_state
from gateway.proxy.control import Availability
from gateway.watch.outages import Readiness

ANSWER_SECONDS = 1.0
WRITING_SECONDS = 5.0  # in which a process that has begun to answer must end
_READ_BYTES = 2**18
_MOST_ASKED_BYTES = 100


@dataclass(frozen=True, slots=True)
class OwnPages:
    """What this process alone has to say; metrics (None: they are off) and the state are made in steps."""

    metrics: Callable[[], Generator[None, None, list[bytes]] | None]
    state: Callable[[], Generator[None, None, dict[str, object]]]
    availability: Callable[[], Availability]


class LonePages:
    """Answers for the only process."""

    def __init__(self, own: OwnPages) -> None:
        self._own = own
        self._writing = LongWork()

    async def start(self) -> None:
        """Do nothing: nobody else asks."""

    async def stop(self) -> None:
        """Do nothing."""

    async def metrics(self) -> Sequence[bytes] | None:
        """The metrics in pieces; None if they are off."""
        steps = self._own.metrics()
        return None if steps is None else await self._writing.carry_out(steps)

    async def state(self) -> dict[str, object]:
        """The state."""
        return await self._writing.carry_out(self._own.state())

    async def availability(self) -> Availability:
        """What is ready."""
        return self._own.availability()


class SharedPages:
    """Answers for all processes, and answers the others for this one."""

    def __init__(self, own: OwnPages, member: Member) -> None:
        """Ask and answer nobody before `start`."""
        self._own = own
        self._name = member.name
        self._head = f"{member.name}-{os.getpid()}\n".encode()
        self._directory = member.meeting_place
        self._estate = Estate(self._directory.path)
        self._server: asyncio.Server | None = None
        self._writing = LongWork()
        self._leaving = asyncio.Lock()  # what is left last is what was counted last
        self._pages: Mapping[str, Callable[[], Awaitable[Sequence[bytes]]]] = {
            "metrics": self._metrics,
            "state": self._state,
            "availability": self._availability,
        }

    async def start(self) -> None:
        """Answer the others from now on."""
        path = self._directory.gateway(self._name)
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, path, limit=_MOST_ASKED_BYTES)

    async def stop(self) -> None:
        """Answer nobody any more, and leave what was counted."""
        if self._server is not None:
            self._server.close()
            self._directory.gateway(self._name).unlink(missing_ok=True)
            await self._metrics()

    async def metrics(self) -> Sequence[bytes] | None:
        """The metrics of all processes in pieces, those that have ended included; None if metrics are off."""
        answers = {name: _opened(pieces) for name, pieces in (await self._ask_all("metrics")).items()}
        if not answers[self._name].rest:
            return None
        living = {answer.line for answer in answers.values()}
        ended = await asyncio.to_thread(self._estate.left, living)
        return await self._writing.carry_out(_merge({name: answer.rest for name, answer in answers.items()}, ended))

    async def state(self) -> dict[str, object]:
        """The state of each process, and sums."""
        answers = await self._ask_all("state")
        return merged_state(
            {name: orjson.loads(b"".join(pieces)) if pieces else None for name, pieces in answers.items()}
        )

    async def availability(self) -> Availability:
        """What is ready, by all processes together."""
        answers = await self._ask_all("availability")
        found = {name: b"".join(pieces) for name, pieces in answers.items()}
        return merged_availability({name: _read(answer) if answer else None for name, answer in found.items()})

    async def _metrics(self) -> Sequence[bytes]:
        """This process's metrics after a line that says who it is; an empty line ends them.

        What is shown has been left before.
        """
        async with self._leaving:
            steps = self._own.metrics()
            if steps is None:
                return ()
            pieces = await self._writing.carry_out(steps)
            await asyncio.to_thread(self._estate.leave, self._head.decode().strip(), pieces)
        return (self._head, *pieces, b"\n")

    async def _state(self) -> Sequence[bytes]:
        return (orjson.dumps(await self._writing.carry_out(self._own.state())),)

    async def _availability(self) -> Sequence[bytes]:
        return (_written(self._own.availability()),)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = (await reader.readline()).decode().strip()
            page = self._pages.get(asked)
            if page is not None:
                if page == self._metrics:
                    writer.write(self._head)
                pieces = await page()
                writer.writelines(pieces[1:] if page == self._metrics else pieces)
                await writer.drain()
        except OSError:  # whoever asked is gone
            pass
        finally:
            writer.close()

    async def _ask_all(self, page: str) -> dict[str, Sequence[bytes]]:
        """Each process's answer by name in pieces, this one's too; none from one that is silent."""
        names = sorted({*self._directory.gateways(), self._name})
        answers = await asyncio.gather(*(self._ask(name, page) for name in names))
        return dict(zip(names, answers, strict=True))

    async def _ask(self, name: str, page: str) -> Sequence[bytes]:
        if name == self._name:
            return await self._pages[page]()
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(ANSWER_SECONDS) as deadline:
                reader, writer = await asyncio.open_unix_connection(self._directory.gateway(name))
                try:
                    writer.write(f"{page}\n".encode())
                    while piece := await reader.read(_READ_BYTES):
                        if not pieces:
                            deadline.reschedule(asyncio.get_running_loop().time() + WRITING_SECONDS)
                        pieces.append(piece)
                    return pieces
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return ()


class _Answer(NamedTuple):
    """The first line of a process's metrics, which says who it is, and the rest."""

    line: str
    rest: Sequence[bytes]


def _opened(pieces: Sequence[bytes]) -> _Answer:
    """The answer in `pieces`; nothing if it is not whole, because the process has ended meanwhile."""
    if b"".join(pieces[-2:]).endswith(b"\n\n"):
        for count, piece in enumerate(pieces, 1):
            if b"\n" in piece:
                line, _, rest = b"".join(pieces[:count]).partition(b"\n")
                return _Answer(line.decode(), [rest, *pieces[count:]])
    return _Answer("", ())


def _merge(
    answers: Mapping[str, Sequence[bytes]], ended: Iterable[Sequence[bytes]]
) -> Generator[None, None, list[bytes]]:
    """The metrics of the processes, and of those that have ended, as one text in pieces; made in steps."""
    merged = MergedMetrics()
    for name, pieces in answers.items():
        yield from merged.add(name, pieces)
        merged.show_process(name, is_up=bool(pieces))
    for pieces in ended:
        yield from merged.add_ended(pieces)
    return (yield from merged.write())


def _written(availability: Availability) -> bytes:
    pools = {pool: readiness.value for pool, readiness in availability.pools.items()}
    return orjson.dumps({"pools": pools, "is_draining": availability.is_draining})


def _read(answer: bytes) -> Availability:
    fields: dict[str, Any] = orjson.loads(answer)
    pools = {pool: Readiness(value) for pool, value in fields["pools"].items()}
    return Availability(pools, is_draining=fields["is_draining"])
