"""How long the gateway's event loop is held up by one input: the largest bodies, hostile ones, and its own pages.

The bench looks at the gateway from outside: one connection sends the input, another asks for `/health` without a pause.
Everybody else waited for the longest of these answers, less the usual one. The machine may have other work; so the
gateway's own processor time in that span is the most that the gateway can have caused. The clients are threads, which
wait in the kernel.
"""

import asyncio
import gzip
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from time import perf_counter, sleep
from types import MappingProxyType
from typing import NamedTuple

from evaluation.bench.processes import processor_seconds
from evaluation.bench.settings import POOL, EngineChoice, EngineKind, WindowSettings
from evaluation.bench.stage import Gateway, stage
from evaluation.load.client import Address
from evaluation.metrics.statistics import median
from evaluation.report.delivery import Delivery, Report
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Verdict, at_most, number
from gateway.compilation import IS_COMPILED

MIB = 1024 * 1024
BODY_MIB = (4, 16)  # the default of `listen.max_body_mib`, and four times that
TENANTS = 10_000
MOST_MILLISECONDS = 50.0
IDLE_ANSWERS = 200
SECONDS_BETWEEN_LOOKS = 0.001
STUCK_SECONDS = 60.0

CHAT = "/v1/chat/completions"
NAMED = b'{"model":"%b",' % POOL.encode()

BLOCKED = {
    mib: at_most(f"longest hold-up by one input, bodies of {mib} MiB", MOST_MILLISECONDS, " ms") for mib in BODY_MIB
}
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
    """The status of the answer to an input (0: none), and the longest wait of another client in that time."""

    status: int
    blocked_seconds: float


Findings = Mapping[int, Mapping[str, Finding]]
"""By the size of bodies in MiB, each input's by its name."""


async def measure(options: BlockingOptions) -> Report:
    """Try every input on a gateway that knows many tenants."""
    weights = {f"tenant-{each}": 1.0 for each in range(TENANTS)}
    room = {"max_body_mib": max(BODY_MIB)}
    async with (
        stage(Progress(), EngineChoice(EngineKind.EMBEDDED, "instant")) as running,
        running.gateway("vtc", weights, WindowSettings(), listen=room) as gateway,
    ):
        findings = await asyncio.to_thread(_try_all, options, gateway, running.progress)
    return Report(
        title="blocking",
        setting={"rounds": options.rounds, "tenants": TENANTS, "compiled": IS_COMPILED},
        verdicts=_verdicts(findings),
        measurements={
            str(mib): {name: found._asdict() for name, found in of_size.items()} for mib, of_size in findings.items()
        },
        sheets=[_sheet(mib, of_size) for mib, of_size in findings.items()],
    )


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
        "different names": b"{" + b",".join(b'"f%d":1' % each for each in range(130_000)) + b"}",
        "different names inside": NAMED
        + b'"metadata":{'
        + b",".join(b'"f%d":1' % each for each in range(130_000))
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


class _Bystander(threading.Thread):
    """Asks for `/health` without a pause until it is told to stop; `waited_seconds` has each answer's time."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(name="bystander")
        self._wire = _connect(gateway)
        self._is_over = threading.Event()
        self.waited_seconds: list[float] = []

    def run(self) -> None:
        with closing(self._wire) as wire:
            while not self._is_over.is_set():
                asked_at = perf_counter()
                wire.request("GET", "/health")
                wire.getresponse().read()
                self.waited_seconds.append(perf_counter() - asked_at)

    def until(self, answers: int) -> int:
        """Return once there are so many answers; how many there are."""
        while len(self.waited_seconds) < answers:
            sleep(SECONDS_BETWEEN_LOOKS)
        return len(self.waited_seconds)

    def end(self) -> None:
        self._is_over.set()
        self.join()


def _try_all(options: BlockingOptions, gateway: Gateway, progress: Progress) -> Findings:
    """Each input's worst status, and the median over the rounds of what it blocked."""
    progress.step("a request of many tenants")
    small = Input(CHAT, NAMED + b'"max_tokens":1,"messages":[{"role":"user","content":"x"}]}')
    for tenant in range(0, TENANTS, 20):
        _ask(gateway, small, tenant)
    findings: dict[int, dict[str, Finding]] = {mib: {} for mib in BODY_MIB}
    for mib in BODY_MIB:
        for name, each in inputs(mib * MIB).items():
            progress.step(name)
            rounds = [_try(gateway, each) for _ in range(options.rounds)]
            statuses = [found.status for found in rounds]
            worst = 0 if 0 in statuses else max(statuses)
            findings[mib][name] = Finding(worst, median([found.blocked_seconds for found in rounds]))
    return findings


def _try(gateway: Gateway, each: Input) -> Finding:
    bystander, pids = _Bystander(gateway), [gateway.process.pid]
    bystander.start()
    idle = bystander.until(IDLE_ANSWERS)
    began = processor_seconds(pids)
    status = _ask(gateway, each)
    bystander.until(len(bystander.waited_seconds) + 2)
    at_work = processor_seconds(pids) - began
    bystander.end()
    waited = max(bystander.waited_seconds[idle - 1 :]) - median(bystander.waited_seconds[:idle])
    return Finding(status, min(waited, at_work))


def _sheet(mib: int, findings: Mapping[str, Finding]) -> Sheet:
    rows = [
        SheetRow((name, str(found.status), number(found.blocked_seconds * 1e3))) for name, found in findings.items()
    ]
    return Sheet(f"what each input held up, bodies of {mib} MiB", ("input", "status", "ms"), rows)


def _verdicts(findings: Findings) -> Sequence[Verdict]:
    ill = [name for of_size in findings.values() for name, found in of_size.items() if not 200 <= found.status < 500]
    longest = [(mib, *max((found.blocked_seconds, name) for name, found in findings[mib].items())) for mib in findings]
    return [
        *(BLOCKED[mib].judge(seconds * 1e3, name) for mib, seconds, name in longest),
        WELL.judge(len(ill), ", ".join(ill)),
    ]
