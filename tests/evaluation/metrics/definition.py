"""The published definition, as plainly as it reads: double loops, no prefix sums, one function per sentence."""

from collections.abc import Sequence

from evaluation.requests import Ending, Served


def service(records: Sequence[Served], tenant: str, at: float) -> float:
    """Cost per second in a window of 60 s around `at`; each cost is spread from first token to last."""
    total = 0.0
    for record in records:
        if record.request.tenant != tenant or record.first_token_at is None or record.last_token_at is None:
            continue
        cost = 1 * record.request.prompt_tokens + 2 * record.output_tokens
        start, end = record.first_token_at, record.last_token_at
        if start == end:
            total += cost if at - 30 <= start < at + 30 else 0
            continue
        overlap = max(0.0, min(end, at + 30) - max(start, at - 30))
        total += cost * overlap / (end - start)
    return total / 60


def demand(records: Sequence[Served], tenant: str, at: float) -> float:
    """The cost of the requests that arrived in the window, per second."""
    total = 0
    for record in records:
        if record.request.tenant != tenant or record.ending is Ending.REFUSED:
            continue
        if at - 30 <= record.request.arrival_seconds < at + 30:
            total += record.request.prompt_tokens + 2 * record.request.output_tokens
    return total / 60


def difference(records: Sequence[Served], at: float) -> float:
    """The sum over clients of min(best client's service - own service, |own demand - own service|)."""
    tenants = {record.request.tenant for record in records}
    best = max(service(records, tenant, at) for tenant in tenants)
    total = 0.0
    for tenant in tenants:
        own = service(records, tenant, at)
        total += min(best - own, abs(demand(records, tenant, at) - own))
    return total
