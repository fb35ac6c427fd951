"""Learns how an endpoint speaks: its model, the API that answers, the fields that it takes, how it reports tokens.

It tries requests from the richest form to the plainest, as streams, through the same client that measures later. It
assumes nothing. The suite also measures a server that refuses `ignore_eos`, ignores `continuous_usage_stats` or reports
no usage: it uses what the server does report, and the reason says so. An endpoint that answers no form is `Unserved`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product

from evaluation.conformance.tenants import Cast
from evaluation.load.client import (
    FINAL_USAGE,
    KNOWN_LENGTH,
    RUNNING_USAGE,
    Address,
    Endpoint,
    NoModelError,
    Surface,
)
from evaluation.load.connection import ExchangeRecord
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, Load, LoadTenant

PATIENCE_SECONDS = 30.0
PROMPT_BYTES = 256
ANSWER_TOKENS = 8
# Bytes per token of random letters under the tokenizers of today's models; used if no usage is reported.
USUAL_BYTES_PER_TOKEN = 2.0

FORMS: Sequence[Mapping[str, object]] = (
    {**KNOWN_LENGTH, **RUNNING_USAGE},
    {**KNOWN_LENGTH, **FINAL_USAGE},
    RUNNING_USAGE,
    FINAL_USAGE,
    KNOWN_LENGTH,
    {},
)


class Unserved(Exception):
    """The endpoint serves nobody; the message says what it did instead."""


class Reporting(Enum):
    """How a stream reports its tokens; the value says so in words."""

    RUNNING = "usage in every event"
    FINAL = "usage at the end; until then events are counted"
    NONE = "no usage: events are counted as tokens"


@dataclass(frozen=True, slots=True)
class Greeting:
    """What was learnt: `endpoint` carries it for every later request."""

    endpoint: Endpoint
    reporting: Reporting

    @property
    def words(self) -> dict[str, str]:
        """What was learnt, for people."""
        fields = ", ".join(self.endpoint.fields) or "no optional field"
        return {
            "model": self.endpoint.model,
            "surface": f"{self.endpoint.surface.value} with {fields}",
            "tokens": self.reporting.value,
        }


def credentials(cast: Cast) -> dict[str, str]:
    """Every key by the name of the load that uses it."""
    return {credential(tenant.name, n): key for tenant in cast.tenants for n, key in enumerate(tenant.keys)}


def credential(tenant: str, number: int) -> str:
    """The load's name of the tenant's key `number`, from 0."""
    return tenant if number == 0 else f"{tenant} key {number + 1}"


async def greet(urls: Sequence[str], model: str, cast: Cast) -> Greeting:
    """Find a form in which every key is served at every URL; raises Unserved."""
    base, *more = (url.rstrip("/").removesuffix("/v1") for url in urls)
    keys = credentials(cast)
    first = next(iter(keys))
    plain = Endpoint(
        base, model or await _listed_model(base, keys[first]), keys, guesses=True, bytes_per_token=USUAL_BYTES_PER_TOKEN
    )
    endpoint, record = await _first_form(plain, first)
    for url, name in list(product((base, *more), keys))[1:]:
        other = await _ask(replace(endpoint, url=url), name)
        if not other.is_complete:
            raise Unserved(f"{url} does not serve the key of {name}: {_said(other)}")
    if record.usages:
        endpoint = replace(endpoint, bytes_per_token=max(1.0, PROMPT_BYTES / max(1, record.prompt_tokens)))
    return Greeting(replace(endpoint, more_urls=more), _reporting(record))


async def _listed_model(base: str, key: str) -> str:
    try:
        return await Address.parse(base).first_model(key)
    except NoModelError as fault:
        raise Unserved(str(fault)) from fault


async def _first_form(plain: Endpoint, name: str) -> tuple[Endpoint, ExchangeRecord]:
    said = ""
    for endpoint in _forms(plain):
        record = await _ask(endpoint, name)
        if record.is_complete and record.output_tokens > 0:
            return endpoint, record
        said = f"{endpoint.surface.value}: {_said(record)}"
        if record.status in (0, 401, 429) or record.status >= 500:
            break
    raise Unserved(said)


def _forms(plain: Endpoint) -> Iterator[Endpoint]:
    for surface in Surface:
        for fields in FORMS:
            yield replace(plain, surface=surface, fields=fields)


async def _ask(endpoint: Endpoint, name: str) -> ExchangeRecord:
    """One small request, awaited for `PATIENCE_SECONDS` at most."""
    lengths = Lengths(PROMPT_BYTES, PROMPT_BYTES)
    tenant = LoadTenant(name, ClosedLoop(1), lengths, Lengths(ANSWER_TOKENS, ANSWER_TOKENS))
    async with Load(endpoint, [tenant], seed=0) as load:
        records = load.tallies[name].records
        await load.until(lambda: bool(records) and records[0].ended_at is not None, PATIENCE_SECONDS)
    return records[0]


def _said(record: ExchangeRecord) -> str:
    if record.ended_at is None:
        return f"no answer to the end within {PATIENCE_SECONDS:.0f} s"
    status = f"status {record.status}: " if record.status else ""
    return f"{status}{record.error[:200] or 'a stream without a token'}"


def _reporting(record: ExchangeRecord) -> Reporting:
    if not record.usages:
        return Reporting.NONE
    # The usage that is asked for at the end may come in the last event or in an event of its own.
    return Reporting.RUNNING if record.usages > 1 else Reporting.FINAL
