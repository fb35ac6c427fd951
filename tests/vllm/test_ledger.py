"""The ledger beside what real vLLM counts itself: tokens by its counters, idle time by its gauge."""

import asyncio
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import yaml
from conftest import ALICE, OUR_SERVER_SECONDS, Gateway, write_gateway_config
from contract_cases import MODEL
from crowd import TRIALS, Client, Crowd, crowd
from test_metering import engine_tokens
from vllm_servers import ROOT, python, running

from gateway.ledger.audit import STEPS_AFTER_LEAVING, Audit
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.report import next_quarter

CHAT = "/v1/chat/completions"
Shape = Mapping[str, Any]
SHAPES: list[Shape] = [{"stream": stream, "n": n} for stream in (False, True) for n in (1, 2)]
SAMPLE_SECONDS = 0.01
QUIET_SECONDS = 6.0  # between two bursts
BURSTS = 3


@dataclass(frozen=True, slots=True)
class Kept:
    """A gateway in front of vLLM that keeps a ledger."""

    gateway: Gateway
    config: Path

    @property
    def folder(self) -> Path:
        """Where its ledger is."""
        return self.config.parent / "ledger"

    def audits(self) -> list[Audit]:
        """What the ledger says by now: of prompts, and of answers; nothing before its first reading."""
        return LedgerFolder(self.folder).audits(0, next_quarter(datetime.now(UTC)))


@contextmanager
def keeping(folder: Path, vllm_url: str) -> Iterator[Kept]:
    """Such a gateway, until the context is left; then everything is in its file."""
    config = folder / "gateway.yaml"
    write_gateway_config(config, vllm_url)
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"ledger": {}}))
    with running(python("gateway", "serve", str(config), "--announce"), folder / "log", OUR_SERVER_SECONDS) as url:
        yield Kept(Gateway(url), config)


def body(tokens: int, **fields: Any) -> dict[str, Any]:
    """A chat of exactly so many tokens for each choice."""
    messages = [{"role": "user", "content": "Tell me of the sea."}]
    return {"model": MODEL, "messages": messages, "max_tokens": tokens, "ignore_eos": True, **fields}


async def worked_for(vllm_url: str, client: Client, tokens: int) -> None:
    """Return when vLLM has generated so many tokens more, all of them for `client`."""
    before = (await asyncio.to_thread(engine_tokens, vllm_url))[1]
    while (await asyncio.to_thread(engine_tokens, vllm_url))[1] < before + tokens:
        assert not client.is_over, "it was to leave before its end"


async def first_reading(clients: Crowd) -> None:
    """Return when the gateway has read vLLM's counters: what they show from now on is in the ledger."""

    async def is_read() -> bool:
        (worker,) = (await clients.state())["workers"]
        return worker["engine_running"] is not None

    await clients.until(is_read)


async def asked(kept: Kept, vllm_url: str, leaving: Sequence[tuple[Shape, int]]) -> None:
    """Answers of each shape that come to their end; then those of `leaving`, whose clients leave after some tokens.

    At last the ledger has counted all that vLLM has.
    """
    async with crowd(kept.gateway, vllm_url) as clients:
        await first_reading(clients)
        before = await asyncio.to_thread(engine_tokens, vllm_url)
        asking = [clients.send(ALICE, CHAT, body(20 + number, **SHAPES[number % 4])) for number in range(12)]
        await asyncio.gather(*(client.stay() for client in asking))
        for shape, tokens in leaving:
            client = clients.send(ALICE, CHAT, body(1900, **shape))
            await worked_for(vllm_url, client, tokens)
            await client.leave()
            await clients.until(clients.is_empty)
        await clients.send(ALICE, CHAT, body(10)).stay()  # the gateway reads vLLM once more
        after = await asyncio.to_thread(engine_tokens, vllm_url)

        async def is_counted() -> bool:
            counted = tuple(audit.counted for audit in kept.audits())
            return counted == (after[0] - before[0], after[1] - before[1])

        await clients.until(is_counted)


def told(kept: Kept) -> list[dict[str, Any]]:
    """What the command says of prompts and of answers."""
    command = python("gateway", "usage", "audit", str(kept.config), "--json")
    found: list[dict[str, Any]] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return found


