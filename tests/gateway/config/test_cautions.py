"""`check` warns, with the line, of settings that are valid and probably a mistake, and of no others."""

from pathlib import Path

import pytest

from gateway.config import KeyFormat, digest, load

POOL = "pools: [{model: tiny, workers: [{url: 'http://gpu1:8000'}]}]\n"
REAL = digest("x").hex()
TENANT = f"tenants: [{{name: a, keys: [{{sha256: {REAL}}}]}}]\n"
OPEN = "listen: {host: 0.0.0.0}\n"
NOBODY = "anonymous: {enabled: true, tenant: a}\n"


def warnings(folder: Path, text: str) -> list[str]:
    """The places that get a warning."""
    path = folder / "config.yaml"
    path.write_text(text)
    return [warning.path for warning in load(path, {}).warnings]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (TENANT, []),
        ("tenants: [{name: a}]\n", ["tenants[0].keys"]),
        ("tenants: [{name: a, keys: []}]\n", ["tenants[0].keys"]),
        ("tenants: [{name: a}]\n" + NOBODY, []),
        (TENANT.replace("name: a,", "name: a, models: [],"), ["tenants[0].models"]),
        ("tenant_defaults: {models: []}\n" + TENANT, ["tenant_defaults.models"]),
        (TENANT.replace(REAL, '"' + "0" * 63 + '1"'), ["tenants[0].keys[0].sha256"]),
        (TENANT.replace(REAL, "f" * 64), ["tenants[0].keys[0].sha256"]),
        (TENANT.replace(REAL, digest("").hex()), ["tenants[0].keys[0].sha256"]),
        (TENANT + "admin: {key: {sha256: " + '"' + "0" * 64 + '"' + "}}\n", ["admin.key.sha256"]),
        (OPEN + TENANT, []),
        (OPEN + TENANT + NOBODY, ["anonymous.enabled"]),
        ("listen: {host: '::'}\n" + TENANT + NOBODY, ["anonymous.enabled"]),
        ("listen: {host: gateway.example}\n" + TENANT + NOBODY, ["anonymous.enabled"]),
        ("listen: {host: localhost}\n" + TENANT + NOBODY, []),
        (OPEN + TENANT + "anonymous: {enabled: false, tenant: a}\n", []),
        (TENANT + "replicas: {store: redis://s, name: a}\n", []),
        (TENANT + "replicas: {store: redis://s}\nlisten: {port: 0}\n", []),
        (TENANT + "replicas: {store: redis://s, name: a}\nlisten: {port: 0}\n", ["replicas.name"]),
    ],
)
def test_cautions(tmp_path: Path, text: str, places: list[str]) -> None:
    """Each caution is reported at its place, and no other."""
    assert warnings(tmp_path, POOL + text) == places


def test_a_fleet_with_launched_workers_is_warned_of(tmp_path: Path) -> None:
    """Several processes may share launched workers, because one parent starts them; several gateways may not."""
    launched = "pools: [{model: tiny, workers: [{launch: {engine: embedded}}]}]\n" + TENANT
    assert warnings(tmp_path, launched + "processes: 2\n") == []
    assert warnings(tmp_path, launched + "replicas: {store: redis://s}\n") == ["pools[0].workers[0].launch"]


@pytest.mark.parametrize(
    ("url", "more", "is_warned"),
    [
        ("postgresql://a:b@db.example/ledger", "", True),
        ("postgresql://a:b@db.example/ledger?sslmode=require", "", True),
        ("postgresql://a:b@db.example/ledger?sslmode=verify-full", "", False),
        ("postgresql://a:b@db.example/ledger", ", ca_file: ca.pem", False),
        ("postgresql://a:b@localhost/ledger", "", False),
        ("postgresql://a:b@127.0.0.1:5433/ledger", "", False),
        ("postgresql:///ledger?host=/run/postgresql", "", False),
    ],
)
def test_a_database_that_need_not_prove_who_it_is(tmp_path: Path, url: str, more: str, is_warned: bool) -> None:
    """Over a network its certificate is to be verified."""
    (tmp_path / "ca.pem").write_text("")
    path = tmp_path / "config.yaml"
    path.write_text(POOL + TENANT + "ledger: {postgres: {url_env: URL%s}}\n" % more)  # noqa: UP031
    warned = [(warning.path, "db.example" in str(warning)) for warning in load(path, {"URL": url}).warnings]
    assert warned == [("ledger.postgres.url_env", False)] * is_warned


def test_a_key_file_that_everybody_may_read_is_warned_of(tmp_path: Path) -> None:
    """The key is in force; the remedy takes the right away."""
    file = tmp_path / "a.key"
    file.write_text(KeyFormat.create())
    file.chmod(0o644)
    assert warnings(tmp_path, POOL + "tenants: [{name: a, keys: [{file: a.key}]}]\n") == ["tenants[0].keys[0].file"]
    (warning,) = load(tmp_path / "config.yaml", {}).warnings
    assert warning.remedy == f"chmod o-r {file}" and warning.line == 2
