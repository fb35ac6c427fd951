"""How long one turn of the gateway's event loop takes: the largest bodies, hostile ones, long answers, its own pages.

Everybody else waits for the longest turn. `loop_turns` measures it inside the gateway, by the processor time of the
loop's thread, which does not depend on what else the machine does. Each input is sent by several clients at once, which
are threads here, and its longest turn is kept. An idle loop runs beside the gateway the whole time: how late both are
by the clock says what part of the delay is the machine's.
"""

import asyncio
import gzip
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import NamedTuple

from evaluation.bench.long_answers import ANSWERS
from evaluation.bench.loop_turns import Turns, turns_of
from evaluation.bench.settings import POOL, EngineChoice, EngineKind, WindowSettings
from evaluation.bench.stage import Gateway, stage
from evaluation.load.client import Address
from evaluation.load.processes import Child, child
from evaluation.metrics.statistics import median
from evaluation.report.delivery import Delivery, Report
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Verdict, at_most, number
from gateway.compilation import IS_COMPILED

MIB = 1024 * 1024
BODY_MIB = (4, 16)  # the default of `listen.max_body_mib`, and four times that
ANSWER_MIB = 63  # whole answers of requests that run no model may have 64 MiB
TENANTS = 10_000  # each of them has a label of its own in a scrape
AT_ONCE = 4  # clients that send the same input
MOST_MILLISECONDS = 20.0
STUCK_SECONDS = 120.0

CHAT = "/v1/chat/completions"
NAMED = b'{"model":"%b",' % POOL.encode()

TURN = {mib: at_most(f"longest turn of the loop, bodies of {mib} MiB", MOST_MILLISECONDS, " ms") for mib in BODY_MIB}
WELL = at_most("inputs that were answered with 5xx or not at all", 0)


@dataclass(frozen=True, slots=True)
class BlockingOptions(Delivery):
    """How often each input is sent."""

    rounds: int = 5


class Input(NamedTuple):
    """One request; `body` None is a GET."""

    path: str
    body: bytes | None
    headers: Mapping[str, str] = MappingProxyType({})


class Finding(NamedTuple):
    """The worst status of the answers to an input (0: none), and what the loop's turns were like in that time."""

    status: int
    turn_seconds: float
    lag_p999_seconds: float
    idle_lag_p999_seconds: float


Findings = Mapping[int, Mapping[str, Finding]]
"""By the size of bodies in MiB, each input's by its name."""


async def measure(options: BlockingOptions) -> Report:
    """Try every input on a gateway that knows many tenants."""
    weights = {f"tenant-{each}": 1.0 for each in range(TENANTS)}
    room = {"max_body_mib": max(BODY_MIB), "max_bodies_mib": 16 * ANSWER_MIB}
    with TemporaryDirectory(prefix="vtc-turns-") as name:
        folder = Path(name)
        ours, idle = folder / "gateway.turns", folder / "idle.turns"
        module = "evaluation.bench.loop_turns"
        async with (
            stage(Progress(), EngineChoice(EngineKind.LONG_ANSWERS)) as running,
            running.gateway(
                "vtc",
                weights,
                WindowSettings(),
                program=(module, str(ours)),
                listen=room,
                metrics={"tenant_labels": TENANTS},
            ) as gateway,
            child("idle", ["-m", module, str(idle)], folder, STUCK_SECONDS) as beside,
        ):
            subject = _Subject(gateway, ours, beside, idle)
            findings = await asyncio.to_thread(_try_all, options, subject, running.progress)
    return Report(
        title="blocking",
        setting={"rounds": options.rounds, "tenants": TENANTS, "clients": AT_ONCE, "compiled": IS_COMPILED},
        verdicts=_verdicts(findings),
        measurements={
            str(mib): {name: found._asdict() for name, found in of_size.items()} for mib, of_size in findings.items()
        },
        sheets=[_sheet(mib, of_size) for mib, of_size in findings.items()],
    )


