"""The demo shows its measurements live, as a table and as a picture."""

from pathlib import Path

import pytest
from drawn import Drawn
from rich.console import Console, RenderableType

from evaluation.bench import demo
from evaluation.bench.demo import seconds_text, view
from evaluation.bench.probe import GatewayState, Gauges, Sample, TenantState
from evaluation.bench.settings import SLACK
from evaluation.load.connection import ExchangeRecord
from evaluation.load.tenants import Tally
from evaluation.pictures import drawing
from evaluation.pictures.picture import BLUE, GREEN, VERMILION, LinePanel
from evaluation.report.delivery import EXIT_NOT_RUN, conduct
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
    tenants = {name: TenantState(1234.0, 10.0, 7, 3) for name in RATES}
    return Sample(at, GatewayState(21, 9, 600.0, 3000.0, tenants), [Gauges(1, 16)])


@pytest.fixture
def show() -> demo.Show:
    """Ten seconds of a demo, the flood from the third on."""
    samples = [_sample(50.0 + i / 5) for i in range(50)]
    return demo.Show(OPTIONS, 50.0, 60.0, {name: _tally(name) for name in RATES}, samples)


def test_the_live_view_shows_every_tenant(show: demo.Show) -> None:
    """Rates, TTFT, queues and the spread next to its bound are on it."""
    shown = _text(table(view(show, 56.0)))
    for expected in ("flood", "alice", "bob", "800", "500", "250 ms", "spread 600 of 3,000"):
        assert expected in shown, expected
    bars = {row.split()[0]: row.count("█") for row in shown.splitlines() if "█" in row}
    assert bars["flood"] > bars["bob"] > bars["alice"] > 0


def test_the_view_works_before_anything_was_seen() -> None:
    """The first refresh comes before the first sample and the first token."""
    empty = demo.Show(OPTIONS, 50.0, 60.0, {name: Tally() for name in RATES}, [])
    assert "flood" in _text(table(view(empty, 50.0)))
    assert "flood" in _text(table(demo.summary(empty)))


def test_fair_shares_follow_demand_and_divide_the_rest(show: demo.Show) -> None:
    """Of 1500/s alice wants 2 x (44 + 2 x 44) = 264/s and bob 4 places of the window; the flood gets what is left."""
    shares = {name: share / 8 for name, share in demo.fair_shares(show).items()}
    assert shares["alice"] == pytest.approx(264)
    assert shares["bob"] == pytest.approx(1500 * 4 / (demo.SEQUENCES + SLACK), rel=0.02)
    assert sum(shares.values()) == pytest.approx(1500, rel=0.02)


def test_the_summary_ends_with_spread_and_bound(show: demo.Show) -> None:
    """The closing table counts from the flood's beginning."""
    text = " ".join(_text(table(demo.summary(show))).split())
    assert "largest observed spread of counters 600" in text
    assert "computed bound 3,000" in text
    assert "max-min fair share" in text


def test_the_picture_has_every_tenant_and_the_flood(show: demo.Show, tmp_path: Path) -> None:
    """Service and waits of each tenant, then the counters; the flood's time is shaded. It is drawn of nothing too."""
    panels = demo.picture(show).panels
    assert all(isinstance(panel, LinePanel) and panel.shade == (2.0, 10.0) for panel in panels)
    names = [[curve.name for curve in panel.curves if curve.points] for panel in panels if isinstance(panel, LinePanel)]
    assert names == [["flood", "alice", "bob"], ["flood", "alice", "bob"], ["spread", "bound"]]
    empty = demo.Show(OPTIONS, 50.0, 60.0, {name: Tally() for name in RATES}, [])
    drawing.draw(demo.picture(empty), tmp_path / "demo.png")
    assert not Drawn(tmp_path / "demo.png").shows(VERMILION)


def test_without_matplotlib_the_demo_names_the_extra_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody who named a file watches for 30 s to learn that the picture cannot be drawn."""
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)
    options = demo.DemoOptions(plot=Path("demo.png"))
    assert conduct(demo.measure(options), options) == EXIT_NOT_RUN
    assert "vtc-gateway[bench]" in capsys.readouterr().err


def test_without_matplotlib_and_a_named_file_there_is_no_picture(
    show: demo.Show, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A bare installation has the demo too: it says what the picture needs."""
    file = tmp_path / "demo.png"
    assert demo.leave_picture(show, file) == []
    assert Drawn(file).shows(VERMILION, BLUE, GREEN)
    file.unlink()
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)
    assert demo.leave_picture(show, file) == [demo.NO_PICTURE] and not file.exists()


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (0.25, "250 ms"), (12.34, "12.3 s")])
def test_durations_are_written_for_people(seconds: float | None, text: str) -> None:
    """They are milliseconds below a second, seconds above, and a dash for nothing."""
    assert seconds_text(seconds) == text
