"""One row of a recorded trace, and the typed reading of its fields.

A field that cannot be used raises `RowFault`, which says which one and what to do; the reader adds file and line.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from evaluation.workloads.lengths import MAX_LENGTH_TOKENS

MAX_NAME_CHARACTERS = 200
MAX_PREFIX_BLOCKS = 100_000


@dataclass(frozen=True, slots=True)
class Row:
    """A request as recorded; `at` is in seconds from any origin.

    `tenant` is empty where the trace has none, `session` where it does not say which requests belong together.
    """

    at: float
    prompt_tokens: int
    output_tokens: int
    tenant: str = ""
    session: str = ""
    key: str = ""
    max_output_tokens: int | None = None
    leaves_after_tokens: int | None = None
    prefix_ids: tuple[int, ...] = ()


class RowFault(Exception):
    """A field that cannot be used; `field` is empty where the row as a whole cannot."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.field, self.message, self.remedy = field, message, remedy


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

    def optional_tokens(self, name: str) -> int | None:
        """A length, None where the field is missing or empty."""
        return self.tokens(name) if self.has(name) else None

    def text(self, name: str) -> str:
        """A name: printable, not empty."""
        text = str(self._required(name))
        if not text.isprintable() or len(text) > MAX_NAME_CHARACTERS:
            raise RowFault(name, "is no name", f"use at most {MAX_NAME_CHARACTERS} characters that can be printed")
        return text

    def optional_text(self, name: str) -> str:
        """A name, empty where the field is missing or empty."""
        return self.text(name) if self.has(name) else ""

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
            number = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise RowFault(name, f"is no number: {value!r:.60}", "use a plain number")
        return number
