"""The lines of FOCUS 1.2: their columns, their sums and their hours."""

import csv
import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.ledger.file import Batch, LedgerFile
from gateway.ledger.focus import COLUMNS, Issuer, query_of, records
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.report import FIELDS, Query, lines, quarter_of, read_moment
from gateway.ledger.rows import QUARTER_US, Ended, Grant, Row, row_of

from .books import NOON, PRICES, finished, row

QUARTER = int(NOON * 1e6) // QUARTER_US
ISSUER = Issuer("ACME", "EUR")
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
_NUMBER = r"-?\d+(\.\d+)?"
# What the specification demands of a line of usage that corrects no other: the mandatory columns, "" for null.
MANDATORY = {
    "BilledCost": _NUMBER,
    "BillingAccountId": ".+",
    "BillingAccountName": ".*",
    "BillingCurrency": "[A-Z]{3}",
    "BillingPeriodEnd": _MOMENT,
    "BillingPeriodStart": _MOMENT,
    "ChargeCategory": "Usage",
    "ChargeClass": "",
    "ChargeDescription": ".*",
    "ChargePeriodEnd": _MOMENT,
    "ChargePeriodStart": _MOMENT,
    "ContractedCost": _NUMBER,
    "EffectiveCost": _NUMBER,
    "InvoiceIssuerName": ".+",
    "ListCost": _NUMBER,
    "PricingQuantity": _NUMBER,
    "PricingUnit": ".+",
    "ProviderName": ".+",
    "PublisherName": ".+",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceName": ".+",
}
FURTHER = {
    "ChargeFrequency": "Usage-Based",
    "ConsumedQuantity": r"(?!0$)\d+(\.\d+)?",  # positive
    "ConsumedUnit": "Tokens|Seconds",
    "ServiceSubcategory": "Generative AI",
    "SubAccountId": ".+",
    "SubAccountName": ".*",
}
CUSTOM = {"x_Meter": ".+", "x_Model": ".+"}


def priced_row(number: int) -> Row:
    """One of many different ones, over hours; prices changed in between."""
    prices = PRICES if number % 3 else PRICES.model_copy(update={"prompt": 0.123456, "worker_hour": 0.0})
    tokens = {"prompt_tokens": 37 * number % 900, "output_tokens": 53 * number % 700}
    event = finished(
        f"r{number}",
        tenant=("alice", "bob")[number % 2],
        key_id=f"k{number % 3}",
        cached_tokens=min(tokens["prompt_tokens"], 11 * number % 50),
        worker_seconds=0.001234 * number,
        **tokens,
    )
    at = NOON + 1234 * number
    return row_of(Ended(event, Grant(at, prices), at + 1))


@pytest.fixture
def folder(tmp_path: Path) -> LedgerFolder:
    """Two files with rows of two tenants."""
    (tmp_path / "ledger").mkdir()
    for part in (0, 1):
        file = LedgerFile(tmp_path / "ledger" / f"8000-{part}.sqlite")
        file.write(1, Batch([priced_row(number) for number in range(part, 60, 2)]))
        file.close()
    return LedgerFolder(tmp_path / "ledger")


def found_in(folder: LedgerFolder, query: Query) -> list[Mapping[str, str]]:
    query = query_of(query.first, query.end, query.zone)
    return list(records(query, folder.parts(query), ISSUER))


