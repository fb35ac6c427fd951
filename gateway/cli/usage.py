"""`vtc-gateway usage`: what tenants, keys, models or end users have used, from the ledger of a configuration.

With `ledger.postgres` it tells of all gateways that send their rows to that database, else of the files in the folder.
The report is made in the command's own process, while gateways write. Standard output gets the report alone: a table
for people, or JSON or CSV for programs.
"""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import compress
from pathlib import Path
from re import fullmatch
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.config import ConfigError, Ledger, Postgres, load
from gateway.ledger.audit import Audit
from gateway.ledger.faults import LedgerFault
from gateway.ledger.focus import COLUMNS as FOCUS_COLUMNS
from gateway.ledger.focus import Issuer, query_of, records
from gateway.ledger.folder import LedgerFolder
from gateway.ledger.report import (
    FIELDS,
    Line,
    Period,
    Query,
    Subject,
    lines,
    month_of,
    next_quarter,
    quarter_of,
    read_moment,
)
from gateway.wire.end_user import PSEUDONYM_DIGITS, pseudonym

if TYPE_CHECKING:
    from gateway.ledger.fleet import LedgerFleet

_MONEY: Final = ("money", "prompt_money", "cached_money", "output_money")
COLUMNS: Final = (*FIELDS[:-5], "worker_seconds", *_MONEY)  # microseconds and billionths in the ledger
_HEADS: Final = ("requests", "prompt", "cached", "output", "estimated", "lost prompt", "lost output", "cost units")
_OFTEN_ZERO: Final = frozenset({"estimated", "lost prompt", "lost output", "money"})  # left out of the table then
_WIDEST: Final = 1000  # a table is as wide as it needs to be; nothing of it is cut


class UsageFault(Exception):
    """The report cannot be made; the text says why and what helps."""


@dataclass(frozen=True, slots=True)
class UsageOptions:
    """Which report of the ledger of `config`; moments are read in the time zone `zone`."""

    config: Path
    subjects: tuple[Subject, ...] = (Subject.TENANT,)
    period: Period = Period.ALL
    zone: str = "UTC"
    since: str = ""
    until: str = ""
    form: Literal["table", "json", "csv"] = "table"


def usage(options: UsageOptions) -> int:
    """Print the report; returns the exit status."""
    try:
        ledger = _ledger(options.config)
        query = _query(options)
        report = lines(query, _source(ledger).parts(query))
    except (UsageFault, LedgerFault) as fault:
        return _say(fault)
    match options.form:
        case "json":
            sys.stdout.write(orjson.dumps([_fields(options, line) for line in report]).decode() + "\n")
        case "csv":
            _write_csv(options, report)
        case "table":
            Console(width=_WIDEST).print(_table(options, report, ledger.currency))
    return 0


