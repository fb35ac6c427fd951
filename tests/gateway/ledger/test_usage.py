"""`vtc-gateway usage`: tables, JSON and CSV, and words for what is wrong."""

import csv
import io
import json
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import apsw
import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.ledger.file import Batch, LedgerFile
from gateway.ledger.report import quarter_of, read_moment
from gateway.wire.end_user import pseudonym

from .books import content, row

CONFIG = """\
pools: [{model: tiny, workers: [{url: "http://127.0.0.1:1"}]}]
tenants: [{name: alice, keys: [{env: A_KEY_THAT_IS_NOT_SET}]}]
ledger: {currency: EUR}
"""
SINCE = ("--since", "2026-05-28", "--until", "2026-05-30")


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    (tmp_path / "ledger").mkdir()
    file = LedgerFile(tmp_path / "ledger" / "8000.sqlite")
    user = pseudonym("erika")
    file.write(1, Batch([row("r1", end_user=user), row("r2", tenant="bob"), row("r3", granted=1_780_012_800.0)]))
    file.close()
    return str(path)


def run(*arguments: str) -> tuple[int, str]:
    """Exit status and what was printed."""
    result = CliRunner().invoke(app, ["usage", *arguments], env={"COLUMNS": "40"})
    return result.exit_code, result.output


def test_json_has_every_figure(config: str) -> None:
    """By tenant and day of the zone: in Kolkata the third request is of the next day."""
    status, out = run("report", config, "--json", "--per", "day", "--zone", "Asia/Kolkata", *SINCE)
    assert status == 0
    lines = json.loads(out)
    assert [(line["period"], line["tenant"], line["requests"]) for line in lines] == [
        ("2026-05-29", "alice", 2),
        ("2026-05-29", "bob", 1),
    ]
    assert lines[1] == {
        "period": "2026-05-29",
        "tenant": "bob",
        "requests": 1,
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "output_tokens": 50,
        "estimated_tokens": 0,
        "lost_prompt_tokens": 0,
        "lost_output_tokens": 0,
        "cost": 200.0,
        "worker_seconds": 0.75,
        "money": 0.000884,
        "prompt_money": 0.00003,
        "cached_money": 0.000004,
        "output_money": 0.0001,
    }


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-10-25", [4] * 25),
        ("Europe/Berlin", "2026-03-29", [4] * 23),
        ("Asia/Kathmandu", "2026-10-25", [4] * 24),
        ("America/St_Johns", "2026-11-01", [4] * 25),
        ("Australia/Lord_Howe", "2026-10-04", [4, 4, 2] + [4] * 21),
    ],
)
@pytest.mark.parametrize("by", ["tenant", "tenant,outcome"], ids=["sums", "rows"])
def test_a_day_has_its_hours(config: str, zone: str, day: str, hours: list[int], by: str) -> None:
    """One line for each, in their order, and the line of the day has them all; from sums and from rows."""
    first = quarter_of(read_moment(day, ZoneInfo(zone)))
    file = LedgerFile(Path(config).parent / "ledger" / "8000.sqlite")
    around = range(first - 4, first + sum(hours) + 4)
    file.write(2, Batch([row(f"q{quarter}", granted=900.0 * quarter) for quarter in around]))
    file.close()
    until = f"{date.fromisoformat(day) + timedelta(days=1)}"
    options = ("--json", "--zone", zone, "--since", day, "--until", until, "--by", by)
    lines = json.loads(run("report", config, "--per", "hour", *options)[1])
    moments = [datetime.fromisoformat(line["period"]) for line in lines]
    assert moments == sorted(moments)
    assert [line["requests"] for line in lines] == hours
    (line,) = json.loads(run("report", config, "--per", "day", *options)[1])
    assert (line["period"], line["requests"]) == (day, sum(hours))


def test_csv_has_the_same(config: str) -> None:
    """With a head, by several names."""
    status, out = run("report", config, "--csv", "--by", "tenant,model", *SINCE)
    assert status == 0
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [(line["tenant"], line["model"], line["requests"], line["worker_seconds"]) for line in lines] == [
        ("alice", "tiny", "2", "1.5"),
        ("bob", "tiny", "1", "0.75"),
    ]


def test_the_table_is_for_people(config: str) -> None:
    """Money has its currency; what is zero everywhere is left out; nothing is cut, however narrow the terminal is."""
    status, out = run("report", config, *SINCE)
    head, alice, bob = (line.split() for line in out.splitlines())
    assert status == 0
    assert head == ["tenant", "requests", "prompt", "cached", "output", "cost", "units", "worker", "s", "EUR"]
    assert alice == ["alice", "2", "200", "80", "100", "400", "1.5", "0.00"]
    assert bob == ["bob", "1", "100", "40", "50", "200", "0.8", "0.00"]


@pytest.mark.parametrize("named", ["erika", pseudonym("erika")], ids=["name", "pseudonym"])
@pytest.mark.parametrize("kept", ["erika", pseudonym("erika")], ids=["plain", "hashed"])
def test_an_end_user_is_forgotten(config: str, named: str, kept: str) -> None:
    """By name or by pseudonym, whichever of them its rows have; the sums stay."""
    file = Path(config).parent / "ledger" / "8000.sqlite"
    with apsw.Connection(str(file)) as connection:
        connection.execute("UPDATE requests SET end_user = ? WHERE request_id = 'r1'", (kept,))
    before = run("report", config, "--csv", *SINCE)
    assert run("forget", "--end-user", named, config) == (0, "1 row had this end user and no longer do\n")
    assert run("report", config, "--csv", *SINCE) == before
    assert content(file, "SELECT count(*) FROM requests WHERE end_user = ''") == [(1,)]


def test_copies_are_named(config: str, tmp_path: Path) -> None:
    """A second copy to the same place is refused."""
    status, out = run("backup", str(tmp_path / "copy"), config)
    assert (status, out) == (0, f"{tmp_path / 'copy' / '8000.sqlite'}\n")
    assert run("backup", str(tmp_path / "copy"), config)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--zone", "Mars/Olympus"), "is no time zone"),
        (("--since", "yesterday"), "--since: yesterday"),
        (("--until", "2026-05-28T14:16"), "quarter of an hour"),
    ],
)
def test_what_is_wrong_is_said(config: str, arguments: tuple[str, ...], words: str) -> None:
    """On standard error, with status 1."""
    status, out = run("report", config, *arguments)
    assert status == 1
    assert words in out


def test_without_a_ledger_there_is_no_report(tmp_path: Path) -> None:
    """A configuration that keeps none, and one whose gateway has not started."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("ledger: {currency: EUR}", ""))
    assert "keeps no ledger" in run("report", str(path))[1]
    path.write_text(CONFIG)
    assert "has no ledger" in run("report", str(path))[1]
    assert run("report", str(path), "--by", "planet")[0] == 2