class _Subject(NamedTuple):
    """The gateway and the idle loop, and where each says how long its turns were."""

    gateway: Gateway
    turns_file: Path
    idle: Child
    idle_file: Path

    def turns(self) -> tuple[Turns, Turns]:
        """What both have seen since the last call."""
        return turns_of(self.gateway.process, self.turns_file), turns_of(self.idle, self.idle_file)


def _filled(before: bytes, piece: bytes, after: bytes, size: int) -> bytes:
    """`before` and `after`, with as many `piece`s between them as `size` bytes hold."""
    return before + piece * ((size - len(before) - len(after)) // len(piece)) + after


def inputs(size: int) -> Mapping[str, Input]:
    """The inputs that the bench tries, by name, with bodies of up to `size` bytes."""
    asked = NAMED + b'"max_tokens":1,"messages":[{"role":"user","content":"'
    end = b'"}]}'
    bodies = {
        "a text": _filled(asked, b"word ", end, size),
        "a text of escapes": _filled(asked, rb"\u00e9", end, size),
        "a text that ends in half a surrogate": _filled(asked, b"x", rb"\ud800" + end, size),
        "a text of quotes": _filled(asked, rb"\"", end, size),
        "a text of quotes and brackets": _filled(asked, rb"[\"", end, size),
        "lists in lists": _filled(NAMED + b'"messages":', b"[", b"", size),
        "objects in objects": _filled(b"", b'{"a":', b"", size),
        "empty lists": _filled(NAMED + b'"messages":[', b"[],", b"[]]}", size),
        "as many values as may be": NAMED + b'"messages":[' + b"0," * (2**18 - 10) + b"0]}",
        "a name again and again": _filled(b"{", b'"model":1,', b'"model":2}', size),
        "one name 100,000 times": _filled(b"{", b'"model":1,', b'"model":2}', 10 * 100_000),
        "different names": b"{" + b",".join(b'"f%d":1' % each for each in range(65_000)) + b"}",
        "different names inside": NAMED
        + b'"metadata":{'
        + b",".join(b'"f%d":1' % each for each in range(65_000))
        + b"}}",
        "texts": NAMED + b'"messages":[' + b'"x",' * 130_000 + b'"x"]}',
        "messages": NAMED + b'"max_tokens":1,"messages":[' + b'{"role":"user","content":"x"},' * 10_000 + b"{}]}",
        "one long number": _filled(NAMED + b'"seed":', b"1", b"}", size),
        "NaN behind a text": _filled(NAMED + b'"user":"', b"x", b'","seed":NaN}', size),
        "white space": _filled(NAMED, b" ", b'"messages":1}', size),
        "no UTF-8": _filled(asked, b"x", b"\xff" + end, size),
    }
    tokens = NAMED + b'"max_tokens":1,"prompt":[' + b"7," * 250_000 + b"7]}"
    batch = NAMED + b'"input":[' + b'"x",' * 100_000 + b'"x"]}'
    packed = gzip.compress(bodies["a text"])
    return {f"{name}, {len(body) / MIB:.1f} MiB": Input(CHAT, body) for name, body in bodies.items()} | {
        "a text, Messages": Input("/v1/messages", bodies["a text"]),
        "a text, tokenize": Input("/tokenize", _filled(NAMED + b'"prompt":"', b"word ", b'"}', size)),
        "250,000 tokens": Input("/v1/completions", tokens),
        "100,000 inputs": Input("/v1/embeddings", batch),
        "a gzip of it": Input(CHAT, packed, {"Content-Encoding": "gzip"}),
        f"/metrics, {TENANTS:,} tenants": Input("/metrics", None),
        f"/debug/state, {TENANTS:,} tenants": Input("/debug/state", None),
    }


def answers(mib: int) -> Mapping[str, Input]:
    """Small requests, by the name of the answer of `mib` MiB that each asks for."""
    asked = {name: b"answer: %b %d" % (name.encode(), mib) for name in ANSWERS}
    chat = {
        name: Input(CHAT, NAMED + b'"max_tokens":1,"messages":[{"role":"user","content":"%b"}]%b}' % (text, stream))
        for name, text in asked.items()
        for stream in (b',"stream":true' if name == "events" else b"",)
    }
    others = {
        "embedding": Input("/v1/embeddings", NAMED + b'"input":"%b"}' % asked["embedding"]),
        "tokens": Input("/tokenize", NAMED + b'"prompt":"%b"}' % asked["tokens"]),
    }
    return {f"an answer of {name}, {mib} MiB": each for name, each in (chat | others).items()}


def _connect(gateway: Gateway) -> HTTPConnection:
    address = Address.parse(gateway.process.url)
    return HTTPConnection(address.host, address.port, timeout=STUCK_SECONDS)


def _ask(gateway: Gateway, each: Input, tenant: int = 0) -> int:
    """The status of the answer, which is read to the end; 0 where the connection broke without one."""
    settings = gateway.settings
    key = settings.admin_key if each.body is None else settings.keys[f"tenant-{tenant}"]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **each.headers}
    with closing(_connect(gateway)) as wire:
        with suppress(ConnectionError):  # answered before all was sent
            wire.request("GET" if each.body is None else "POST", each.path, each.body, headers)
        try:
            answer = wire.getresponse()
        except (ConnectionError, HTTPException):
            return 0
        with suppress(ConnectionError, HTTPException):
            answer.read()
        return answer.status


