"""Ten and more broken files: each fault is reported, all at once, with its line and its remedy."""

import re
from pathlib import Path

import pytest
from rich.console import Console

from gateway.cli.check import check
from gateway.config import ConfigError, Fault, KeyFormat, load, write_key_file

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
_EXPECTED = re.compile(r"#!! (?P<path>\S+) \| (?P<message>.*?) \| (?P<remedy>.*?)\s*$")


def _expected(file: Path) -> list[tuple[int, str, str, str]]:
    found = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if match := _EXPECTED.search(line):
            path = "" if match["path"] == "-" else match["path"]
            found.append((number, path, match["message"], match["remedy"]))
    return found


def _lay_out_keys(folder: Path) -> None:
    for name in ("good.key", "open.key"):
        write_key_file(folder / name, KeyFormat.create())
    (folder / "open.key").chmod(0o664)
    write_key_file(folder / "wrong.key", "sk-not-ours")
    write_key_file(folder / "lines.key", "one\ntwo")
    (folder / "folder.key").mkdir()


def _faults(file: Path, folder: Path) -> tuple[Fault, ...]:
    _lay_out_keys(folder)
    copy = folder / "config.yaml"
    copy.write_text(file.read_text())
    with pytest.raises(ConfigError) as caught:
        load(copy, {"SET": "text"})
    return caught.value.faults


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: file.stem)
def test_every_fault_is_found_with_line_path_message_and_remedy(file: Path, tmp_path: Path) -> None:
    """The faults found are exactly those that the file's own comments announce."""
    faults, expected = _faults(file, tmp_path), _expected(file)
    found = sorted((fault.line, fault.path) for fault in faults)
    assert found == sorted((line, path) for line, path, _, _ in expected), "\n".join(map(str, faults))
    by_place = {(fault.line, fault.path): fault for fault in faults}
    for line, path, message, remedy in expected:
        assert message in by_place[line, path].message
        assert remedy in by_place[line, path].remedy


def test_there_are_ten() -> None:
    """The suite keeps at least ten broken files with a fault each."""
    assert len(BROKEN) >= 10
    assert all(_expected(file) for file in BROKEN)


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: file.stem)
def test_check_prints_file_line_and_remedy(file: Path) -> None:
    """The command prints every fault as `file:line:` with its remedy, and ends with status 1."""
    console = Console(record=True, width=400, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        assert check([file], console) == 1
        printed = console.export_text()
    for line, path, _, _ in _expected(file):
        assert f"{file}:{line}: {path}" in printed
    assert printed.count("remedy: ") >= len(_expected(file)) - 2


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    """No fault repeats a text that stands in the place of a key."""
    file = tmp_path / "config.yaml"
    file.write_text(
        "pools: [{model: m, workers: [{url: 'http://h:1', api_key: {value: [hunter2]}}]}]\n"
        "tenants: [{name: a, keys: [{sha256: hunter2}, {file: {x: hunter2}}, hunter2, {env: 'hunter 2'}]}]\n"
        "admin: {key: hunter2}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert "hunter" not in str(caught.value)
    assert len(caught.value.faults) == 6
