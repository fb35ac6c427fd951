"""Pictures of every kind of panel are drawn, the same way twice, and show what they are given."""

import math
from pathlib import Path

import pytest

from evaluation.pictures.drawing import draw
from evaluation.pictures.picture import BLUE, Bar, BarPanel, Curve, LinePanel, Mark, Picture

NAN = float("nan")
LINES = LinePanel(
    "Lines",
    "cost",
    [Curve("up", BLUE, [(0, 1), (1, NAN), (2, 3)]), Curve("", BLUE, [(0, 1), (2, 2)], dashed=True, faint=True)],
    [Mark("published", 9, BLUE)],
    shade=(0, 1),
)
BARS = BarPanel("Bars", "s", [Bar("a", 10, BLUE, 20), Bar("b", NAN, BLUE)])
DOTS = LinePanel(
    "Dots", "s", [Curve("waits", BLUE, [(0, 0.1), (1, 20.0)], dots=True), Curve("none", BLUE, [])], is_log=True
)
NAMELESS = BarPanel("Bars", "s", [Bar("a", 10, BLUE), Bar("", 1000, BLUE)])


@pytest.mark.parametrize(
    "panels",
    [[LINES], [LINES, LINES, BARS], [BARS, NAMELESS], [LINES] * 4, [DOTS]],
    ids=["one", "three", "bars", "four", "dots"],
)
def test_a_picture_is_drawn_to_the_same_bytes(tmp_path: Path, panels: list[LinePanel | BarPanel]) -> None:
    """Lines with gaps, marks above the lines, bars without a value: any number of panels."""
    picture = Picture("Title", panels, "what is seen")
    draw(picture, tmp_path / "one.png")
    draw(picture, tmp_path / "two.png")
    content = (tmp_path / "one.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "two.png").read_bytes()


def test_a_stacked_picture_is_one_column(tmp_path: Path) -> None:
    """Its panels stand one below the other; the same panels side by side are wider than high."""
    sizes = []
    for is_stacked in (True, False):
        path = tmp_path / "picture.png"
        draw(Picture("Title", [LINES] * 3, "what is seen", is_stacked=is_stacked), path)
        sizes.append([int.from_bytes(path.read_bytes()[at : at + 4]) for at in (16, 20)])
    assert sizes[0][0] / sizes[0][1] < 1.2 < sizes[1][0] / sizes[1][1]


def test_no_bar_is_longer_than_the_most(tmp_path: Path) -> None:
    """One of many times the others is cut: the picture is that of a bar as long as the most, but for its number."""
    drawn = []
    for value, most in ((60.0, math.inf), (6000.0, 60.0), (6000.0, math.inf)):
        path = tmp_path / "picture.png"
        draw(Picture("T", [BarPanel("B", "s", [Bar("", value, BLUE), Bar("", 10, BLUE)], most)], "bars"), path)
        drawn.append(path.read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]
