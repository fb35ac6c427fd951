"""A right file becomes one configuration: defaults merged, workers spelt out, keys as digests only."""

import shutil
from pathlib import Path

import pytest

from gateway.config import (
    ConfigError,
    ExpressionCost,
    KeyFormat,
    Launch,
    LaunchEngine,
    LinearCost,
    Loaded,
    PolicyName,
    PolicySpec,
    PredictorName,
    PredictorSpec,
    ProfiledCost,
    Replicas,
    ResolvedKey,
    Right,
    ShareBy,
    Webhook,
    Window,
    WithoutStore,
    digest,
    ensure_key_files,
    load,
    write_key_file,
)

SAMPLE = Path(__file__).parents[3] / "config.yaml"
POOL = "pools: [{model: tiny, aliases: [small], workers: [{url: 'http://gpu1:8000'}]}]\n"
TENANT = "tenants: [{name: alice}]\n"


def _load(folder: Path, text: str, **environ: str) -> Loaded:
    file = folder / "config.yaml"
    file.write_text(text)
    return load(file, environ)


def test_the_sample_works_after_its_keys_are_created(tmp_path: Path) -> None:
    """The shipped file loads once its key files exist, with two launched workers and three tenants."""
    file = tmp_path / "config.yaml"
    shutil.copy(SAMPLE, file)
    created = ensure_key_files(file, {})
    config = load(file, {}).config
    assert [key.tenant for key in created] == [tenant.name for tenant in config.tenants]
    assert [worker.launch for worker in config.pools[0].workers] == [Launch(engine=LaunchEngine.EMBEDDED)] * 2
    assert [worker.name for worker in config.pools[0].workers] == ["w0", "w1"]
    for made, tenant in zip(created, config.tenants, strict=True):
        assert made.file.parent == tmp_path / ".keys"
        assert tenant.keys[0].digest == digest(made.key)
        assert made.key not in repr(config)
    assert ensure_key_files(file, {}) == created


def test_the_sample_shows_the_defaults(tmp_path: Path) -> None:
    """The sample's sections say what leaving them out would do."""
    file = tmp_path / "config.yaml"
    shutil.copy(SAMPLE, file)
    ensure_key_files(file, {})
    sample, bare = load(file, {}).config, _load(tmp_path, POOL + TENANT).config
    for section in ("listen", "admin", "scheduler", "anonymous", "metrics", "logs"):
        assert getattr(sample, section) == getattr(bare, section)
    assert (sample.pools[0].cost, sample.pools[0].window) == (bare.pools[0].cost, bare.pools[0].window)


def test_missing_keys_are_not_created_for_a_wrong_file(tmp_path: Path) -> None:
    """A file with a fault gets no key files."""
    file = tmp_path / "config.yaml"
    file.write_text(POOL + "tenants: [{name: a, wieght: 1, keys: [{file: k/a.key}]}]")
    with pytest.raises(ConfigError):
        ensure_key_files(file, {})
    assert not (tmp_path / "k").exists()


def test_a_key_file_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    """A folder that is a file makes `ensure_key_files` say so."""
    file = tmp_path / "config.yaml"
    (tmp_path / "k").write_text("")
    file.write_text(POOL + "tenants: [{name: a, keys: [{file: k/a.key}]}]")
    with pytest.raises(ConfigError, match="cannot be written"):
        ensure_key_files(file, {})


def test_an_existing_key_file_is_kept_or_is_a_fault(tmp_path: Path) -> None:
    """A key that is there is handed out unchanged; one that others may write is a fault with its remedy."""
    file = tmp_path / "config.yaml"
    file.write_text(POOL + "tenants: [{name: a, keys: [{file: a.key}]}]")
    (made,) = ensure_key_files(file, {})
    assert ensure_key_files(file, {}) == [made]
    made.file.chmod(0o664)
    with pytest.raises(ConfigError, match="chmod go-w"):
        ensure_key_files(file, {})


