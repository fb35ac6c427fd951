"""What changes between two configurations, in words, and what of it the running gateway can take."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.config import (
    Admin,
    Anonymous,
    BudgetEntry,
    Config,
    Difference,
    Launch,
    LaunchEngine,
    Ledger,
    Limits,
    LinearCost,
    Listen,
    LogLevel,
    Logs,
    Metrics,
    PolicyName,
    PolicySpec,
    Pool,
    Postgres,
    Replicas,
    ResolvedKey,
    Scheduler,
    Tenant,
    Timeouts,
    Webhook,
    Window,
    WithoutStore,
    Worker,
    difference,
    in_force,
)

URL = Worker(name="gpu1:8000", url="http://gpu1:8000", api_key=SecretStr("first"))
LAUNCHED = Worker(name="w1", launch=Launch(engine=LaunchEngine.EMBEDDED, environment=(SecretStr("A=b"),)))
POOL = Pool(model="tiny", engine_model="tiny", workers=(URL, LAUNCHED))
KEY = ResolvedKey(id="key1", digest=b"1" * 32)
ALICE = Tenant(name="alice", keys=(KEY,))
OLD = Config(pools=(POOL,), tenants=(ALICE,))
FLEET = Replicas(store="redis://store:6379", password="first")


def _with(**changes: object) -> Config:
    return OLD.model_copy(update=changes)


def _pool(**changes: object) -> Config:
    return _with(pools=(POOL.model_copy(update=changes),))


def _worker(**changes: object) -> Config:
    return _pool(workers=(URL.model_copy(update=changes), LAUNCHED))


def _launch(**changes: object) -> Config:
    assert LAUNCHED.launch is not None
    changed = LAUNCHED.model_copy(update={"launch": LAUNCHED.launch.model_copy(update=changes)})
    return _pool(workers=(URL, changed))


def _alice(**changes: object) -> Config:
    return _with(tenants=(ALICE.model_copy(update=changes),))


WEBHOOK = Webhook(url="https://h/path", secret=b"secret")
LIVE = [
    (_with(pools=(POOL, Pool(model="m", engine_model="m"))), "pool m added"),
    (_with(pools=()), "pool tiny removed"),
    (_alice(weight=2.5), "tenant alice: weight: 1 -> 2.5"),
    (_alice(limits=Limits(max_in_flight=4)), "tenant alice: limits.max_in_flight: none -> 4"),
    (_alice(models=("tiny", "a")), "tenant alice: models: [*] -> [a, tiny]"),
    (_alice(strict=True), "tenant alice: strict: false -> true"),
    (_alice(allow=frozenset({"echo"})), "tenant alice: allow: [] -> [echo]"),
    (_alice(keys=()), "tenant alice: key key1 removed"),
    (_alice(keys=(KEY, ResolvedKey(id="new", digest=b"2"))), "tenant alice: key new added"),
    (_alice(keys=(ResolvedKey(id="key1", digest=b"2"),)), "tenant alice: key key1 replaced"),
    (_alice(keys=(KEY.model_copy(update={"disabled": True}),)), "tenant alice: key key1 disabled"),
    (_with(tenants=(ALICE, Tenant(name="bob"))), "tenant bob added"),
    (_with(tenants=()), "tenant alice removed"),
    (_with(admin=Admin(digest=b"x")), "admin.key changed"),
    (_with(anonymous=Anonymous(tenant="alice")), "anonymous.tenant: none -> alice"),
    (_with(scheduler=Scheduler(max_queued=5)), "scheduler.max_queued: 10000 -> 5"),
    (_pool(aliases=("small",)), "pool tiny: aliases: [] -> [small]"),
    (_pool(window=Window(sequences=32)), "pool tiny: window.sequences: auto -> 32"),
    (_pool(timeouts=Timeouts(connect_seconds=3)), "pool tiny: timeouts.connect_seconds: 2 -> 3"),
    (_pool(workers=(LAUNCHED,)), "pool tiny: worker gpu1:8000 removed"),
    (_pool(workers=(URL, LAUNCHED, Worker(name="n", url="http://n:1"))), "pool tiny: worker n added"),
    (_worker(url="http://gpu2:8000"), "pool tiny: worker gpu1:8000: url: http://gpu1:8000 -> http://gpu2:8000"),
    (_worker(api_key=SecretStr("second")), "pool tiny: worker gpu1:8000: api_key: (secret) -> (secret)"),
    (_pool(workers=(URL,)), "pool tiny: worker w1 removed"),
    (_launch(profile="instant"), "pool tiny: worker w1: launch.profile: cpu-tiny -> instant"),
    (_launch(gpus=0.5), "pool tiny: worker w1: launch.gpus: 1 -> 0.5"),
    (
        _launch(environment=(SecretStr("A=c"),)),
        "pool tiny: worker w1: launch.environment: [(secret)] -> [(secret)]",
    ),
    (_worker(window=Window(slack=2)), "pool tiny: worker gpu1:8000: window.slack: 1 -> 2"),
]

RESTART = [
    (_with(listen=Listen(port=9000)), "listen.port: 8000 -> 9000"),
    (_with(scheduler=Scheduler(policy=PolicySpec(PolicyName.RPM, 3))), "scheduler.policy: vtc -> rpm:3"),
    (_with(metrics=Metrics(enabled=False)), "metrics.enabled: true -> false"),
    (_with(logs=Logs(level=LogLevel.DEBUG)), "logs.level: info -> debug"),
    (_pool(cost=LinearCost(output_weight=4)), "pool tiny: cost.output_weight: 2 -> 4"),
    (_with(processes=4), "processes: 1 -> 4"),
    (_with(processes="auto"), "processes: 1 -> auto"),
    (_with(replicas=FLEET), "replicas added"),
    (_with(webhook=WEBHOOK), "webhook added"),
]


def test_nothing_changed() -> None:
    """Equal configurations have an empty difference."""
    found = difference(OLD, OLD.model_copy(deep=True))
    assert found == Difference((), ())
    assert found.is_empty


@pytest.mark.parametrize(("new", "words"), LIVE, ids=[words for _, words in LIVE])
def test_live_changes(new: Config, words: str) -> None:
    """A live change is said in words, and the gateway takes it."""
    assert difference(OLD, new) == Difference((words,), ())
    assert difference(OLD, in_force(OLD, new)) == Difference((words,), ())


@pytest.mark.parametrize(("new", "words"), RESTART, ids=[words for _, words in RESTART])
def test_changes_that_wait_for_a_start(new: Config, words: str) -> None:
    """The difference names what the running gateway cannot take, and that stays as it was."""
    assert difference(OLD, new) == Difference((), (words,))
    assert difference(OLD, in_force(OLD, new)).is_empty


@pytest.mark.parametrize("changes", [{"url": "https://h/other"}, {"secret": b"another"}])
def test_a_webhook_stays_until_the_next_start(changes: dict[str, object]) -> None:
    """Neither its secret nor its address is shown, for the path may be a secret too."""
    old = _with(webhook=WEBHOOK)
    new = old.model_copy(update={"webhook": WEBHOOK.model_copy(update=changes)})
    assert difference(old, new) == Difference((), (f"webhook.{next(iter(changes))}: changed",))
    assert in_force(old, new) == old


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"store": "redis://other:6379"}, "replicas.store: redis://store:6379 -> redis://other:6379"),
        ({"password": "second"}, "replicas.password: changed"),
        ({"ca_file": Path("/ca.pem")}, "replicas.ca_file: none -> /ca.pem"),
        ({"without_store": WithoutStore.REFUSE}, "replicas.without_store: continue -> refuse"),
        (None, "replicas removed"),
    ],
)
def test_a_fleet_stays_until_the_next_start(changes: dict[str, object] | None, words: str) -> None:
    """Nothing of `replicas` can be taken over, and no secret is shown."""
    old = _with(replicas=FLEET)
    new = old.model_copy(update={"replicas": None if changes is None else FLEET.model_copy(update=changes)})
    assert difference(old, new) == Difference((), (words,))
    assert in_force(old, new) == old


def test_the_address_of_a_database_is_never_shown() -> None:
    """It holds a password; all of the ledger waits for the next start."""
    old = _with(ledger=Ledger(folder=Path("/l"), postgres=Postgres(url="postgresql://a:hidden@db/x")))
    new = _with(ledger=Ledger(folder=Path("/l"), postgres=Postgres(url="postgresql://a:second@db/x")))
    assert difference(old, new) == Difference((), ("ledger.postgres: changed",))
    assert "hidden" not in repr(old)


def test_budgets_wait_for_a_ledger() -> None:
    """A gateway that keeps none could not count them; one that keeps one takes them over at once."""
    tenant = OLD.tenants[0].model_copy(update={"budgets": (BudgetEntry(amount=5),)})
    new = OLD.model_copy(update={"tenants": (tenant, *OLD.tenants[1:])})
    without, kept = OLD.model_copy(update={"ledger": None}), OLD.model_copy(update={"ledger": Ledger(folder=Path("l"))})
    (words,) = difference(without, new.model_copy(update={"ledger": None})).needs_restart
    assert words.startswith(f"tenant {tenant.name}: budgets: [] -> [(amount 5")
    assert in_force(without, new) == without
    assert difference(kept, new.model_copy(update={"ledger": kept.ledger})) == Difference((words,), ())
    assert in_force(kept, new).tenants == new.tenants


def test_both_kinds_at_once() -> None:
    """Of two changes the live one is in force and the other is still due against the new file."""
    new = _with(listen=Listen(port=9000), tenants=(ALICE.model_copy(update={"weight": 3.0}),))
    found = difference(OLD, new)
    assert (len(found.changes), len(found.needs_restart)) == (1, 1)
    running = in_force(OLD, new)
    assert difference(OLD, running).changes == found.changes
    assert difference(running, new) == Difference((), found.needs_restart)


def test_a_launched_worker_becomes_one_by_url() -> None:
    """A worker that changes its kind under its name is said in both of its keys."""
    new = _pool(workers=(URL, Worker(name="w1", url="http://h:1")))
    found = difference(OLD, new)
    assert found.needs_restart == ()
    url, launch = found.changes
    assert url == "pool tiny: worker w1: url: none -> http://h:1"
    assert launch.startswith("pool tiny: worker w1: launch: (engine embedded") and launch.endswith("-> none")
    assert "A=b" not in launch