def focus(options: UsageOptions, issuer: str) -> int:
    """Print the lines of FOCUS that the service of `issuer` comes to; returns the exit status."""
    try:
        ledger = _ledger(options.config)
        asked = _query(options)
        query = query_of(asked.first, asked.end, asked.zone)
        parts = _source(ledger).parts(query)
        found = list(records(query, parts, Issuer(issuer, _currency(ledger))))
    except (UsageFault, LedgerFault) as fault:
        return _say(fault)
    writer = csv.DictWriter(sys.stdout, FOCUS_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return 0


def forget(config: Path, end_user: str) -> int:
    """Remove an end user, named plainly or by pseudonym, from every row; returns the exit status."""
    is_pseudonym = fullmatch(f"[0-9a-f]{{{PSEUDONYM_DIGITS}}}", end_user)
    try:
        count = _forget(_ledger(config), end_user if is_pseudonym else pseudonym(end_user))
    except (UsageFault, LedgerFault) as fault:
        return _say(fault)
    Console(soft_wrap=True).print(f"{count} row{'' if count == 1 else 's'} had this end user and no longer do")
    return 0


def audit(options: UsageOptions) -> int:
    """Print what engines counted beside what the rows of their requests say; returns the exit status."""
    try:
        query = _query(options)
        audits = _source(_ledger(options.config)).audits(query.first, query.end)
    except (UsageFault, LedgerFault) as fault:
        return _say(fault)
    if options.form == "json":
        found = [_audit_fields(each) for each in audits]
        sys.stdout.write(orjson.dumps(found).decode() + "\n")
        return 0
    table = Table(box=None, pad_edge=False)
    for head in ("worker", "tokens"):
        table.add_column(head)
    for head in ("counted", "charged", "estimated", "lost", "difference"):
        table.add_column(head, justify="right")
    for each in audits:
        figures = (each.counted, each.charged, each.estimated, each.lost, each.difference)
        table.add_row(each.worker, each.kind, *(f"{figure:,}" for figure in figures))
    console = Console(soft_wrap=True)
    console.print(table)
    for each in audits:
        if each.remark:
            console.print(Text(f"{each.worker}, {each.kind} tokens: {each.remark}"))
    return 0


def _audit_fields(audit: Audit) -> dict[str, object]:
    return audit._asdict() | {"difference": audit.difference, "remark": audit.remark}


def backup(config: Path, to: Path) -> int:
    """Copy every file of the ledger into the folder `to`; returns the exit status."""
    try:
        copies = LedgerFolder(_ledger(config).folder).back_up(to)
    except (UsageFault, LedgerFault) as fault:
        return _say(fault)
    for copy in copies:
        Console(soft_wrap=True).print(Text(str(copy)))
    return 0


def _say(fault: Exception) -> int:
    Console(stderr=True, soft_wrap=True).print(Text(str(fault), style="red"))
    return 1


def _ledger(config: Path) -> Ledger:
    try:
        ledger = load(config, is_complete=False).config.ledger
    except ConfigError as error:
        raise UsageFault("\n".join(map(str, error.faults))) from None
    if ledger is None:
        raise UsageFault(f"{config} keeps no ledger; a section `ledger` turns it on")
    return ledger


def _currency(ledger: Ledger) -> str:
    if ledger.currency is None or fullmatch("[A-Z]{3}", ledger.currency) is None:
        raise UsageFault("FOCUS needs a currency: set `ledger.currency` to that of the prices, like EUR")
    return ledger.currency


def _source(ledger: Ledger) -> "LedgerFolder | LedgerFleet":
    """What reports read: the database of the fleet, if there is one, else the files of this gateway."""
    return LedgerFolder(ledger.folder) if ledger.postgres is None else _fleet(ledger.postgres)


def _fleet(postgres: Postgres) -> "LedgerFleet":
    from gateway.ledger.fleet import LedgerFleet  # its library is loaded only where it is used

    if not postgres.url:
        raise UsageFault(
            "ledger.postgres: its address is not known here; set the variable or create the file that has it"
        )
    return LedgerFleet(postgres)


def _forget(ledger: Ledger, end_user: str) -> int:
    """Remove the end user from the files, and then from the database, which gets no more rows with it from them."""
    folder = LedgerFolder(ledger.folder)
    if ledger.postgres is None:
        return folder.forget(end_user)
    fleet = _fleet(ledger.postgres)
    folder.forget(end_user)
    return fleet.forget(end_user)


def _query(options: UsageOptions) -> Query:
    try:
        zone = ZoneInfo(options.zone)
    except (ZoneInfoNotFoundError, ValueError):
        remedy = "name one like Europe/Berlin; they come with the system's package tzdata"
        raise UsageFault(f"--zone: {options.zone} is no time zone that this machine knows; {remedy}") from None
    now = datetime.now(zone)
    first = quarter_of(month_of(now)) if not options.since else _quarter("--since", options.since, zone)
    end = next_quarter(now) if not options.until else _quarter("--until", options.until, zone)
    return Query(first, end, zone, options.subjects, options.period)


def _quarter(option: str, text: str, zone: tzinfo) -> int:
    try:
        return quarter_of(read_moment(text, zone))
    except ValueError as error:
        example = "write a day or a quarter of an hour, like 2026-11-30 or 2026-11-30T14:15"
        raise UsageFault(f"{option}: {text}: {error}; {example}") from None


def _fields(options: UsageOptions, line: Line) -> dict[str, object]:
    period = {} if options.period is Period.ALL else {"period": line.period}
    names = dict(zip((subject.value for subject in options.subjects), line.names, strict=True))
    return period | names | dict(zip(COLUMNS, _figures(line), strict=True))


def _figures(line: Line) -> list[float]:
    *counts, worker_us = line.sums[: -len(_MONEY)]
    return [*counts, worker_us / 1e6, *(nano / 1e9 for nano in line.sums[-len(_MONEY) :])]


def _write_csv(options: UsageOptions, report: Sequence[Line]) -> None:
    period = [] if options.period is Period.ALL else ["period"]
    writer = csv.DictWriter(sys.stdout, [*period, *options.subjects, *COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_fields(options, line) for line in report)


def _table(options: UsageOptions, report: Sequence[Line], currency: str | None) -> Table:
    table = Table(box=None, pad_edge=False)
    has_period = options.period is not Period.ALL
    for head in (*([options.period.value] if has_period else []), *options.subjects):
        table.add_column(head.replace("_", " "))
    heads = (*_HEADS, "worker s", "money")
    shown = [head not in _OFTEN_ZERO or any(line.sums[place] for line in report) for place, head in enumerate(heads)]
    for head in compress(heads, shown):
        table.add_column(currency or head if head == "money" else head, justify="right")
    for line in report:
        *counts, cost, worker_seconds, money = _figures(line)[: len(heads)]
        cells = [*(f"{count:,}" for count in counts), f"{cost:,.0f}", f"{worker_seconds:,.1f}", f"{money:,.2f}"]
        names = [line.period] * has_period + [name or "-" for name in line.names]
        table.add_row(*names, *compress(cells, shown))
    return table
