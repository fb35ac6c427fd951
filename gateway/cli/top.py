"""`vtc-gateway top` and `vtc-gateway status`: the operator's page in a terminal, over the admin listener."""

import sys
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.cli.admin_client import NotAnswered, ask

_REFRESH_SECONDS: Final = 2.0
_SHORT, _OVER = 0.8, 1.25


@dataclass(frozen=True, slots=True)
class TopOptions:
    """Where the admin listener is, and which tenants to show."""

    url: str
    search: str = ""


def status(options: TopOptions, *, json: bool = False) -> int:
    """Print the state once; returns 0 if nothing is wrong, 1 if something is, 2 if the gateway does not answer."""
    try:
        overview = ask(options.url, "overview")
    except NotAnswered as failure:
        print(failure, file=sys.stderr)  # noqa: T201 - the command's result
        return 2
    if json:
        print(orjson.dumps(overview, option=orjson.OPT_INDENT_2).decode())  # noqa: T201 - the command's result
    else:
        Console().print(_screen(overview, overview["tenants"]))
    return int(any(problem["level"] == "bad" for problem in overview["problems"]))


def top(options: TopOptions) -> int:
    """Show the state again and again until Ctrl-C; returns 2 if the gateway does not answer at first."""
    try:
        shown = _look(options)
        with Live(shown, console=Console(), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(_REFRESH_SECONDS)
                try:
                    shown = _look(options)
                except NotAnswered as failure:
                    live.update(Group(Text(f"✗ {failure}", style="bold red"), shown), refresh=True)
                else:
                    live.update(shown, refresh=True)
    except KeyboardInterrupt:
        return 0
    except NotAnswered as failure:
        print(failure, file=sys.stderr)  # noqa: T201 - the command's result
        return 2


def _look(options: TopOptions) -> Group:
    overview = ask(options.url, "overview")
    found = ask(options.url, f"tenants?q={quote(options.search, safe='')}") if options.search else overview["tenants"]
    return _screen(overview, found)


def _screen(overview: dict[str, Any], tenants: dict[str, Any]) -> Group:
    return Group(_problems(overview), _pools(overview), _tenants(tenants), _workers(overview))


def _problems(overview: dict[str, Any]) -> Text:
    lines = [
        Text(f"✗ {each['text']}", style="bold red") if each["level"] == "bad" else Text(f"! {each['text']}", "yellow")
        for each in overview["problems"]
    ]
    return Text("\n").join(lines or [Text("✓ All is well", style="green")])


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        table.add_column(head.rstrip("#"), justify="right" if head.endswith("#") else "left", overflow="fold")
    return table


def _pools(overview: dict[str, Any]) -> Table:
    table = _table("pool", "runs#", "waits#", "for", "spread#", "bound#")
    for pool in overview["pools"]:
        waits = ", ".join(f"{cause} {count}" for cause, count in pool["waits"].items())
        spread, most = f"{pool['spread']:,.0f}", pool["spread_bound"]
        bound = "none" if most is None else f"{most:,.0f} {'✓ holds' if pool['spread'] <= most else '✗ broken'}"
        table.add_row(Text(pool["pool"]), str(pool["in_flight"]), str(pool["queued"]), waits, spread, bound)
    return table


def _tenants(tenants: dict[str, Any]) -> Table:
    table = _table("tenant", "pool", "weight#", "last minute#", "last hour#", "runs#", "waits#", "why it waits")
    for row in tenants["rows"]:
        cells = (
            f"{row['weight']:g}",
            _share(row["now"]),
            _share(row["hour"]),
            str(row["in_flight"]),
            str(row["queued"]),
        )
        table.add_row(Text(row["tenant"]), Text(row["pool"]), *cells, Text(row["why"]))
    return table


def _workers(overview: dict[str, Any]) -> Table:
    table = _table("worker", "state", "sequences#", "full of", "remark")
    for each in overview["workers"]:
        sequences = f"{each['sequences']} of {each['window_sequences']}"
        limit = "" if each["limited_by"] == "nothing" else each["limited_by"]
        table.add_row(Text(each["worker"]), each["state"], sequences, limit, Text(each["degraded"]))
    return table


def _share(share: dict[str, float]) -> str:
    received, owed = share["received"], share["owed"]
    if not received and not owed:
        return ""
    ratio = received / owed if owed else 1.0
    word = "▼ short" if ratio < _SHORT else "▲ over" if ratio > _OVER else "✓ fair"
    return f"{received:,.0f} of {owed:,.0f} {word}"
