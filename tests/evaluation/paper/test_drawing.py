"""Every picture can be made of its runs, and is drawn the same way twice."""

from pathlib import Path

import pytest

from evaluation.paper.experiment import Experiment
from evaluation.paper.experiments import EXPERIMENTS
from evaluation.paper.figures.drawing import draw
from evaluation.paper.figures.picture import BLUE, Bar, BarPanel, Curve, LinePanel, Mark, Picture

from .fabricated import findings_of

NAN = float("nan")
LINES = LinePanel(
    "Lines",
    "cost",
    [Curve("up", BLUE, [(0, 1), (1, NAN), (2, 3)]), Curve("", BLUE, [(0, 1), (2, 2)], dashed=True, faint=True)],
    [Mark("published", 9, BLUE)],
    shade=(0, 1),
)
BARS = BarPanel("Bars", "s", [Bar("a", 10, BLUE, 20), Bar("b", NAN, BLUE)])
NAMELESS = BarPanel("Bars", "s", [Bar("a", 10, BLUE), Bar("", 1000, BLUE)])


@pytest.mark.parametrize(
    "panels", [[LINES], [LINES, LINES, BARS], [BARS, NAMELESS], [LINES] * 4], ids=["one", "three", "bars", "four"]
)
def test_a_picture_is_drawn_to_the_same_bytes(tmp_path: Path, panels: list[LinePanel | BarPanel]) -> None:
    """Lines with gaps, marks above the lines, bars without a value: any number of panels."""
    picture = Picture("Title", panels, "what is seen")
    draw(picture, tmp_path / "one.png")
    draw(picture, tmp_path / "two.png")
    content = (tmp_path / "one.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(
    "experiment", [each for each in EXPERIMENTS if each.picture], ids=lambda experiment: experiment.key
)
def test_every_experiment_has_a_picture_of_all_its_runs(experiment: Experiment) -> None:
    """Panels with something in them, every line as long as the run, published numbers on the same scale."""
    picture = findings_of([experiment])[0].picture
    assert picture is not None and picture.panels
    for panel in picture.panels:
        if isinstance(panel, LinePanel):
            assert panel.curves and all(len(curve.points) > 1 for curve in panel.curves)
        else:
            assert panel.bars
