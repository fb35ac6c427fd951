"""`check` and `keys create`: what they print is what an operator can act on."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from gateway.cli import check, keys
from gateway.config import KeyFormat, digest, load
from gateway.config.keys import read_key_file

KEY = "{sha256: " + digest("x").hex() + "}"
POOL = "pools: [{model: tiny, workers: [{url: 'http://gpu1:8000'}]}]\n"


@pytest.fixture
def console() -> Console:
    """A console that keeps what is printed."""
    return Console(file=StringIO(), soft_wrap=True, width=200)


def _printed(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_right_file_is_summed_up(tmp_path: Path, console: Console) -> None:
    """A right file gives status 0 and one line."""
    file = tmp_path / "config.yaml"
    file.write_text(POOL + f"tenants: [{{name: a, keys: [{KEY}]}}]\n")
    assert check.check([file], console) == 0
    assert _printed(console) == f"{file}: valid (1 pool, 1 worker, 1 tenant)\n"


def test_a_fleet_is_summed_up(tmp_path: Path, console: Console) -> None:
    """The one line also says how many processes run, and with whom they share."""
    file = tmp_path / "config.yaml"
    file.write_text(POOL + f"tenants: [{{name: a, keys: [{KEY}]}}]\nprocesses: 4\nreplicas: {{store: redis://s}}\n")
    assert check.check([file], console) == 0
    assert _printed(console) == f"{file}: valid (1 pool, 1 worker, 1 tenant, 4 processes, fleet vtc-gateway)\n"


def test_every_file_is_checked(tmp_path: Path, console: Console) -> None:
    """A wrong file does not keep the next from being checked; the status tells of any."""
    wrong, right = tmp_path / "wrong.yaml", tmp_path / "right.yaml"
    wrong.write_text(POOL + "tenants: [{name: a, wieght: 1}]")
    right.write_text(POOL + f"tenants: [{{name: a, keys: [{KEY}]}}]")
    assert check.check([wrong, right], console) == 1
    assert _printed(console).splitlines() == [
        f"{wrong}:2: tenants[0].wieght: is not a known key",
        "    remedy: did you mean `weight`?",
        f"{wrong}: 1 fault",
        f"{right}: valid (1 pool, 1 worker, 1 tenant)",
    ]


def test_markup_in_a_file_is_printed_as_it_stands(tmp_path: Path, console: Console) -> None:
    """Square brackets of the file's own are not taken for styles."""
    file = tmp_path / "config.yaml"
    file.write_text(POOL + "tenants: [{name: '[red]a[/red]'}]")
    assert check.check([file], console) == 1
    assert "[red]a[/red]" in _printed(console)


def test_a_new_key_is_shown_with_its_digest(tmp_path: Path, console: Console) -> None:
    """The key and the lines to paste belong together: the pasted configuration knows the key."""
    assert keys.create("alice", None, console) == 0
    printed = _printed(console)
    key = re.search(r"vtc-\S+", printed)
    assert key and KeyFormat.matches(key[0])
    file = tmp_path / "config.yaml"
    pasted = printed[printed.index("  keys:") :]
    file.write_text(POOL + "tenants:\n- name: alice\n" + pasted)
    assert load(file, {}).config.tenants[0].keys[0].digest == digest(key[0])


def test_the_admins_key_goes_to_its_place(tmp_path: Path, console: Console) -> None:
    """The lines to paste are those of `admin` and not of a tenant."""
    assert keys.create("admin", None, console) == 0
    printed = _printed(console)
    file = tmp_path / "config.yaml"
    file.write_text(POOL + "tenants: [{name: a}]\n" + printed[printed.index("admin:\n") :])
    key = re.search(r"vtc-\S+", printed)
    assert key and load(file, {}).config.admin.digest == digest(key[0])
    assert "tenant" not in printed


def test_warnings_are_printed_and_change_nothing(tmp_path: Path, console: Console) -> None:
    """The status is 0; each warning has its line and remedy, and the last line counts them."""
    file = tmp_path / "config.yaml"
    file.write_text(POOL + "tenants:\n  - name: a\n    keys: []\n")
    assert check.check([file], console) == 0
    first, remedy, last = _printed(console).splitlines()
    assert first.startswith(f"warning: {file}:4: tenants[0].keys: has no key")
    assert remedy.startswith("    remedy: ") and last.endswith("1 tenant, 1 warning)")


def test_a_file_for_another_machine_can_be_checked(tmp_path: Path, console: Console) -> None:
    """Without its variables and key files only what they cannot explain is a fault."""
    file = tmp_path / "config.yaml"
    text = """\
listen: {host: "${HOST}", port: "${PORT}"}
pools:
  - model: ${MODEL}
    max_model_len: ${LENGTH}
    workers: [{url: "${WORKER}", api_key: {env: WORKER_KEY}}]
tenants:
  - {name: a, models: [llama], keys: [{file: /run/secrets/a.key}, {sha256: "${DIGEST}"}]}
admin: {key: {env: ADMIN_KEY}}
"""
    file.write_text(text)
    assert check.check([file], console) == 1
    assert check.check([file], console, has_environment=False) == 0
    file.write_text(text + "logs: {levle: debug}\n")
    assert check.check([file], console, has_environment=False) == 1
    assert _printed(console).splitlines()[-3].endswith("logs.levle: is not a known key")


def test_a_new_key_can_go_to_a_file(tmp_path: Path, console: Console) -> None:
    """With a file the key is written there, privately, and never over an older one."""
    file = tmp_path / "keys" / "alice.key"
    assert keys.create("alice", file, console) == 0
    key = read_key_file(file)
    assert key in _printed(console)
    assert f"- file: {file}" in _printed(console)
    assert keys.create("alice", file, console) == 1
    assert read_key_file(file) == key
    assert "exists already" in _printed(console)


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, console: Console) -> None:
    """The command ends with a reason if the folder is a file."""
    (tmp_path / "keys").write_text("")
    assert keys.create("alice", tmp_path / "keys" / "a.key", console) == 1
    assert "cannot be written" in _printed(console)


@pytest.mark.parametrize("tenant", ["", "_other", "a b", "x" * 65, "a\n"])
def test_a_wrong_tenant_name_gets_no_key(tenant: str, console: Console) -> None:
    """A name that the configuration would refuse is refused here."""
    assert keys.create(tenant, None, console) == 2
    assert "vtc-" not in _printed(console)
