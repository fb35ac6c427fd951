"""The trace formats that can be read, how each is recognised, and what its fields mean.

Our own, as CSV and as JSON lines, and those of public traces:

- the artifact of the VTC paper (Ying1123/VTC-artifact, fair_bench/run_exp.py): one JSON object for each run, its
  responses with `req_time` in seconds, `adapter_dir` (the client), `prompt_len` and `output_len`;
- Azure LLM inference 2023 and 2024 (Azure/AzurePublicDataset): CSV with TIMESTAMP, ContextTokens, GeneratedTokens;
- Mooncake (kvcache-ai/Mooncake): JSON lines, `timestamp` in milliseconds and `hash_ids`, one for each 512 tokens;
- BurstGPT (HPMLL/BurstGPT): CSV with times in seconds, in release 2.0 with the session of a conversation; failed
  requests have no response tokens;
- the request lines of this gateway's JSON log, stamped at the end of each request.

A function here returns None for a row that is no request with an answer: such rows are counted and left out.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from evaluation.workloads.traces.row import Fields, Row, RowFault
from evaluation.workloads.workload import PREFIX_BLOCK_TOKENS

REQUIRED = ("arrival_seconds", "tenant", "prompt_tokens", "output_tokens")
OPTIONAL = ("key", "max_output_tokens", "leaves_after_tokens", "prefix_ids")
_MILLISECONDS = 1000.0
_NEAR = 0.5  # of a format's names: a file that has as many was meant to be of that format
_SESSIONS = ("Session ID", "SessionID")


class TraceFormat(Enum):
    """The formats; the value is the name on the command line."""

    CSV = "csv"
    JSONL = "jsonl"
    VTC_ARTIFACT = "vtc-artifact"
    AZURE = "azure"
    MOONCAKE = "mooncake"
    BURSTGPT = "burstgpt"
    GATEWAY_LOG = "gateway-log"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a format is read. `names` are the fields by which it is recognised.

    `starts_at_zero`: its times count from the start of the run; otherwise the first request sets the clock to 0.
    """

    names: frozenset[str]
    is_csv: bool
    starts_at_zero: bool
    row: Callable[[Fields], Row | None]


def _own(fields: Fields) -> Row:
    unknown = sorted(set(map(str, fields.values)) - {*REQUIRED, *OPTIONAL, "client"})
    if unknown:
        raise RowFault(unknown[0], "is not a known field", f"known: {', '.join((*REQUIRED, *OPTIONAL))}")
    if fields.has("client") and fields.has("tenant"):
        raise RowFault("client", "stands beside tenant", "keep one of the two: they mean the same")
    row = Row(
        at=fields.seconds("arrival_seconds"),
        prompt_tokens=fields.tokens("prompt_tokens"),
        output_tokens=fields.tokens("output_tokens"),
        tenant=fields.text("client" if "client" in fields.values else "tenant"),
        key=fields.optional_text("key"),
        max_output_tokens=fields.optional_tokens("max_output_tokens"),
        leaves_after_tokens=fields.optional_tokens("leaves_after_tokens"),
        prefix_ids=fields.ids("prefix_ids"),
    )
    if row.max_output_tokens is not None and row.max_output_tokens < row.output_tokens:
        raise RowFault("max_output_tokens", "is below output_tokens", "state at least what is generated")
    if row.leaves_after_tokens is not None and row.leaves_after_tokens >= row.output_tokens:
        raise RowFault("leaves_after_tokens", "is not below output_tokens", "leave it empty for a client that stays")
    return row


def _artifact(fields: Fields) -> Row:
    return Row(
        at=fields.seconds("req_time"),
        prompt_tokens=fields.tokens("prompt_len"),
        output_tokens=fields.tokens("output_len"),
        tenant=fields.text("adapter_dir"),
    )


def _has_both(fields: Fields, prompt: str, output: str) -> bool:
    """False for a request that came to nothing: it has no prompt or no answer."""
    return all(fields.tokens(name, at_least=0) > 0 for name in (prompt, output))


