"""Runs a scenario against the embedded engine over a real socket.

Checks that nothing is left behind and that nothing was logged as an error: what clients and faults do is no error of
the server's.
"""

import asyncio
import functools
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from backend.engine.config import EngineConfig
from backend.engine.faults import FaultScript, parse_faults
from backend.engine.loop import Engine
from backend.engine.server import ENGINE, bind, make_app, serve

INSTANT = EngineConfig.of_profile("instant")
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
RUNNING_USAGE = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)

    @property
    def events(self) -> list[str]:
        """The events of a stream, without their terminators."""
        assert self.text.endswith("\n\n")
        return self.text.split("\n\n")[:-1]

    @property
    def chunks(self) -> list[Any]:
        """The JSON of the events of an OpenAI stream that ends well."""
        assert self.events[-1] == "data: [DONE]"
        return [json.loads(event.removeprefix("data: ")) for event in self.events[:-1]]


@dataclass(frozen=True, slots=True)
class Site:
    """A running engine and a client of it."""

    engine: Engine
    http: aiohttp.ClientSession
    url: str

    async def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Answer:
        """POST a JSON body."""
        async with self.http.post(path, json=body, headers=headers) as response:
            return Answer(response.status, response.headers, (await response.read()).decode())

    async def get(self, path: str) -> Answer:
        """GET a path."""
        async with self.http.get(path) as response:
            return Answer(response.status, response.headers, (await response.read()).decode())

    async def chat(self, **fields: object) -> Answer:
        """A chat that says hi."""
        return await self.post("/v1/chat/completions", {**CHAT, **fields})

    async def complete(self, **fields: object) -> Answer:
        """A completion of "hi"."""
        return await self.post("/v1/completions", {"model": "tiny", "prompt": "hi", **fields})

    async def entered(self) -> None:
        """Return when a sequence is in the engine."""
        async with asyncio.timeout(10):
            while not self.engine.sequences:  # noqa: ASYNC110 -- as in `emptied`
                await asyncio.sleep(0)

    async def emptied(self) -> None:
        """Return when no sequence is left in the engine."""
        async with asyncio.timeout(10):
            while self.engine.sequences:  # noqa: ASYNC110 -- the loop's turns are the clock of this wait
                await asyncio.sleep(0)


Scenario = Callable[[Site], Awaitable[None]]


def against(config: EngineConfig) -> Callable[[Scenario], Callable[[], None]]:
    """Make a test of a scenario: an engine of `config` before it, an idle engine that adds up after it."""

    def decorate(scenario: Scenario) -> Callable[[], None]:
        async def play() -> None:
            app = make_app(config)
            async with serve(app, bind("127.0.0.1", 0)) as url, aiohttp.ClientSession(url) as http:
                site = Site(app[ENGINE], http, url)
                # A guard against hanging for ever, no measure of speed.
                async with asyncio.timeout(120):
                    await scenario(site)
                    await site.emptied()
                check_idle(site.engine)

        @functools.wraps(scenario)
        def test() -> None:
            with _no_errors_logged():
                asyncio.run(play())

        del test.__wrapped__  # pytest would take the scenario's parameter for a fixture
        return test

    return decorate


class _Kept(logging.Handler):
    """Keeps the records of errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def _no_errors_logged() -> Iterator[None]:
    """Fail where anything is logged as an error while the context lasts."""
    kept = _Kept()
    logging.getLogger().addHandler(kept)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(kept)
    assert [record.getMessage() for record in kept.records] == []


def check_idle(engine: Engine) -> None:
    """Nothing runs, nothing is held, every request that started has an ending."""
    scheduler, witness = engine.scheduler, engine.witness
    scheduler.check_invariants()
    assert scheduler.is_idle
    assert scheduler.pool.free_blocks == scheduler.capacity.num_blocks
    assert witness.started == witness.finished + witness.aborted + witness.failed
    assert all(count.ending for count in witness.requests.values())
    assert witness.output_tokens == sum(count.output_tokens for count in witness.requests.values())


def faulty(*faults: dict[str, object]) -> FaultScript:
    """A script of faults, each striking the first request unless it says otherwise."""
    given = [fault if fault.keys() & {"nth", "every", "probability"} else {"nth": 1, **fault} for fault in faults]
    return parse_faults(json.dumps({"faults": given}).encode())
