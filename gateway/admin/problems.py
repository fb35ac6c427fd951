"""What an operator must look at now, the gravest first; empty if nothing is wrong."""

from collections.abc import Iterator

from gateway.admin.moment import Moment

MOST_PROBLEMS = 20
_USED_UP = 1.0
_NEARLY = 0.8


def problems(moment: Moment) -> list[dict[str, str]]:
    """Each with its `level`, `bad` or `warn`, and a sentence."""
    bad = [{"level": "bad", "text": text} for text in _bad(moment)]
    warnings = [{"level": "warn", "text": text} for text in _warnings(moment)]
    return [*bad, *warnings][:MOST_PROBLEMS]


def _bad(moment: Moment) -> Iterator[str]:
    if moment.identity.is_draining:
        yield "This gateway drains: it accepts no new requests."
    for pool in moment.pools:
        if not any(worker.is_up for worker in moment.workers if worker.pool == pool.pool):
            yield f"No worker of {pool.pool} serves; {pool.queued} requests wait."
        spread = moment.spread(pool)
        if spread.most is not None and spread.now > spread.most:
            yield f"{pool.pool}: the spread {spread.now:,.0f} is beyond its bound {spread.most:,.0f}."
    if moment.replicas is not None and moment.replicas.failure:
        yield f"The store of the fleet fails: {moment.replicas.failure}"
    if moment.ledger is not None and moment.ledger.failure:
        yield f"The ledger cannot be written: {moment.ledger.failure}"
    if moment.recent.faults:
        yield f"The last change of the configuration was rejected: {moment.recent.faults[0]}"


def _warnings(moment: Moment) -> Iterator[str]:
    for worker in moment.workers:
        if not worker.is_up:
            yield f"Worker {worker.worker} of {worker.pool} is {worker.state}."
        elif worker.degraded:
            yield f"Worker {worker.worker} of {worker.pool} has a fixed window: {worker.degraded}"
    for pool in () if moment.replicas is None else moment.replicas.pools:
        if pool.with_other_settings:
            yield f"{pool.pool}: {pool.with_other_settings} of {pool.living} gateways have another configuration."
    for budget in moment.budgets:
        share = budget.used / budget.amount
        if share >= _USED_UP:
            yield f"{budget.tenant} has used up its budget of this {budget.period}."
        elif share >= _NEARLY:
            yield f"{budget.tenant} has used {share:.0%} of its budget of this {budget.period}."
    if moment.ledger is not None and moment.ledger.dropped_rows:
        yield f"The ledger has lost {moment.ledger.dropped_rows} rows."