def _azure(fields: Fields) -> Row | None:
    if not _has_both(fields, "ContextTokens", "GeneratedTokens"):
        return None
    return Row(fields.moment("TIMESTAMP"), fields.tokens("ContextTokens"), fields.tokens("GeneratedTokens"))


def _mooncake(fields: Fields) -> Row | None:
    if not _has_both(fields, "input_length", "output_length"):
        return None
    return Row(
        at=fields.seconds("timestamp") / _MILLISECONDS,
        prompt_tokens=fields.tokens("input_length"),
        output_tokens=fields.tokens("output_length"),
        prefix_ids=_whole_blocks(fields.ids("hash_ids"), fields.tokens("input_length")),
    )


def _whole_blocks(ids: tuple[int, ...], tokens: int) -> tuple[int, ...]:
    # The last hash may be of a block that is not full, which no cache shares.
    return ids[: tokens // PREFIX_BLOCK_TOKENS]


def _burstgpt(fields: Fields) -> Row | None:
    if not _has_both(fields, "Request tokens", "Response tokens"):
        return None
    return Row(
        at=fields.seconds("Timestamp"),
        prompt_tokens=fields.tokens("Request tokens"),
        output_tokens=fields.tokens("Response tokens"),
        session=next((fields.text(name) for name in _SESSIONS if fields.has(name)), ""),
    )


def _gateway_log(fields: Fields) -> Row | None:
    if fields.values.get("event") != "request" or not fields.has("tenant"):
        return None
    if not _has_both(fields, "prompt_tokens", "output_tokens"):
        return None
    return Row(
        at=fields.moment("timestamp") - fields.seconds("duration_seconds"),
        prompt_tokens=fields.tokens("prompt_tokens"),
        output_tokens=fields.tokens("output_tokens"),
        tenant=fields.text("tenant"),
        key=fields.optional_text("key_id"),
    )


LAYOUTS = {
    TraceFormat.CSV: Layout(frozenset(REQUIRED), is_csv=True, starts_at_zero=True, row=_own),
    TraceFormat.JSONL: Layout(frozenset(REQUIRED), is_csv=False, starts_at_zero=True, row=_own),
    TraceFormat.VTC_ARTIFACT: Layout(frozenset({"config", "result"}), is_csv=False, starts_at_zero=True, row=_artifact),
    TraceFormat.AZURE: Layout(
        frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}), is_csv=True, starts_at_zero=False, row=_azure
    ),
    TraceFormat.MOONCAKE: Layout(
        frozenset({"timestamp", "input_length", "output_length"}), is_csv=False, starts_at_zero=False, row=_mooncake
    ),
    TraceFormat.BURSTGPT: Layout(
        frozenset({"Timestamp", "Request tokens", "Response tokens"}), is_csv=True, starts_at_zero=False, row=_burstgpt
    ),
    TraceFormat.GATEWAY_LOG: Layout(
        frozenset({"event", "level", "timestamp"}), is_csv=False, starts_at_zero=False, row=_gateway_log
    ),
}


def recognise(names: Collection[str], *, is_csv: bool) -> TraceFormat | None:
    """The format of a file whose header, or first JSON object, has these names."""
    known = named(names)
    return next((each for each, layout in LAYOUTS.items() if layout.is_csv is is_csv and layout.names <= known), None)


@dataclass(frozen=True, slots=True)
class Near:
    """A format that a file nearly has, and the first of its names that the file lacks."""

    format: str
    missing: str


def nearest(names: Collection[str], *, is_csv: bool) -> Near | None:
    """The format of which a file has most names, and at least half; None where it resembles none."""
    known = named(names)
    shares = {
        each: len(layout.names & known) / len(layout.names)
        for each, layout in LAYOUTS.items()
        if layout.is_csv is is_csv
    }
    best = max(shares, key=lambda each: shares[each])
    if shares[best] < _NEAR:
        return None
    return Near(best.value, min(LAYOUTS[best].names - known))


def named(names: Collection[str]) -> set[str]:
    """`names`, with `tenant` where there is a `client`: the word of the paper and of its data."""
    return {*names, "tenant"} if "client" in names else set(names)
