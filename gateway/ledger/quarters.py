"""Adds rows up by quarter hour, so that reports over months read thousands of lines and not millions.

A quarter hour (UTC) is the longest time that fits into the hours of every time zone. Rows are merged in memory first,
once for each commit. Sums are of integers, so that they equal the sums of the rows; only the cost is a float.
"""

from collections.abc import Iterable
from typing import Final

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

Key = tuple[int, str, str, str, str]
Sums = list[float]  # the number of requests, then `SUMS`


def key_of(row: Row) -> Key:
    """What a row is added up by."""
    return (row.quarter, row.tenant, row.key, row.pool, row.model)


def merged(rows: Iterable[Row]) -> dict[Key, Sums]:
    """The sums of `rows` by quarter hour, tenant, key, pool and model."""
    sums: dict[Key, Sums] = {}
    for row in rows:
        key = key_of(row)
        total = sums.get(key)
        if total is None:
            total = sums[key] = [0] * (1 + len(SUMS))
        total[0] += 1
        total[1] += row.prompt_tokens
        total[2] += row.cached_tokens
        total[3] += row.output_tokens
        total[4] += row.estimated_tokens
        total[5] += row.lost_prompt_tokens
        total[6] += row.lost_output_tokens
        total[7] += row.cost
        total[8] += row.worker_us
        total[9] += row.money_nano
        total[10] += row.prompt_nano
        total[11] += row.cached_nano
        total[12] += row.output_nano
    return sums
