"""`vtc-gateway replay` plays a trace or a workload against a live endpoint.

It prints a table with a row for each tenant, and writes every request as JSON.

The exit status is 0. It is 1, with the reason on stderr, if the trace, the keys or the endpoint cannot be used, or if
no request was served.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import orjson

from evaluation.load.client import (
    FINAL_USAGE,
    KNOWN_LENGTH,
    RUNNING_USAGE,
    Address,
    Endpoint,
    NoModelError,
    Surface,
    allow_many_connections,
)
from evaluation.load.keys import Keyring, KeysError, read_keys
from evaluation.play.player import Cue, Played, Player
from evaluation.play.prompts import Prompts
from evaluation.play.result import PERCENTS, Ended, Result, TenantResult, ended, ttft_seconds
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress, say, show
from evaluation.workloads import PREFIX_BLOCK_TOKENS, ConfigError, ReadOptions, Workload, find

# How token counts are asked for, by the name on the command line.
_USAGE: Mapping[str, Mapping[str, object]] = {"running": RUNNING_USAGE, "final": FINAL_USAGE, "none": {}}


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What is played (`source`, read as `read_options` says), where to, and how."""

    source: str
    read_options: ReadOptions
    url: str
    keys: str = ""
    model: str = ""
    speed: float = 1.0
    bytes_per_token: float = 1.0
    chat: bool = False
    ignore_eos: bool = True
    usage: str = "running"
    grace_seconds: float = 60.0
    json_file: Path | None = None

    def endpoint(self, model: str) -> Endpoint:
        """Where the requests go, and what each of them holds."""
        return Endpoint(
            url=self.url,
            model=model,
            surface=Surface.CHAT if self.chat else Surface.COMPLETIONS,
            fields={**_USAGE[self.usage], **(KNOWN_LENGTH if self.ignore_eos else {})},
            guesses=True,
        )


def run(options: ReplayOptions) -> int:
    """Carry the command out and return the exit status."""
    try:
        workload = find(options.source, options.read_options)
        allow_many_connections()
        # asyncio's own loop, whose time() reads the clock: uvloop's is of whole milliseconds, and of the last wake-up.
        return deliver(options, workload, asyncio.run(play(options, workload)))
    except (ConfigError, KeysError, ValueError, NoModelError, OSError) as fault:
        say(str(fault))
        return 1


def cues(workload: Workload, options: ReplayOptions, keyring: Keyring) -> list[Cue]:
    """The play of a workload."""
    seed = options.read_options.seed or 0
    prompts = Prompts(seed, options.bytes_per_token, PREFIX_BLOCK_TOKENS)
    return [
        Cue(request, request.arrival_seconds / options.speed, key, partial(prompts.prompt, number, request))
        for number, (request, key) in enumerate(zip(workload.requests, keyring.assign(workload.requests), strict=True))
    ]


async def play(options: ReplayOptions, workload: Workload) -> Result:
    """Play `workload`; raises `KeysError`, `ValueError` or `NoModelError` if that cannot begin."""
    address, keyring = Address.parse(options.url), Keyring.parse(read_keys(options.keys))
    keyring.check(workload.tenants)
    plan = cues(workload, options, keyring)
    model = options.model or await address.first_model(plan[0].key if plan else None)
    progress = Progress()
    progress.step(f"playing {len(plan)} requests of {workload.name} to {model}", workload.seconds / options.speed)
    player = Player(options.endpoint(model), plan, progress.advance)
    try:
        start = await player.play(options.grace_seconds)
    finally:
        progress.clear()
    return Result(start, asyncio.get_running_loop().time(), player.played)


def deliver(options: ReplayOptions, workload: Workload, result: Result) -> int:
    """Print the table with its warnings, write the file and return the exit status."""
    show(_by_tenant(result.tenants()))
    usual, slow, worst = (_ms(result.lag_seconds[name]) for name in ("p50", "p99", "p100"))
    late = f"the player was late by {usual} (median), {slow} (p99), {worst} at most"
    for text in (*workload.notes, late, *(f"warning: {each}" for each in result.warnings())):
        say(text)
    if options.json_file is not None:
        document = orjson.dumps(report(options, workload, result), option=orjson.OPT_APPEND_NEWLINE)
        options.json_file.write_bytes(document)
    if any(each.record.output_tokens for each in result.played):
        return 0
    faults = (each.record.error for each in result.played if each.record.error)
    say("no request was served: " + next(faults, "the workload is empty")[:300])
    return 1


def _by_tenant(tenants: Iterable[TenantResult]) -> Sheet:
    """One row for each tenant; p50, p95 and p99 of each wait."""
    waits = [f"{what} p{percent}" for what in ("TTFT", "per token") for percent in PERCENTS]
    rows = [
        SheetRow(
            (
                each.tenant,
                str(each.sent),
                *(str(each.endings[end]) for end in Ended),
                f"{each.service_per_second:,.0f}",
                *map(_ms, each.ttft_seconds.values()),
                *map(_ms, each.per_token_seconds.values()),
            )
        )
        for each in tenants
    ]
    return Sheet("", ("tenant", "sent", *(end.value for end in Ended), "service/s", *waits), rows)


def report(options: ReplayOptions, workload: Workload, result: Result) -> dict[str, object]:
    """Everything as JSON data; numbers that are not finite become null."""
    return {
        "replay": workload.name,
        "url": options.url,
        "speed": options.speed,
        "seconds": result.seconds,
        "notes": workload.notes,
        "warnings": result.warnings(),
        "lag_seconds": result.lag_seconds,
        "tenants": [_tenant_document(each) for each in result.tenants()],
        "requests": [_request_document(each, result) for each in result.played],
    }


def _tenant_document(each: TenantResult) -> dict[str, object]:
    counts = {end.name.lower(): count for end, count in each.endings.items()}
    fields = asdict(each)
    del fields["endings"]
    return {**fields, **counts}


def _request_document(each: Played, result: Result) -> dict[str, object]:
    """One request; moments in seconds from the start of the replay."""
    record = each.record
    return {
        "tenant": each.request.tenant,
        "intended_at": each.intended_at - result.start,
        "lag_seconds": each.lag_seconds,
        "ended": ended(each).name.lower(),
        "status": record.status,
        "error": record.error,
        "wanted_prompt_tokens": each.request.prompt_tokens,
        "wanted_output_tokens": each.request.output_tokens,
        "prompt_tokens": record.prompt_tokens,
        "output_tokens": record.output_tokens,
        "ttft_seconds": ttft_seconds(each, result.end),
        "ended_at": None if record.ended_at is None else record.ended_at - result.start,
    }


def _ms(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"
