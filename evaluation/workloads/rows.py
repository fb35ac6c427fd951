"""The typed reading of a trace's rows: each gives the request that it records.

A field that cannot be used raises `RowFault`, which says which one and what to do; the reader adds file and line. A row
that is no request with an answer gives None: such rows are counted and left out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from evaluation.requests import Request
from evaluation.workloads.lengths import MAX_LENGTH_TOKENS

REQUIRED = ("arrival_seconds", "tenant", "prompt_tokens", "output_tokens")
OPTIONAL = ("key", "max_output_tokens", "leaves_after_tokens", "prefix_ids")
MAX_NAME_CHARACTERS = 200
MAX_PREFIX_BLOCKS = 100_000


class RowFault(Exception):
    """A field that cannot be used; `field` is empty where the row as a whole cannot."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.field, self.message, self.remedy = field, message, remedy


def own_request(values: Mapping[str, Any]) -> Request:
    """The request of a row of our own format; its time is that of the file."""
    fields = Fields(values)
    unknown = sorted(set(map(str, values)) - {*REQUIRED, *OPTIONAL, "client"})
    if unknown:
        raise RowFault(unknown[0], "is not a known field", f"known: {', '.join((*REQUIRED, *OPTIONAL))}")
    if fields.has("client") and fields.has("tenant"):
        raise RowFault("client", "stands beside tenant", "keep one of the two: they mean the same")
    request = Request(
        arrival_seconds=fields.seconds("arrival_seconds"),
        tenant=fields.text("client" if "client" in values else "tenant"),
        prompt_tokens=fields.tokens("prompt_tokens"),
        output_tokens=fields.tokens("output_tokens"),
        key=fields.text("key") if fields.has("key") else "",
        max_output_tokens=fields.tokens("max_output_tokens") if fields.has("max_output_tokens") else None,
        leaves_after_tokens=fields.tokens("leaves_after_tokens") if fields.has("leaves_after_tokens") else None,
        prefix_ids=fields.ids("prefix_ids"),
    )
    if request.max_output_tokens is not None and request.max_output_tokens < request.output_tokens:
        raise RowFault("max_output_tokens", "is below output_tokens", "state at least what is generated")
    if request.leaves_after_tokens is not None and request.leaves_after_tokens >= request.output_tokens:
        raise RowFault("leaves_after_tokens", "is not below output_tokens", "leave it empty for a client that stays")
    return request


def logged_request(values: Mapping[str, Any]) -> Request | None:
    """The request of a line of the gateway's JSON log, which is stamped at its end; its time is since 1970."""
    fields = Fields(values)
    if values.get("event") != "request" or not fields.has("tenant"):
        return None
    if not all(fields.tokens(name, at_least=0) for name in ("prompt_tokens", "output_tokens")):
        return None
    return Request(
        arrival_seconds=fields.moment("timestamp") - fields.seconds("duration_seconds"),
        tenant=fields.text("tenant"),
        prompt_tokens=fields.tokens("prompt_tokens"),
        output_tokens=fields.tokens("output_tokens"),
        key=fields.text("key_id") if fields.has("key_id") else "",
    )


@dataclass(frozen=True, slots=True)
class Fields:
    """The named values of a row: texts from CSV, values from JSON."""

    values: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """True where the field is there and not empty."""
        return self.values.get(name) not in (None, "")

    def seconds(self, name: str) -> float:
        """A time or a duration: finite, not negative."""
        number = self._number(name)
        if not 0 <= number < math.inf:
            raise RowFault(name, f"is no time: {number}", "use seconds from the start, 0 or more")
        return number

    def moment(self, name: str) -> float:
        """A date and time of ISO 8601 as seconds since 1970; without a zone it is UTC."""
        text = str(self._required(name))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            remedy = "write it as 2023-11-16 18:15:46.680"
            raise RowFault(name, f"is no date and time: {text!r:.60}", remedy) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    def tokens(self, name: str, at_least: int = 1) -> int:
        """A length: a whole number within bounds."""
        number = self._number(name)
        if number != int(number) or not at_least <= number <= MAX_LENGTH_TOKENS:
            remedy = f"use a whole number from {at_least} to {MAX_LENGTH_TOKENS}"
            raise RowFault(name, f"is no number of tokens: {number:g}", remedy)
        return int(number)

    def text(self, name: str) -> str:
        """A name: printable, not empty."""
        text = str(self._required(name))
        if not text.isprintable() or len(text) > MAX_NAME_CHARACTERS:
            raise RowFault(name, "is no name", f"use at most {MAX_NAME_CHARACTERS} characters that can be printed")
        return text

    def ids(self, name: str) -> tuple[int, ...]:
        """Whole numbers: a list in JSON, separated by spaces in CSV; none where the field is missing or empty."""
        given = self.values.get(name) or ()
        items = given.split() if isinstance(given, str) else given
        if not isinstance(items, list | tuple) or len(items) > MAX_PREFIX_BLOCKS:
            raise RowFault(name, "is no list of numbers", f"use at most {MAX_PREFIX_BLOCKS} whole numbers")
        try:
            return tuple(int(str(item)) for item in items)
        except ValueError:
            raise RowFault(name, f"holds what is no whole number: {given!r:.60}", "use whole numbers") from None

    def _required(self, name: str) -> Any:
        if not self.has(name):
            raise RowFault(name, "is missing", "give every row a value, or take the row out")
        return self.values[name]

    def _number(self, name: str) -> float:
        value = self._required(name)
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise RowFault(name, f"is no number: {value!r:.60}", "use a plain number")
        return number
