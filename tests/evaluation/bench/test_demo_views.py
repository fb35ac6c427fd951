"""The demo shows its measurements live and as a table."""

import io
from dataclasses import replace
from unittest.mock import Mock

import pytest
from rich.console import Console, RenderableType
from virtual_time import run_in_virtual_time, virtual_loop

from evaluation.bench import demo
from evaluation.bench.demo import seconds_text, view
from evaluation.bench.probe import GatewayState, Gauges, Sample, TenantState
from evaluation.load.connection import ExchangeRecord
from evaluation.load.tenants import Tally
from evaluation.report.terminal import table

OPTIONS = demo.DemoOptions(policy="vtc", seconds=10.0)
RATES = {"flood": 800, "alice": 200, "bob": 500}


def _text(renderable: RenderableType) -> str:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def _tally(name: str) -> Tally:
    """Steady service and one request per second with a TTFT of 250 ms."""
    tally = Tally()
    for tick in range(100):
        tally.service.add(50.0 + tick / 10, RATES[name] / 10)
    for second in range(10):
        at = 50.0 + second
        tally.records.append(ExchangeRecord(name, at, first_token_at=at + 0.25, is_complete=True))
    return tally


def _sample(at: float) -> Sample:
    tenants = {name: TenantState(1234.0, 7, 3) for name in RATES}
    return Sample(at, GatewayState(21, 600.0, 3000.0, tenants), [Gauges(1, 16)])


@pytest.fixture
def show() -> demo.Show:
    """Ten seconds of a demo, the flood from the third on."""
    samples = [_sample(50.0 + i / 5) for i in range(50)]
    return demo.Show(OPTIONS, "", 50.0, 60.0, {name: _tally(name) for name in RATES}, samples)


def test_the_live_view_shows_every_tenant(show: demo.Show) -> None:
    """Rates, TTFT, queues and the spread next to its bound are on it."""
    shown = _text(table(view(show, 56.0)))
    for expected in ("flood", "alice", "bob", "800", "500", "250 ms", "spread 600 of 3,000"):
        assert expected in shown, expected
    bars = {row.split()[0]: row.count("█") for row in shown.splitlines() if "█" in row}
    assert bars["flood"] > bars["bob"] > bars["alice"] > 0


def test_the_view_works_before_anything_was_seen() -> None:
    """The first refresh comes before the first sample and the first token."""
    empty = demo.Show(OPTIONS, "", 50.0, 60.0, {name: Tally() for name in RATES}, [])
    assert "flood" in _text(table(view(empty, 50.0)))
    assert "flood" in _text(table(demo.summary(empty)))


def test_the_demo_lasts_as_long_as_its_table_says() -> None:
    """Also where there is no terminal and the view is printed every 3 s."""

    async def story() -> None:
        start = virtual_loop().time()
        show = demo.Show(replace(OPTIONS, seconds=8.0), "", start, start + 8.0, {name: Tally() for name in RATES}, [])
        await demo.display(show, Console(file=io.StringIO()), Mock(), Mock())
        assert virtual_loop().time() == show.end

    run_in_virtual_time(story())


def test_the_summary_ends_with_spread_and_bound(show: demo.Show) -> None:
    """The closing table counts from the flood's beginning."""
    text = " ".join(_text(table(demo.summary(show))).split())
    assert "largest observed spread of counters 600" in text
    assert "computed bound 3,000" in text


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (0.25, "250 ms"), (12.34, "12.3 s")])
def test_durations_are_written_for_people(seconds: float | None, text: str) -> None:
    """They are milliseconds below a second, seconds above, and a dash for nothing."""
    assert seconds_text(seconds) == text