def test_tenants_inherit_key_by_key(tmp_path: Path) -> None:
    """A tenant has the defaults but for what it says itself, limits one by one; null lifts a default cap."""
    config = _load(
        tmp_path,
        POOL
        + """
tenant_defaults:
  weight: 2
  allow: [echo]
  share_by: end_user
  limits: {max_in_flight: 8, max_queued: 50}
tenants:
  - name: a
  - {name: b, weight: 3, allow: [], limits: {max_in_flight: null, max_choices: 1}}
  - {name: c, models: [small], strict: true, share_by: key}
""",
    ).config
    a, b, c = config.tenants
    assert (a.weight, a.allow, a.share_by, a.models, a.strict) == (
        2,
        frozenset({Right.ECHO}),
        ShareBy.END_USER,
        ("*",),
        False,
    )
    assert (a.limits.max_in_flight, a.limits.max_queued, a.limits.max_choices) == (8, 50, 4)
    assert (b.weight, b.allow) == (3, frozenset())
    assert (b.limits.max_in_flight, b.limits.max_queued, b.limits.max_choices) == (None, 50, 1)
    assert (c.weight, c.strict, c.share_by, c.limits) == (2, True, ShareBy.KEY, a.limits)
    assert "echo" in a.allow
    assert all(tenant.may_use(config.pools[0]) for tenant in config.tenants)


def test_models_are_rights(tmp_path: Path) -> None:
    """A tenant may use the pools that it names, by model or alias, and no other."""
    config = _load(
        tmp_path,
        """
pools:
  - {model: one, aliases: [uno], workers: [{url: "http://h:1"}]}
  - {model: two, workers: [{url: "http://h:2"}]}
tenants: [{name: a, models: [uno]}, {name: b, models: []}]
""",
    ).config
    one, two = config.pools
    a, b = config.tenants
    assert [a.may_use(one), a.may_use(two), b.may_use(one)] == [True, False, False]
    assert config.tenant("b") is b
    assert config.tenant("c") is None


def test_workers_are_spelt_out(tmp_path: Path) -> None:
    """Each engine is one worker with a name, its own window, and the key that it asks for as a secret."""
    write_key_file(tmp_path / "w.key", "from-file")
    pool = _load(
        tmp_path,
        """
pools:
  - model: tiny
    engine_model: org/tiny
    window: {sequences: 8, prefill_tokens: 512}
    workers:
      - {url: "http://gpu1:8000", api_key: {value: "${SECRET:-from-value}"}, window: {sequences: 4}}
      - {url: "unix:///run/vllm.sock", api_key: {file: w.key}}
      - {launch: {engine: embedded, count: 2, environment: ["TOKEN=from-launch"]}}
      - {url: "http://gpu2:8000", name: big, api_key: {env: TOKEN}}
tenants: [{name: a}]
""",
        TOKEN="from-env",
    ).config.pools[0]
    assert pool.engine_model == "org/tiny"
    assert [worker.name for worker in pool.workers] == ["gpu1:8000", "w1", "w2", "w3", "big"]
    assert [worker.is_launched for worker in pool.workers] == [False, False, True, True, False]
    assert pool.workers[0].window == Window(sequences=4, prefill_tokens=512)
    assert pool.workers[1].window == pool.window == Window(sequences=8, prefill_tokens=512)
    keys = [worker.api_key.get_secret_value() if worker.api_key else None for worker in pool.workers]
    assert keys == ["from-value", "from-file", None, None, "from-env"]
    assert "from-" not in repr(pool)


def test_keys_become_digests(tmp_path: Path) -> None:
    """Keys by digest, variable and file are digests with an id; the key itself is nowhere."""
    first, second, third, admin = (KeyFormat.create() for _ in range(4))
    write_key_file(tmp_path / "keys" / "b.key", third)
    text = f"""
admin: {{key: {{env: ADMIN}}}}
tenants:
  - name: a
    keys: [{{sha256: "{digest(first).hex().upper()}"}}, {{env: KEY, id: laptop, disabled: true}}, {{file: keys/b.key}}]
"""
    loaded = _load(tmp_path, POOL + text, KEY=second, ADMIN=admin)
    assert loaded.config.tenants[0].keys == (
        ResolvedKey(id="key1", digest=digest(first)),
        ResolvedKey(id="laptop", digest=digest(second), disabled=True),
        ResolvedKey(id="key3", digest=digest(third)),
    )
    assert loaded.config.admin.digest == digest(admin)
    assert loaded.key_files == (tmp_path / "keys" / "b.key",)
    assert not [key for key in (first, second, third, admin) if key in repr(loaded)]


