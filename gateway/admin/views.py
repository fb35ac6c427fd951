"""What the page, `top` and `status` show: pure functions of a moment, made of JSON's types.

Lists are bounded, and `total` says how many there are. No view shows a prompt, an answer, a key or a digest. The first
list of the overview, `problems`, says what an operator must look at; if nothing is wrong, it is empty.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict
from heapq import nlargest, nsmallest
from typing import Any, Final

from gateway.admin.ended import Ended
from gateway.admin.history import NOTHING, Share
from gateway.admin.moment import Account, Moment
from gateway.admin.problems import problems
from gateway.admin.waits import NO_WAIT, counted
from gateway.fairness import TenantSnapshot, TicketSnapshot
from gateway.telemetry.observers import request_fields
from gateway.workers import WorkerSnapshot

Json = dict[str, Any]

MOST_ROWS: Final = 50
MOST_BUDGETS: Final = 20
MOST_REFUSALS: Final = 20
MOST_WORKERS: Final = 200
SORTS: Final = ("busy", "now", "hour", "short", "wait", "name")
_REQUESTS_AT_ONCE: Final = 1000


def overview(moment: Moment) -> Json:
    """Everything at a glance: problems, pools, the busiest tenants, workers, budgets, refusals, replicas."""
    fullest = nlargest(MOST_BUDGETS, moment.budgets, key=lambda budget: budget.used / budget.amount)
    refusals = list(moment.recent.refusals)[: -MOST_REFUSALS - 1 : -1]
    return {
        "gateway": asdict(moment.identity),
        "history_minutes": moment.history.minutes,
        "problems": problems(moment),
        "pools": _pools(moment),
        "tenants": tenants(moment),
        "workers": [_worker(worker) for worker in moment.workers[:MOST_WORKERS]],
        "budgets": [asdict(budget) for budget in fullest],
        "refusals": [ended_request(ended) for ended in refusals],
        "replicas": drift(moment),
    }


def tenants(moment: Moment, search: str = "", sort: str = "busy") -> Json:
    """The first `MOST_ROWS` tenants of those whose name contains `search`, whatever its case, sorted by `sort`.

    Tenants of the configuration that no pool knows yet are found by a search only.
    """
    wanted = search.casefold()
    found = [account for account in moment.accounts if not wanted or wanted in account.tenant.tenant.casefold()]
    rows = [_row(moment, account) for account in _first(moment, found, sort)]
    total = len(found)
    if wanted:
        known = {account.tenant.tenant for account in moment.accounts}
        idle = sorted(name for name in moment.terms if name not in known and wanted in name.casefold())
        total += len(idle)
        rows += [_idle_row(moment, name) for name in idle[: MOST_ROWS - len(rows)]]
    return {"total": total, "rows": rows}


def tenant(moment: Moment, name: str, requests: Iterable[TicketSnapshot]) -> Generator[None, None, Json | None]:
    """All about one tenant, in steps; None if there is none of this name."""
    accounts = [account for account in moment.accounts if account.tenant.tenant == name]
    terms = moment.terms.get(name)
    if terms is None and not accounts:
        return None
    live: list[Json] = []
    total = 0
    for number, request in enumerate(requests, 1):
        if request.tenant == name:
            total += 1
            if len(live) < MOST_ROWS:
                live.append(_live(request))
        if number % _REQUESTS_AT_ONCE == 0:
            yield
    refusals = [ended for ended in reversed(moment.recent.refusals) if ended.event.tenant == name][:MOST_REFUSALS]
    return {
        "tenant": name,
        "terms": None
        if terms is None
        else {
            "weight": terms.weight,
            "models": list(terms.models),
            "limits": terms.limits.model_dump(mode="json"),
            "keys": [{"id": key.id, "disabled": key.disabled} for key in terms.keys],
        },
        "pools": [_row(moment, account) | {"minutes": _minutes(moment, account)} for account in accounts],
        "budgets": [asdict(budget) for budget in moment.budgets if budget.tenant == name],
        "requests": {"total": total, "rows": live},
        "refusals": [ended_request(ended) for ended in refusals],
    }


def request(moment: Moment, request_id: str, requests: Iterable[TicketSnapshot]) -> Generator[None, None, Json | None]:
    """One request by its id, in steps: live or among the last that ended; None if neither.

    `before` says how many requests of its tenant came earlier and wait too.
    """
    before: dict[tuple[str, str], int] = {}
    for number, live in enumerate(requests, 1):
        place = (live.pool, live.tenant)
        if live.request_id == request_id:
            shown = _live(live)
            if live.state == "queued":
                account = next((each for each in moment.accounts if (each.pool, each.tenant.tenant) == place), None)
                shown["before"] = before.get(place, 0)
                shown["why"] = "" if account is None else account.wait.text
            return shown
        if live.state == "queued":
            before[place] = before.get(place, 0) + 1
        if number % _REQUESTS_AT_ONCE == 0:
            yield
    ended = moment.recent.request(request_id)
    return None if ended is None else ended_request(ended)


def drift(moment: Moment) -> Json | None:
    """How the gateways that share an account agree; None if this one is alone.

    A pool's `with_other_settings` gateways have another configuration than this one.
    """
    replicas = moment.replicas
    if replicas is None:
        return None
    pools = [
        {
            "pool": pool.pool,
            "living": pool.living,
            "with_other_settings": pool.with_other_settings,
            "spread": pool.spread,
            "spread_bound": pool.spread_bound,
        }
        for pool in replicas.pools
    ]
    return {
        "fleet": replicas.fleet,
        "name": replicas.name,
        "expected": replicas.expected,
        "failure": replicas.failure,
        "age_seconds": replicas.age_seconds,
        "pools": pools,
    }


def ended_request(ended: Ended) -> Json:
    """A request that has ended, with the fields of its log line."""
    fields = request_fields(ended.event)
    fields.pop("client_address", None)
    return {"state": "ended", "at": ended.at, "why": ended.event.detail, **fields}


def _pools(moment: Moment) -> list[Json]:
    shown = []
    accounts: dict[str, list[Account]] = {pool.pool: [] for pool in moment.pools}
    for account in moment.accounts:
        accounts[account.pool].append(account)
    for pool in moment.pools:
        spread, known = moment.spread(pool), accounts[pool.pool]
        shown.append(
            {
                "pool": pool.pool,
                "queued": pool.queued,
                "in_flight": pool.in_flight,
                "waits": counted([(each.tenant.queued, each.wait) for each in known]),
                "oldest_wait_seconds": max((each.tenant.oldest_wait_seconds for each in known), default=0.0),
                "spread": spread.now,
                "spread_bound": spread.most,
                "jain_index": pool.jain_index,
                "drain_rate_per_second": pool.drain_rate_per_second,
            }
        )
    return shown


def _first(moment: Moment, accounts: Sequence[Account], sort: str) -> list[Account]:
    now, hour = moment.history.now, moment.history.hour

    def rank(account: Account) -> tuple[float, float]:
        place, tenant = (account.pool, account.tenant.tenant), account.tenant
        got = now.get(place, NOTHING)
        match sort:
            case "now":
                return got.received, tenant.queued
            case "hour":
                return hour.get(place, NOTHING).received, got.received
            case "short":
                return got.owed - got.received, tenant.queued
            case "wait":
                return tenant.oldest_wait_seconds, tenant.queued
            case _:
                return tenant.queued + tenant.in_flight, got.received

    if sort == "name":
        return nsmallest(MOST_ROWS, accounts, key=lambda account: (account.tenant.tenant, account.pool))
    return nlargest(MOST_ROWS, accounts, key=rank)


def _row(moment: Moment, account: Account) -> Json:
    place, tenant = (account.pool, account.tenant.tenant), account.tenant
    now, hour = moment.history.now.get(place, NOTHING), moment.history.hour.get(place, NOTHING)
    return {
        "tenant": tenant.tenant,
        "pool": account.pool,
        "weight": tenant.weight,
        "queued": tenant.queued,
        "in_flight": tenant.in_flight,
        "oldest_wait_seconds": tenant.oldest_wait_seconds,
        "cause": account.wait.cause.value,
        "why": account.wait.text,
        "now": _share(now),
        "hour": _share(hour),
    }


def _idle_row(moment: Moment, name: str) -> Json:
    nothing = TenantSnapshot(name, moment.terms[name].weight, 0.0, 0.0, 0, 0, 0.0, is_held_back=False)
    return _row(moment, Account("", nothing, NO_WAIT))


def _share(share: Share) -> Json:
    return {"received": round(share.received, 1), "owed": round(share.owed, 1)}


def _minutes(moment: Moment, account: Account) -> list[Json]:
    return [_share(share) for share in moment.history.series(account.pool, account.tenant.tenant)]


def _worker(worker: WorkerSnapshot) -> Json:
    return {
        "pool": worker.pool,
        "worker": worker.worker,
        "state": worker.state,
        "is_up": worker.is_up,
        "sequences": worker.sequences_in_flight,
        "window_sequences": worker.window_sequences,
        "prefill_tokens": worker.prefill_tokens_in_flight,
        "window_prefill_tokens": worker.window_prefill_tokens,
        "kv_demand_tokens": worker.kv_demand_tokens,
        "kv_capacity_tokens": worker.kv_capacity_tokens,
        "limited_by": worker.limited_by.value,
        "degraded": worker.degraded,
    }


def _live(request: TicketSnapshot) -> Json:
    return {
        "request_id": request.request_id,
        "tenant": request.tenant,
        "pool": request.pool,
        "state": request.state,
        "age_seconds": request.age_seconds,
        "worker": request.worker,
        "prompt_tokens": request.prompt_tokens,
        "output_tokens": request.output_tokens,
    }
