"""The views of a gateway, as functions of what it is at one moment."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from whole_gateway import tenant as terms_of

from gateway.accounts import BudgetSnapshot, BudgetsSnapshot
from gateway.admin import views
from gateway.admin.ended import MOST_REQUESTS, Recent
from gateway.admin.history import LOOKS, MINUTES, MOST_TENANTS, OTHERS, History
from gateway.admin.moment import Moment, take
from gateway.config import Config, Limits
from gateway.events import ConfigReloaded, RequestFinished
from gateway.fairness import PoolSnapshot, TenantSnapshot, TicketSnapshot
from gateway.long_work import at_once
from gateway.outcomes import Outcome
from gateway.replicas.snapshot import CallsSnapshot, ReplicasSnapshot, SharedPoolSnapshot
from gateway.telemetry.state import GatewayIdentity
from gateway.workers import WorkerSnapshot

POOL = PoolSnapshot("model", 0, 0, 10.0, 100.0, 1.0, 2.0, 0, ())
WORKER = WorkerSnapshot("model", "w0", "http://127.0.0.1:1", "serving", 4, 4, 0, 1000)


def account(name: str, **fields: Any) -> TenantSnapshot:
    return TenantSnapshot(name, 1.0, 0.0, 0.0, 0, 0, 0.0, False)._replace(**fields)


@dataclass
class Source:
    """A gateway that shows what a test says."""

    accounts: Sequence[TenantSnapshot] = ()
    config: Config = field(default_factory=Config)
    live: Sequence[TicketSnapshot] = ()
    full: Sequence[BudgetSnapshot] = ()
    shown_workers: Sequence[WorkerSnapshot] = (WORKER,)
    fleet: ReplicasSnapshot | None = None

    def pools(self, tenants: Collection[str] | None = None) -> Sequence[PoolSnapshot]:
        queued = sum(each.queued for each in self.accounts)
        shown = (each for each in self.accounts if tenants is None or each.tenant in tenants)
        return [replace(POOL, queued=queued, tenants=shown)]

    def workers(self) -> Sequence[WorkerSnapshot]:
        return self.shown_workers

    def budgets(self, tenants: Collection[str] | None = None) -> BudgetsSnapshot:
        return BudgetsSnapshot(tuple(self.full), True, 0)

    def replicas(self, tenants: Collection[str] | None = None) -> ReplicasSnapshot | None:
        return self.fleet

    def ledger(self) -> None:
        return None

    def requests(self) -> Sequence[TicketSnapshot]:
        return self.live

    def identity(self) -> GatewayIdentity:
        return GatewayIdentity("1", 0.0, 1.0, False)


def source_of(*accounts: TenantSnapshot, **terms: Any) -> Source:
    tenants = tuple(terms_of(each.tenant, **terms) for each in accounts)
    return Source(accounts, Config(tenants=tenants))


def moment_of(source: Source, history: History | None = None, recent: Recent | None = None) -> Moment:
    return at_once(take(source, history or History(), recent or Recent()))  # type: ignore[arg-type]


def finished(request_id: str, outcome: Outcome, tenant: str = "alice") -> RequestFinished:
    return RequestFinished(
        request_id, "/v1/chat/completions", tenant, "key1", "model", "model", "w0", outcome, 429, True, 1,
        10, 0, 5, 15.0, 0.1, 0.2, None, None, None, 1.0, "the detail", end_user_name="Mr. Secret",
    )  # fmt: skip


def causes(source: Source) -> dict[str, str]:
    return {row["tenant"]: row["cause"] for row in views.tenants(moment_of(source))["rows"]}


def test_the_next_in_turn_waits_for_room_and_others_for_their_share() -> None:
    source = source_of(account("next", queued=1, counter=5.0), account("later", queued=9, counter=8.0), account("idle"))
    assert causes(source) == {"next": "room", "later": "share", "idle": "nothing"}


def test_who_is_held_back_waits_for_its_own_limit() -> None:
    source = source_of(account("a", queued=1, is_held_back=True, in_flight=2), limits=Limits(max_in_flight=2))
    assert causes(source) == {"a": "limit"}


def test_who_is_held_back_near_the_end_of_a_budget_waits_for_it() -> None:
    source = source_of(account("a", queued=1, is_held_back=True))
    source.full = [BudgetSnapshot("a", "tenant", "tokens", "day", "", "", 100.0, 60.0, 35.0, "tomorrow")]
    assert causes(source) == {"a": "budget"}


def test_without_a_worker_all_wait_for_one_and_it_is_a_problem() -> None:
    source = source_of(account("a", queued=3))
    source.shown_workers = [replace(WORKER, state="down")]
    assert causes(source) == {"a": "no worker"}
    overview = views.overview(moment_of(source))
    assert overview["problems"][0] == {"level": "bad", "text": "No worker of model serves; 3 requests wait."}
    assert overview["pools"][0]["waits"] == {"no worker": 3}


def test_gateways_that_disagree_are_a_problem_and_so_is_their_store() -> None:
    source = source_of(account("a"))
    pool = SharedPoolSnapshot("model", 3, 0, 2, 1.0, 5.0, ())
    source.fleet = ReplicasSnapshot("fleet", "one", 3, "", 0.1, CallsSnapshot(1, 0, 0.1, (), (1,)), (pool,))
    overview = views.overview(moment_of(source))
    assert overview["problems"] == [{"level": "warn", "text": "model: 2 of 3 gateways have another configuration."}]
    assert overview["replicas"]["pools"][0]["with_other_settings"] == 2
    source.fleet = replace(source.fleet, failure="no answer")
    problems = views.overview(moment_of(source))["problems"]
    assert problems[0] == {"level": "bad", "text": "The store of the fleet fails: no answer"}


def test_a_broken_bound_is_a_problem_where_one_is_promised() -> None:
    """Only the policy vtc promises one; in a fleet it is that of all gateways together."""
    moment = moment_of(source_of(account("a")))
    broken = replace(moment, pools=[replace(POOL, spread=101.0)])
    assert [each["level"] for each in views.overview(broken)["problems"]] == ["bad"]
    assert views.overview(replace(broken, is_vtc=False))["problems"] == []
    shared = SharedPoolSnapshot("model", 2, 0, 0, 1.0, 5.0, ())
    fleet = ReplicasSnapshot("fleet", "one", 2, "", 0.1, CallsSnapshot(1, 0, 0.1, (), (1,)), (shared,))
    together = replace(broken, replicas=fleet)
    assert views.overview(together)["problems"] == []
    apart = replace(broken, replicas=replace(fleet, pools=(replace(shared, spread=6.0),)))
    assert [each["level"] for each in views.overview(apart)["problems"]] == ["bad"]


@pytest.mark.parametrize(("used", "words"), [(79.0, None), (80.0, "80%"), (100.0, "used up")])
def test_a_budget_near_its_end_is_said(used: float, words: str | None) -> None:
    source = source_of(account("a"))
    source.full = [BudgetSnapshot("a", "tenant", "tokens", "day", "", "", 100.0, used, 0.0, "tomorrow")]
    texts = [each["text"] for each in views.overview(moment_of(source))["problems"]]
    assert len(texts) == (words is not None)
    assert all(str(words) in text for text in texts)


def test_nothing_wrong_is_no_problem() -> None:
    assert views.overview(moment_of(source_of(account("a"))))["problems"] == []


def test_the_history_shows_what_was_received_and_owed() -> None:
    """A flood that got three quarters while another waited all the time owes it one quarter."""
    history, service = History(), 0.0
    for _ in range(LOOKS + 1):
        flood, starved = account("flood", service=3 * service, queued=9), account("starved", service=service, queued=1)
        at_once(history.look(source_of(flood, starved).pools()))
        service += 1.0
    assert history.minutes == 1
    assert history.now["model", "starved"] == (LOOKS, 2 * LOOKS)
    assert history.now["model", "flood"] == (3 * LOOKS, 2 * LOOKS)
    rows = views.tenants(moment_of(source_of(flood, starved), history), sort="short")["rows"]
    assert [row["tenant"] for row in rows] == ["starved", "flood"]


def test_a_tenant_that_comes_later_has_received_all_that_it_has() -> None:
    history = History()
    at_once(history.look(source_of(account("early", service=100.0)).pools()))
    at_once(history.look(source_of(account("early", service=100.0), account("late", service=7.0)).pools()))
    assert history.now == {("model", "late"): (7.0, 7.0)}


def test_the_history_is_bounded() -> None:
    history = History()
    for number in range(LOOKS * (MINUTES + 1)):
        accounts = [account(f"t{n}", service=float(number * n)) for n in range(MOST_TENANTS + 50)]
        if number < LOOKS * 2 or number % LOOKS == 0:
            at_once(history.look([replace(POOL, tenants=tuple(accounts))]))
        else:
            at_once(history.look([replace(POOL, tenants=())]))
    assert history.minutes == MINUTES
    assert len(history.hour) <= MOST_TENANTS + 1
    assert ("model", OTHERS) in history.hour


def test_rows_are_bounded_and_searched_on_the_server() -> None:
    moment = moment_of(source_of(*(account(f"Team-{n}", queued=n) for n in range(200))))
    shown = views.tenants(moment)
    assert shown["total"] == 200
    assert [row["tenant"] for row in shown["rows"]] == [f"Team-{n}" for n in range(199, 149, -1)]
    assert {row["tenant"] for row in views.tenants(moment, "team-19")["rows"]} == {
        "Team-19", *(f"Team-{n}" for n in range(190, 200)),
    }  # fmt: skip


def test_a_search_finds_a_tenant_that_never_asked() -> None:
    source = Source((), Config(tenants=(terms_of("sleeper"),)))
    assert views.tenants(moment_of(source))["total"] == 0
    assert [row["tenant"] for row in views.tenants(moment_of(source), "SLEEP")["rows"]] == ["sleeper"]


def test_a_waiting_request_says_how_many_are_before_it() -> None:
    live = [TicketSnapshot(f"r{n}", "ab"[n % 2], "model", "queued", 1.0, "", 10, 0) for n in range(6)]
    source = source_of(account("a", queued=3), account("b", queued=3, counter=1.0))
    found = at_once(views.request(moment_of(source), "r4", live))
    assert found is not None
    assert (found["before"], found["tenant"]) == (2, "a")
    assert "next" in found["why"]
    assert at_once(views.request(moment_of(source), "r9", live)) is None


def test_an_ended_request_is_found_without_what_is_private() -> None:
    recent = Recent()
    recent.observe(finished("r1", Outcome.RATE_LIMITED))
    moment = moment_of(source_of(account("alice")), recent=recent)
    found = at_once(views.request(moment, "r1", ()))
    assert found is not None
    assert (found["state"], found["outcome"], found["why"]) == ("ended", "rate_limited", "the detail")
    assert b"Secret" not in orjson.dumps(found)
    assert [each["request_id"] for each in views.overview(moment)["refusals"]] == ["r1"]


def test_what_is_kept_of_requests_is_bounded() -> None:
    recent = Recent()
    for number in range(MOST_REQUESTS + 10):
        recent.observe(finished(f"r{number}", Outcome.COMPLETED))
    assert recent.request("r9") is None
    assert recent.request("r10") is not None


def test_a_rejected_reload_is_a_problem_until_the_next_one() -> None:
    recent = Recent()
    recent.observe(ConfigReloaded("config.yaml", ["line 3: no"], (), ()))
    overview = views.overview(moment_of(source_of(account("a")), recent=recent))
    assert [problem["level"] for problem in overview["problems"]] == ["bad"]
    recent.observe(ConfigReloaded("config.yaml", (), (), ()))
    assert views.overview(moment_of(source_of(account("a")), recent=recent))["problems"] == []


def test_one_tenant_shows_its_keys_by_id_alone() -> None:
    source = source_of(account("a", queued=1), keys=2)
    live = [TicketSnapshot("r1", "a", "model", "queued", 1.0, "", 10, 0)]
    found = at_once(views.tenant(moment_of(source), "a", live))
    assert found is not None
    assert found["terms"]["keys"] == [{"id": "key1", "disabled": False}, {"id": "key2", "disabled": False}]
    assert [each["request_id"] for each in found["requests"]["rows"]] == ["r1"]
    assert at_once(views.tenant(moment_of(source), "nobody", live)) is None
    orjson.dumps(found)


@pytest.mark.parametrize("sort", views.SORTS)
def test_every_order_is_one_of_all_rows(sort: str) -> None:
    moment = moment_of(source_of(*(account(f"t{n}", queued=n % 3, in_flight=n % 2) for n in range(9))))
    assert len(views.tenants(moment, sort=sort)["rows"]) == 9


def test_many_tenants_are_looked_at_in_steps() -> None:
    """No step has more than a few hundred tenants, so that streams move in between."""
    source = source_of(*(account(f"t{n}", queued=10, counter=float(n)) for n in range(2000)))
    steps = sum(1 for _ in take(source, History(), Recent()))  # type: ignore[arg-type]
    assert steps >= 2 * 2000 / 250
    assert sum(1 for _ in History().look(source.pools())) >= 2000 / 500
