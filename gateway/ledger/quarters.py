"""Adds rows up by quarter hour, so that reports over months read thousands of lines and not millions.

A quarter hour (UTC) is the longest time that fits into the hours of every time zone. Rows are merged in memory first,
once for each commit. Sums are of integers, so that they equal the sums of the rows; only the cost is a float.
"""

from collections.abc import Iterable
from operator import add, itemgetter
from typing import Any, Final

from gateway.ledger.rows import Row

KEYS: Final = ("quarter", "tenant", "key", "pool", "model")
SUMS: Final = (
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "estimated_tokens",
    "lost_prompt_tokens",
    "lost_output_tokens",
    "cost",
    "worker_us",
    "money_nano",
    "prompt_nano",
    "cached_nano",
    "output_nano",
)

_key_of: Final = itemgetter(*map(Row._fields.index, KEYS))
_FIRST: Final = Row._fields.index(SUMS[0])
_AFTER: Final = _FIRST + len(SUMS)
assert Row._fields[_FIRST:_AFTER] == SUMS, "the figures of a row that are added up stand together"


def merged(rows: Iterable[tuple[Any, ...]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The number of `rows` and their `SUMS`, by their `KEYS`; names in rows may be numbers already."""
    sums: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        key, figures = _key_of(row), (1, *row[_FIRST:_AFTER])
        total = sums.get(key)
        sums[key] = figures if total is None else tuple(map(add, total, figures))
    return sums