def test_the_ledger_has_what_vllm_counts(tmp_path: Path, vllm_url: str) -> None:
    """Prompts and answers, whole answers and streams, one choice and two: to the token."""
    with keeping(tmp_path, vllm_url) as kept:
        asyncio.run(asked(kept, vllm_url, []))
    assert [(line["difference"], line["broken"], line["remark"]) for line in told(kept)] == 2 * [(0, 0, "")]


def test_the_ledger_has_streams_that_broke_off(tmp_path: Path, vllm_url: str) -> None:
    """The prompts to the token, the answers within two steps for each sequence.

    A step of this model takes a millisecond or two. If the machine stands still while vLLM is told that a client has
    left, vLLM goes on for longer: one trial of several has to hold.
    """
    streams = [({"stream": True, "n": n}, tokens) for n in (1, 2) for tokens in (10, 40, 160)]
    differences = []
    for trial in range(TRIALS):
        folder = tmp_path / str(trial)
        folder.mkdir()
        with keeping(folder, vllm_url) as kept:
            asyncio.run(asked(kept, vllm_url, streams))
        prompt, output = told(kept)
        assert (prompt["difference"], output["broken"], output["estimated"]) == (0, 9, 0)
        differences.append(abs(output["difference"]))
        if differences[-1] <= STEPS_AFTER_LEAVING * output["broken"]:
            assert not differences[-1] or "broke off" in output["remark"]
            return
    raise AssertionError(differences)


def test_what_vllm_did_for_whole_answers_that_broke_off_is_estimated(tmp_path: Path, vllm_url: str) -> None:
    """Nothing reports it: the command tells the difference, and that such answers explain it."""
    whole = [({"stream": False, "n": n}, 1000) for n in (1, 2, 1, 2)]
    with keeping(tmp_path, vllm_url) as kept:
        asyncio.run(asked(kept, vllm_url, whole))
    for line in told(kept):
        assert (line["broken"], line["estimated"] > 0) == (6, True)
        assert abs(line["difference"]) <= line["estimated"] // 2
        assert not line["difference"] or "broke off" in line["remark"]


class Gauge:
    """How long vLLM had requests, by its own gauge, looked at many times a second."""

    def __init__(self, clients: Crowd) -> None:
        self.busy_seconds = 0.0
        self._clients = clients

    async def watch(self) -> None:
        """Look until cancelled. Between two looks that differ, half of the time counts as busy."""
        loop = asyncio.get_running_loop()
        at, had = loop.time(), False
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            asked_at = loop.time()
            (engine,) = await self._clients.probe.gauges()
            now = (asked_at + loop.time()) / 2
            has = engine.running + engine.waiting > 0
            self.busy_seconds += (now - at) * (had + has) / 2
            at, had = now, has


def test_idle_time_is_that_without_a_request_in_vllm(tmp_path: Path, vllm_url: str) -> None:
    """Within two hundredths, over bursts of requests with pauses between them."""

    async def scenario(kept: Kept) -> float:
        async with crowd(kept.gateway, vllm_url) as clients:
            gauge = Gauge(clients)
            watching = asyncio.create_task(gauge.watch())
            for number in range(BURSTS):
                asking = [clients.send(ALICE, CHAT, body(200, stream=bool(number % 2), n=n)) for n in (1, 2, 1)]
                await asyncio.gather(*(client.stay() for client in asking))
                await asyncio.sleep(QUIET_SECONDS)
            watching.cancel()
            return gauge.busy_seconds

    with keeping(tmp_path, vllm_url) as kept:
        busy_by_gauge = asyncio.run(scenario(kept))
    (file,) = kept.folder.glob("*.sqlite")
    with apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY) as connection:
        ((busy_us, idle_us),) = connection.execute("SELECT sum(busy_us), sum(idle_us) FROM worker_time")
        ((shares_us, requests),) = connection.execute("SELECT sum(worker_us), count(*) FROM requests")
    assert busy_by_gauge > 0.5
    idle_by_gauge = (busy_us + idle_us) / 1e6 - busy_by_gauge
    assert abs(idle_us / 1e6 - idle_by_gauge) <= 0.02 * idle_by_gauge
    assert abs(shares_us - busy_us) <= requests  # each share is rounded to a microsecond