def test_a_fleet_has_its_store_and_its_secrets(tmp_path: Path) -> None:
    """The password comes from a variable or a file, files lie in the configuration's folder, and no secret is shown."""
    write_key_file(tmp_path / "store.password", "from-file")
    for name in ("ca.pem", "own.pem", "own.key"):
        (tmp_path / name).write_text("")
    fleet = """
processes: auto
replicas:
  store: rediss://store
  username: gateway
  password_file: store.password
  ca_file: ca.pem
  certificate_file: own.pem
  key_file: own.key
  fleet: test
  name: ${HOST}-a
  expected: 3
  lease_seconds: 4
  without_store: refuse
"""
    loaded = _load(tmp_path, POOL + TENANT + fleet, HOST="h")
    replicas = Replicas(
        store="rediss://store:6379",
        username="gateway",
        password="from-file",
        ca_file=tmp_path / "ca.pem",
        certificate_file=tmp_path / "own.pem",
        key_file=tmp_path / "own.key",
        fleet="test",
        name="h-a",
        expected=3,
        lease_seconds=4.0,
        without_store=WithoutStore.REFUSE,
    )
    assert (loaded.config.replicas, loaded.config.processes) == (replicas, "auto")
    assert loaded.key_files == (tmp_path / "store.password",)
    assert "from-file" not in repr(loaded)
    short = "replicas: {store: 'unix:///run/store.sock', password_env: P}"
    assert _load(tmp_path, POOL + TENANT + short, P="from-env").config.replicas == Replicas(
        store="unix:///run/store.sock", password="from-env"
    )


def test_how_long_a_ledger_keeps_what(tmp_path: Path) -> None:
    """Rows for 90 days; sums by quarter hour, and the rows of the database, for 760: unless the file says otherwise."""
    section = "ledger: {%s postgres: {url_env: URL%s}}\n"

    def kept(here: str, there: str) -> tuple[int, int, int]:
        ledger = _load(tmp_path, POOL + TENANT + section % (here, there), URL="postgresql:///ledger").config.ledger
        assert ledger is not None and ledger.postgres is not None
        return ledger.rows_days, ledger.quarters_days, ledger.postgres.rows_days

    assert kept("", "") == (90, 760, 760)
    assert kept("rows_days: 7, quarters_days: 30,", ", rows_days: 60") == (7, 30, 60)


SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
PLAIN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("text", [SECRET, PLAIN])
def test_a_webhook_has_its_secret(tmp_path: Path, text: str) -> None:
    """It comes from a variable or a file, in the form of Standard Webhooks or as it is, and is never shown."""
    write_key_file(tmp_path / "webhook.secret", text)
    for source in ("secret_file: webhook.secret", "secret_env: S"):
        loaded = _load(tmp_path, POOL + TENANT + f"webhook: {{url: 'https://h/path?x=1', {source}}}\n", S=text)
        assert loaded.config.webhook == Webhook(url="https://h/path?x=1", secret=PLAIN.encode())
        assert not any(each in repr(loaded) for each in (text, PLAIN, "path?x"))
    assert _load(tmp_path, POOL + TENANT + "webhook:\n").config.webhook is None


