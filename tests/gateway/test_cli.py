"""The command line: what it takes, what it says to a wrong one, and that its page cannot drift."""

import re
from pathlib import Path

import pytest
import yaml
from command_pages import PROGRAMS, commands, section
from typer.testing import CliRunner

from gateway import __version__
from gateway.compilation import IS_COMPILED
from gateway.config import KeyFormat, digest
from gateway.config.schema import ConfigFile

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text("utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMANDS = dict(commands())
OPTIONS = {name: {option for param in command.params for option in param.opts} for name, command in COMMANDS.items()}
# With or without a prompt and a folder; not the greeting that `serve` prints.
MENTION = re.compile(r"(?:\$ )?(?:\S*/)?(vtc-(?:gateway|backend)\b(?! serves at )[^#|&]*)")
POOL = "pools: [{model: tiny, workers: [{url: 'http://gpu1:8000'}]}]\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_described_as_its_help_says(name: str) -> None:
    """The section of a command holds its arguments, options, defaults and their help, word for word."""
    assert section(name, COMMANDS[name]) in f"{PAGE}\n"


def test_the_page_has_no_other_command() -> None:
    """Sections of commands that are gone are gone."""
    headings = re.findall(r"^## `(vtc-.*)`$", PAGE, re.MULTILINE)
    assert len(headings) == len(COMMANDS)


def _mentions(page: Path) -> list[str]:
    """Every command line of our programs in the page's code, without comments."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", text)
    lines = [*"\n".join(blocks).replace("\\\n", " ").splitlines(), *spans]
    found = [MENTION.match(line.strip()) for line in lines]
    return [match[1] for match in found if match]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_mention_commands_and_options_that_exist(page: Path) -> None:
    """Wherever a page writes a command, its name and its options are real."""
    for mention in _mentions(page):
        words = mention.partition(" -- ")[0].split()
        given = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        name = max((name for name in COMMANDS if words[: len(name.split())] == name.split()), key=len, default="")
        known = OPTIONS.get(name, {"--version"}) | {"--help"}
        assert given <= known, f"{mention}: no such option"
        assert name or len(words) == 1 + len(given) or any(each.startswith(" ".join(words)) for each in COMMANDS), (
            mention
        )


def _blocks(page: Path) -> list[str]:
    return re.findall(r"^```ya?ml\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


# Workloads have tenants too; the example there is held to their own schema by its own test.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "workloads.md"], ids=lambda page: page.name)
def test_pages_show_configuration_keys_that_exist(page: Path) -> None:
    """The top-level keys of every YAML example are the configuration's."""
    for block in _blocks(page):
        shown = yaml.safe_load(block)
        if isinstance(shown, dict) and shown.keys() & ConfigFile.model_fields.keys():
            assert shown.keys() <= ConfigFile.model_fields.keys(), f"{page.name}: {block}"


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(PROGRAMS["vtc-gateway"], arguments, catch_exceptions=False)
    return result.exit_code, result.output


def test_the_version_is_printed() -> None:
    """`--version` prints and ends."""
    assert _run("--version") == (0, f"vtc-gateway {__version__}{' (compiled)' if IS_COMPILED else ''}\n")


@pytest.mark.parametrize("name", sorted(name for name in COMMANDS if name.startswith("vtc-gateway")))
def test_every_command_has_help(name: str) -> None:
    """`--help` ends with 0 and names every option."""
    status, output = _run(*name.split()[1:], "--help")
    assert status == 0
    folded = "".join(output.split())
    assert all(option[:20] in folded for option in OPTIONS[name])


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--prot", "1"),
        ("serve", "--port", "many"),
        ("check",),
        ("keys", "create"),
        ("demo", "--policy", "nonsense"),
        ("bench", "fairness", "--engine", "nonsense"),
        ("bench", "isolation", "--policy", "nonsense"),
        ("nonsense",),
    ],
)
def test_a_wrong_command_line_is_2(arguments: tuple[str, ...]) -> None:
    """It is told in words, without a traceback."""
    status, output = _run(*arguments)
    assert status == 2
    assert "Traceback" not in output and output


def test_check_tells_right_from_wrong(tmp_path: Path) -> None:
    """0 for a right file, 1 with the fault's line for a wrong one."""
    right, wrong = tmp_path / "right.yaml", tmp_path / "wrong.yaml"
    right.write_text(f"{POOL}tenants: [{{name: a}}]")
    wrong.write_text(f"{POOL}tenants: [{{name: a, wieght: 1}}]")
    assert _run("check", str(right))[0] == 0
    status, output = _run("check", str(right), str(wrong))
    assert status == 1 and f"{wrong}:2" in output.replace("\n", "") and "weight" in output


def test_check_warns_of_processes_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes need a store; a machine without one is named, but not where the machine does not count."""
    file = tmp_path / "config.yaml"
    file.write_text(f"processes: 2\n{POOL}tenants: [{{name: a}}]")
    monkeypatch.setenv("PATH", str(tmp_path))
    status, output = _run("check", str(file))
    assert status == 0 and "valkey-server" in output
    assert "valkey-server" not in _run("check", "--no-environment", str(file))[1]


def test_a_made_key_is_printed_with_its_digest() -> None:
    """What is printed for the client hashes to what is printed for the configuration."""
    status, output = _run("keys", "create", "alice")
    assert status == 0
    key = next(word for word in output.split() if KeyFormat.matches(word))
    assert digest(key).hex() in output


def test_a_made_key_goes_to_a_file_of_its_own(tmp_path: Path) -> None:
    """Mode 0600, and never over one that exists."""
    file = tmp_path / "alice.key"
    assert _run("keys", "create", "alice", "--file", str(file))[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert _run("keys", "create", "alice", "--file", str(file))[0] == 1
