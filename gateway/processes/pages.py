"""The operator's pages of several processes: whichever is asked answers for all.

Each process listens to a Unix socket in the runtime directory. Another process asks there for one page, a word and a
line's end, and gets the process's own answer and then the end of the connection. All are asked at once. One that does
not answer within `ANSWER_SECONDS` is named as silent and not waited for.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.processes.estate import Estate
from gateway.processes.member import Member
from gateway.processes.merging import MergedMetrics, merged_availability, merged_state
from gateway.proxy.control import Availability
from gateway.telemetry.families import CONTENT_TYPE
from gateway.watch.outages import Readiness

ANSWER_SECONDS = 1.0
_MOST_ASKED_BYTES = 100


@dataclass(frozen=True, slots=True)
class OwnPages:
    """What this process alone has to say."""

    metrics: Callable[[], tuple[bytes, str] | None]
    state: Callable[[], dict[str, object]]
    availability: Callable[[], Availability]


class LonePages:
    """Answers for the only process."""

    def __init__(self, own: OwnPages) -> None:
        self._own = own

    async def start(self) -> None:
        """Do nothing: nobody else asks."""

    async def stop(self) -> None:
        """Do nothing."""

    async def metrics(self) -> tuple[bytes, str] | None:
        """The metrics; None if they are off."""
        return self._own.metrics()

    async def state(self) -> dict[str, object]:
        """The state."""
        return self._own.state()

    async def availability(self) -> Availability:
        """What is ready."""
        return self._own.availability()


class SharedPages:
    """Answers for all processes, and answers the others for this one."""

    def __init__(self, own: OwnPages, member: Member) -> None:
        """Ask and answer nobody before `start`."""
        self._own = own
        self._name = member.name
        self._boot = f"{member.name}-{os.getpid()}"
        self._directory = member.meeting_place
        self._estate = Estate(self._directory.path)
        self._server: asyncio.Server | None = None
        self._pages: Mapping[str, Callable[[], bytes]] = {
            "metrics": self._metrics,
            "state": lambda: orjson.dumps(own.state()),
            "availability": lambda: _written(own.availability()),
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
            self._metrics()

    async def metrics(self) -> tuple[bytes, str] | None:
        """The metrics of all processes, those that have ended included; None if metrics are off."""
        if self._own.metrics() is None:
            return None
        answers = await self._ask_all("metrics")
        merged, living = MergedMetrics(), set()
        for name, answer in answers.items():
            if answer:
                boot, _, text = answer.decode().partition("\n")
                living.add(boot)
                merged.add(name, text)
                await asyncio.sleep(0)  # a large text takes milliseconds; streams move in between
            merged.show_process(name, is_up=bool(answer))
        for text in self._estate.left(living):
            merged.add_ended(text)
        return merged.text().encode(), CONTENT_TYPE

    async def state(self) -> dict[str, object]:
        """The state of each process, and sums."""
        answers = await self._ask_all("state")
        return merged_state({name: orjson.loads(answer) if answer else None for name, answer in answers.items()})

    async def availability(self) -> Availability:
        """What is ready, by all processes together."""
        answers = await self._ask_all("availability")
        return merged_availability({name: _read(answer) if answer else None for name, answer in answers.items()})

    def _metrics(self) -> bytes:
        """This process's metrics after a line that says who it is; what is shown has been left before."""
        rendered = self._own.metrics()
        if rendered is None:
            return b""
        self._estate.leave(self._boot, rendered[0])
        return f"{self._boot}\n".encode() + rendered[0]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            page = self._pages.get((await reader.readline()).decode().strip())
            if page is not None:
                writer.write(page())
                await writer.drain()
        except OSError:  # whoever asked is gone
            pass
        finally:
            writer.close()

    async def _ask_all(self, page: str) -> dict[str, bytes]:
        """Each process's answer by name, this one's too; b"" from one that is silent."""
        names = sorted({*self._directory.gateways(), self._name})
        answers = await asyncio.gather(*(self._ask(name, page) for name in names))
        return dict(zip(names, answers, strict=True))

    async def _ask(self, name: str, page: str) -> bytes:
        if name == self._name:
            return self._pages[page]()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._directory.gateway(name))
                try:
                    writer.write(f"{page}\n".encode())
                    return await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return b""


def _written(availability: Availability) -> bytes:
    pools = {pool: readiness.value for pool, readiness in availability.pools.items()}
    return orjson.dumps({"pools": pools, "is_draining": availability.is_draining})


def _read(answer: bytes) -> Availability:
    fields: dict[str, Any] = orjson.loads(answer)
    pools = {pool: Readiness(value) for pool, value in fields["pools"].items()}
    return Availability(pools, is_draining=fields["is_draining"])
