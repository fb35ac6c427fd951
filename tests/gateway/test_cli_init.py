"""`vtc-gateway init`: from an empty folder to a gateway that would start, and nothing that is there is lost."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.config import KeyFormat, load

ROOT = Path(__file__).parents[2]
TENANTS = ["search", "chat", "batch"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the one that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return result.exit_code, " ".join(result.output.split())


def test_the_file_is_valid_where_it_was_written(folder: Path) -> None:
    """`init && check config.yaml` passes in an empty folder without a warning, and every tenant has a key file."""
    assert _run("init")[0] == 0
    assert _run("check", "config.yaml") == (0, "config.yaml: valid (1 pool, 2 workers, 3 tenants)")
    assert sorted(path.stem for path in (folder / ".keys").iterdir()) == sorted(TENANTS)
    for path in (folder / ".keys").iterdir():
        assert KeyFormat.matches(path.read_text().strip())
        assert path.stat().st_mode & 0o777 == 0o600


def test_it_says_what_comes_next_and_no_key(folder: Path) -> None:
    """The commands that follow are printed with the file's name; keys stay in their files."""
    status, output = _run("init", "gateway.yaml")
    assert status == 0 and (folder / "gateway.yaml").exists()
    assert "vtc-gateway check gateway.yaml" in output and "vtc-gateway serve gateway.yaml --create-keys" in output
    assert not any(path.read_text().strip() in output for path in (folder / ".keys").iterdir())


def test_a_configuration_that_exists_stays(folder: Path) -> None:
    """A file, an empty one and a link to nowhere are left as they are, and the remedy is named."""
    (folder / "config.yaml").write_text("mine")
    (folder / "empty.yaml").touch()
    (folder / "link.yaml").symlink_to("nowhere.yaml")
    for name in ("config.yaml", "empty.yaml", "link.yaml"):
        status, output = _run("init", name)
        assert status == 1 and output == f"{name} exists already and was left as it is; --force replaces it"
    assert (folder / "config.yaml").read_text() == "mine"
    assert (folder / "empty.yaml").read_text() == ""
    assert not (folder / "nowhere.yaml").exists() and not (folder / ".keys").exists()


def test_force_replaces_the_configuration_and_no_key(folder: Path) -> None:
    """Clients that have a key keep it."""
    assert _run("init")[0] == 0
    before = {path: path.read_text() for path in (folder / ".keys").iterdir()}
    (folder / "config.yaml").write_text("mine")
    assert _run("init", "--force")[0] == 0
    assert [tenant.name for tenant in load(folder / "config.yaml", {}).config.tenants] == TENANTS
    assert {path: path.read_text() for path in (folder / ".keys").iterdir()} == before


@pytest.mark.parametrize("name", ["missing/config.yaml", "folder"])
def test_a_place_that_cannot_be_written_is_reported(folder: Path, name: str) -> None:
    """A folder that is not there and a name that is a folder's end in a sentence, not a traceback."""
    (folder / "folder").mkdir()
    status, output = _run("init", name, "--force")
    assert status == 1
    assert output.startswith(f"{name} cannot be written: ")
    assert output.endswith("name a file in a folder that exists and that you may write")


def test_what_the_environment_makes_wrong_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that the file uses is checked where it is written."""
    monkeypatch.setenv("VTC_PORT", "many")
    status, output = _run("init")
    line = (folder / "config.yaml").read_text().partition("VTC_PORT")[0].count("\n") + 1
    assert status == 1 and output.startswith(f"config.yaml:{line}: listen.port: must be a whole number, not `many`")


def test_the_repositorys_own_configuration_is_the_starter(folder: Path) -> None:
    """`config.yaml` is what `init` writes, below a line for editors (`make schema` writes it)."""
    assert _run("init")[0] == 0
    line = "# yaml-language-server: $schema=docs/config.schema.json\n#\n"
    assert (ROOT / "config.yaml").read_text() == line + (folder / "config.yaml").read_text()