@pytest.mark.parametrize(
    ("webhook", "fault"),
    [
        ("{url: 'https://h'}", ("webhook", "give one of `secret_env`, `secret_file`")),
        ("{url: 'https://h', secret_env: S, secret_file: f}", ("webhook", "exactly one of `secret_env`")),
        ("{url: 'https://h', secret_file: absent}", ("webhook.secret_file", "openssl rand")),
        ("{url: 'https://h', secret_env: S}", ("webhook.secret_env", "openssl rand")),
        ("{url: 'https://h', secret_env: T}", ("webhook.secret_env", "openssl rand")),
        ("{url: 'ftp://h/private', secret_env: U}", ("webhook.url", "https://host/path")),
        ("{url: 'https://me:private@h', secret_env: U}", ("webhook.url", "by its signature")),
        ("{url: 'https:///private', secret_env: U}", ("webhook.url", "https://host/path")),
        ("{url: 'https://h:private/', secret_env: U}", ("webhook.url", "https://host/path")),
        ("{secret_env: U}", ("webhook.url", "Address")),
    ],
)
def test_a_webhook_that_cannot_be(tmp_path: Path, webhook: str, fault: tuple[str, str]) -> None:
    """Each fault is at its key, and no message repeats a part of the address."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, POOL + TENANT + f"webhook: {webhook}\n", S="short", T="whsec_none", U=PLAIN)
    (found,) = caught.value.faults
    assert (found.path, fault[1] in found.remedy) == (fault[0], True), found
    assert "private" not in str(caught.value)


@pytest.mark.parametrize("section", ["", "replicas:\n", "replicas:\n  # store: redis://127.0.0.1\n"])
def test_without_a_fleet_there_is_one_gateway(tmp_path: Path, section: str) -> None:
    """A section that is left out, or whose keys are all commented out, is no fleet."""
    config = _load(tmp_path, POOL + TENANT + section).config
    assert (config.replicas, config.processes) == (None, 1)


@pytest.mark.parametrize(
    ("fleet", "places"),
    [
        ("{store: redis://s, password_file: absent}", {"replicas.password_file": "with the password alone"}),
        ("{store: redis://s, password_file: two}", {"replicas.password_file": "the password alone in one line"}),
        ("{store: redis://s, password_file: two, password_env: P}", {"replicas": "exactly one of `password_env`"}),
        ("{store: rediss://s, certificate_file: two}", {"replicas.key_file": "add `key_file`"}),
        ("{store: rediss://s, key_file: two}", {"replicas.certificate_file": "add `certificate_file`"}),
        ("{store: redis://s, ca_file: two}", {"replicas.ca_file": "rediss://"}),
    ],
)
def test_a_fleet_that_cannot_reach_its_store(tmp_path: Path, fleet: str, places: dict[str, str]) -> None:
    """Each fault is at its key, and the remedy is one for a store."""
    write_key_file(tmp_path / "two", "two\nlines")
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, POOL + TENANT + f"replicas: {fleet}", P="x")
    assert [fault.path for fault in caught.value.faults] == list(places)
    assert all(places[fault.path] in fault.remedy for fault in caught.value.faults)


@pytest.mark.parametrize("policy", ["fcfs", "lcf", "rpm", "drr"])
@pytest.mark.parametrize("sharing", ["processes: 2", "processes: auto", "replicas: {store: redis://s}"])
def test_a_shared_account_has_one_policy(tmp_path: Path, policy: str, sharing: str) -> None:
    """The baselines are for one gateway with one process."""
    scheduler = f"scheduler: {{policy: {policy}}}\n"
    with pytest.raises(ConfigError, match=f"use `vtc`, or remove `{sharing.partition(':')[0]}`"):
        _load(tmp_path, POOL + TENANT + scheduler + sharing)
    _load(tmp_path, POOL + TENANT + scheduler + "processes: 1")


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("vtc", PolicySpec(PolicyName.VTC)),
        ("fcfs", PolicySpec(PolicyName.FCFS)),
        ("rpm", PolicySpec(PolicyName.RPM, 20)),
        ("rpm:7", PolicySpec(PolicyName.RPM, 7)),
        ("drr", PolicySpec(PolicyName.DRR, 512)),
        ("drr:64", PolicySpec(PolicyName.DRR, 64)),
    ],
)
def test_policies(tmp_path: Path, written: str, policy: PolicySpec) -> None:
    """A policy is a name with its parameter or the parameter's default."""
    scheduler = _load(
        tmp_path, f"scheduler: {{policy: '{written}', predictor: none}}\n" + POOL + TENANT
    ).config.scheduler
    assert scheduler.policy == policy
    assert scheduler.predictor == PredictorSpec(PredictorName.NONE)
    assert PolicySpec.parse(str(policy)) == policy