def test_every_line_conforms(folder: LedgerFolder) -> None:
    """It has each mandatory column, columns of our own have their prefix, and each value has its form."""
    rules = MANDATORY | FURTHER | CUSTOM
    assert set(COLUMNS) == rules.keys()
    assert all(name.startswith("x_") for name in CUSTOM)
    found = found_in(folder, Query(QUARTER, QUARTER + 100, UTC))
    assert len(found) > 100
    for record in found:
        assert record.keys() == rules.keys()
        assert {name for name, rule in rules.items() if not re.fullmatch(rule, record[name])} == set(), record
        assert record["BillingPeriodStart"] <= record["ChargePeriodStart"] < record["ChargePeriodEnd"]
        assert record["ChargePeriodEnd"] <= record["BillingPeriodEnd"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_lines_add_up_to_the_report(folder: LedgerFolder, zone: str) -> None:
    """Tokens, worker time that is paid for and money, to the last digit."""
    query = Query(QUARTER + 3, QUARTER + 40, ZoneInfo(zone))
    found = found_in(folder, query)
    for line in lines(query, folder.parts(query)):
        sums = dict(zip(FIELDS, map(int, line.sums), strict=True))
        of_tenant = [record for record in found if record["BillingAccountId"] == line.names[0]]

        def consumed(meter: str, of: list[Mapping[str, str]] = of_tenant) -> Decimal:
            return sum((Decimal(each["ConsumedQuantity"]) for each in of if each["x_Meter"] == meter), Decimal())

        assert sum(Decimal(each["BilledCost"]) for each in of_tenant) * 10**9 == sums["money_nano"]
        assert consumed("input tokens") + consumed("cached input tokens") == sums["prompt_tokens"]
        assert consumed("cached input tokens") == sums["cached_tokens"]
        assert consumed("output tokens") == sums["output_tokens"]
        assert 0 < consumed("worker time") * 10**6 <= sums["worker_us"]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Asia/Kathmandu", "2026-05-28", 24),
        ("America/St_Johns", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 25),
        ("Australia/Lord_Howe", "2026-10-04", 24),
    ],
)
def test_the_hours_of_a_day_follow_each_other(zone: str, day: str, hours: int) -> None:
    """None is missing, none overlaps: days with 23, 24 and 25 hours, hours that begin at a quarter, halves of hours."""
    there = ZoneInfo(zone)
    first = quarter_of(read_moment(day, there))
    end = quarter_of(read_moment(f"{datetime.fromisoformat(day) + timedelta(days=1):%Y-%m-%d}", there))
    names, sums = ("alice", "main", "tiny", "tiny"), tuple(map(float, range(1, 1 + len(FIELDS))))
    parts = [(quarter, names, sums) for quarter in range(first, end)]
    found = list(records(query_of(first, end, there), parts, ISSUER))
    periods = sorted({(record["ChargePeriodStart"], record["ChargePeriodEnd"]) for record in found})
    assert len(periods) == hours
    assert [start for start, _ in periods[1:]] == [end for _, end in periods[:-1]]
    assert quarter_of(datetime.fromisoformat(periods[0][0])) == first
    assert quarter_of(datetime.fromisoformat(periods[-1][1])) == end


def test_months_are_those_of_the_zone() -> None:
    """An invoice of Berlin begins in the last hours of the UTC month before."""
    berlin = ZoneInfo("Europe/Berlin")
    part = (quarter_of(read_moment("2026-12-01", berlin)), ("a", "k", "p", "m"), (1.0,) * len(FIELDS))
    (record, *_) = records(query_of(0, 2**31, berlin), [part], ISSUER)
    assert (record["BillingPeriodStart"], record["BillingPeriodEnd"]) == (
        "2026-11-30T23:00:00Z",
        "2026-12-31T23:00:00Z",
    )


def test_the_command_prints_csv(tmp_path: Path) -> None:
    """With a head, by hour; without a currency of three letters it says what is missing."""
    (tmp_path / "ledger").mkdir()
    file = LedgerFile(tmp_path / "ledger" / "8000.sqlite")
    file.write(1, Batch([row("r1"), row("r2", granted=NOON + 7200)]))
    file.close()
    config = tmp_path / "config.yaml"
    text = "pools: [{model: tiny, workers: [{url: 'http://h:1'}]}]\ntenants: [{name: alice, keys: [{env: NONE}]}]\n"
    config.write_text(f"{text}ledger: {{currency: EUR}}\n")
    arguments = ["usage", "focus", str(config), "--since", "2026-05-28", "--until", "2026-05-30", "--issuer", "ACME"]
    out = CliRunner().invoke(app, arguments).output
    found = list(csv.DictReader(io.StringIO(out)))
    assert len({each["ChargePeriodStart"] for each in found}) == 2
    assert [(each["x_Meter"], each["ConsumedQuantity"], each["BilledCost"]) for each in found] == 2 * [
        ("input tokens", "60", "0.00003"),
        ("cached input tokens", "40", "0.000004"),
        ("output tokens", "50", "0.0001"),
        ("worker time", "0.75", "0.00075"),
    ]
    assert {(each["ProviderName"], each["BillingCurrency"]) for each in found} == {("ACME", "EUR")}
    config.write_text(f"{text}ledger: {{currency: points}}\n")
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, "ledger.currency" in result.output) == (1, True)