def _try_all(options: BlockingOptions, subject: _Subject, progress: Progress) -> Findings:
    """Each input's worst status, and the median over the rounds of its longest turn and of the lags."""
    progress.step("a request of each tenant")
    small = Input(CHAT, NAMED + b'"max_tokens":1,"messages":[{"role":"user","content":"x"}]}')
    with ThreadPoolExecutor(AT_ONCE) as clients:
        list(clients.map(lambda tenant: _ask(subject.gateway, small, tenant), range(TENANTS)))
        findings: dict[int, dict[str, Finding]] = {mib: {} for mib in BODY_MIB}
        for mib in BODY_MIB:
            tried = {**inputs(mib * MIB), **(answers(ANSWER_MIB) if mib == BODY_MIB[0] else {})}
            for name, each in tried.items():
                progress.step(name)
                findings[mib][name] = _worst([_try(clients, subject, each) for _ in range(options.rounds)])
    return findings


def _worst(rounds: Sequence[Finding]) -> Finding:
    statuses = [found.status for found in rounds]
    return Finding(
        0 if 0 in statuses else max(statuses), *(median([found[place] for found in rounds]) for place in range(1, 4))
    )


def _try(clients: ThreadPoolExecutor, subject: _Subject, each: Input) -> Finding:
    subject.turns()  # what was before does not count
    statuses = list(clients.map(lambda tenant: _ask(subject.gateway, each, tenant), range(AT_ONCE)))
    ours, idle = subject.turns()
    worst = 0 if 0 in statuses else max(statuses)
    return Finding(worst, ours.longest_seconds, ours.lag_p999_seconds, idle.lag_p999_seconds)


def _sheet(mib: int, findings: Mapping[str, Finding]) -> Sheet:
    rows = [
        SheetRow((name, str(found.status), *(number(seconds * 1e3) for seconds in found[1:])))
        for name, found in findings.items()
    ]
    head = ("input", "status", "longest turn, ms", "lag p99.9, ms", "of an idle loop, ms")
    return Sheet(f"the loop under each input, bodies of {mib} MiB", head, rows)


def _verdicts(findings: Findings) -> Sequence[Verdict]:
    ill = [name for of_size in findings.values() for name, found in of_size.items() if not 200 <= found.status < 500]
    longest = [(mib, *max((found.turn_seconds, name) for name, found in findings[mib].items())) for mib in findings]
    return [
        *(TURN[mib].judge(seconds * 1e3, name) for mib, seconds, name in longest),
        WELL.judge(len(ill), ", ".join(ill)),
    ]