@pytest.mark.parametrize(
    ("written", "predictor"),
    [
        ("quantile", PredictorSpec(PredictorName.QUANTILE)),
        ("noisy_oracle", PredictorSpec(PredictorName.NOISY_ORACLE, 50)),
        ("noisy_oracle:20%", PredictorSpec(PredictorName.NOISY_ORACLE, 20)),
        ("noisy_oracle:100", PredictorSpec(PredictorName.NOISY_ORACLE, 100)),
    ],
)
def test_predictors(tmp_path: Path, written: str, predictor: PredictorSpec) -> None:
    """A predictor is a name; the noisy one has its error in percent, or the default."""
    scheduler = _load(tmp_path, f"scheduler: {{predictor: '{written}'}}\n" + POOL + TENANT).config.scheduler
    assert scheduler.predictor == predictor
    assert PredictorSpec.parse(str(predictor)) == predictor


@pytest.mark.parametrize("written", ["noisy_oracle:", "noisy_oracle:0%", "noisy_oracle:101%", "quantile:5", "median"])
def test_wrong_predictors(tmp_path: Path, written: str) -> None:
    """An error that is wrong, or that the predictor does not take, is a fault of the predictor."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, f"scheduler: {{predictor: '{written}'}}\n" + POOL + TENANT)
    assert [fault.path for fault in caught.value.faults] == ["scheduler.predictor"]


@pytest.mark.parametrize("written", ["rpm:", "rpm:0", "rpm:x", "rpm:1.5", "drr:99999999999", "vtc:1", "fcfs:", "rpm:²"])
def test_wrong_policies(tmp_path: Path, written: str) -> None:
    """A parameter that is wrong, or that the policy does not take, is a fault of the policy."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, f"scheduler: {{policy: '{written}'}}\n" + POOL + TENANT)
    assert [fault.path for fault in caught.value.faults] == ["scheduler.policy"]


def test_costs(tmp_path: Path) -> None:
    """`function` chooses the cost's keys and may be left out for `linear`."""
    config = _load(
        tmp_path,
        """
pools:
  - {model: a, cost: {output_weight: 3}, workers: [{url: "http://h:1"}]}
  - {model: b, cost: {function: profiled, e: 0}, workers: [{url: "http://h:2"}]}
  - {model: c, cost: {function: expression, expression: input + output}, workers: [{url: "http://h:3"}]}
  - {model: d, cost: , workers: [{url: "http://h:4"}]}
tenants: [{name: a}]
""",
    ).config
    assert [pool.cost for pool in config.pools] == [
        LinearCost(output_weight=3),
        ProfiledCost(function="profiled", e=0),
        ExpressionCost(function="expression", expression="input + output"),
        LinearCost(),
    ]


def test_empty_sections_are_defaults(tmp_path: Path) -> None:
    """A section whose keys are all commented out is as good as none."""
    text = "listen:\nadmin:\nscheduler:\nmetrics:\nlogs:\nanonymous:\ntenant_defaults:\n"
    assert _load(tmp_path, text + POOL + TENANT).config == _load(tmp_path, POOL + TENANT).config


def test_values_from_the_environment_have_their_keys_type(tmp_path: Path) -> None:
    """A variable becomes a number, a truth value or text as its key demands."""
    text = "listen: {port: '${PORT:-8000}', drain_seconds: '${DRAIN}', host: '${HOST}'}\n"
    text += "metrics:\n  enabled: ${M:-false}\n"
    config = _load(tmp_path, text + POOL + TENANT, DRAIN="1.5", HOST="0.0.0.0").config
    assert (config.listen.port, config.listen.drain_seconds, config.listen.host) == (8000, 1.5, "0.0.0.0")
    assert config.metrics.enabled is False


def test_anonymous_requests_run_as_a_tenant(tmp_path: Path) -> None:
    """The tenant counts only if anonymous access is enabled."""
    on = _load(tmp_path, POOL + TENANT + "anonymous: {enabled: true, tenant: alice}").config
    off = _load(tmp_path, POOL + TENANT + "anonymous: {tenant: alice}").config
    assert (on.anonymous.tenant, off.anonymous.tenant) == ("alice", None)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"a", b"[]", b"\x00", b"- x", b"pools:\ntenants:"])
def test_files_that_hold_no_configuration(tmp_path: Path, content: bytes | None) -> None:
    """A file that is missing, not text or not a mapping is a fault with a line."""
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert all(fault.line >= 1 and fault.message and fault.remedy for fault in caught.value.faults)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    """A folder in the file's place is a fault."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {})
