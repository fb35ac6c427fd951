"""Pictures of every kind of panel are drawn, the same way twice, and show what they are given."""

from pathlib import Path

import pytest
from drawn import LEAST_PIXELS, Drawn
from matplotlib.axes import Axes

from evaluation.pictures.drawing import INK, draw
from evaluation.pictures.picture import (
    BLUE,
    GREEN,
    PURPLE,
    SKY,
    VERMILION,
    Bar,
    BarPanel,
    Curve,
    LinePanel,
    Mark,
    Picture,
)

NAN = float("nan")
LINES = LinePanel(
    "Lines",
    "cost",
    [Curve("up", BLUE, [(0, 1), (1, NAN), (2, 3)]), Curve("", BLUE, [(0, 1), (2, 2)], faint=True)],
    [Mark("published", 9, BLUE)],
    shade=(0, 1),
)
BARS = BarPanel("Bars", "s", [Bar("a", 10, BLUE, 20), Bar("b", NAN, BLUE)])
ALL_STYLES = LinePanel(
    "Styles",
    "s",
    [
        Curve("plain", BLUE, [(0, 1), (2, 2)]),
        Curve("another", VERMILION, [(0, 2), (2, 3)]),
        Curve("faint", GREEN, [(0, 3.2), (2, 3.5)], faint=True),
        Curve("with a gap", PURPLE, [(0, 5), (1, 5), (1.5, NAN), (1.8, 5), (2, 5)]),
    ],
    [Mark("", 6, SKY)],
)
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, SKY)
NAMELESS = BarPanel("Bars", "s", [Bar("a", 10, BLUE), Bar("", 1000, BLUE)])


@pytest.mark.parametrize(
    "panels",
    [[LINES], [LINES, LINES, BARS], [BARS, NAMELESS], [LINES] * 4],
    ids=["one", "three", "bars", "four"],
)
def test_a_picture_is_drawn_to_the_same_bytes(tmp_path: Path, panels: list[LinePanel | BarPanel]) -> None:
    """Lines with gaps, marks above the lines, bars without a value: any number of panels."""
    picture = Picture("Title", panels, "what is seen")
    draw(picture, tmp_path / "one.png")
    draw(picture, tmp_path / "two.png")
    content = (tmp_path / "one.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "two.png").read_bytes()


def pixels(tmp_path: Path, panel: LinePanel | BarPanel) -> dict[str, int]:
    """How much of `panel`, drawn, is in each colour."""
    draw(Picture("Title", [panel], "what is seen"), tmp_path / "picture.png")
    drawn = Drawn(tmp_path / "picture.png")
    return {colour: drawn.pixels(colour) for colour in COLOURS}


def test_every_curve_and_every_mark_draws_pixels_of_its_colour(tmp_path: Path) -> None:
    """Whole lines, faint ones, lines on both sides of a gap, and the line of a mark."""
    seen = pixels(tmp_path, ALL_STYLES)
    assert all(count >= LEAST_PIXELS for count in seen.values()), seen


def test_every_bar_is_as_long_as_its_value_says(tmp_path: Path) -> None:
    """One of three times the value has three times the pixels, and one without a value has none."""
    bars = [Bar("a", 10, BLUE), Bar("b", 30, VERMILION), Bar("c", NAN, PURPLE)]
    seen = pixels(tmp_path, BarPanel("Bars", "s", bars))
    assert seen[VERMILION] == pytest.approx(3 * seen[BLUE], rel=0.05)
    assert seen[BLUE] > 1000 and seen[PURPLE] == 0


def test_a_published_value_has_a_diamond(tmp_path: Path) -> None:
    """Its outline is in the colour of the text."""
    outlines = []
    for published in (None, 20):
        draw(Picture("T", [BarPanel("B", "s", [Bar("", 40, BLUE, published)])], "a bar"), tmp_path / "picture.png")
        outlines.append(Drawn(tmp_path / "picture.png").pixels(INK))
    assert outlines[1] > outlines[0]


@pytest.mark.parametrize("panel", [ALL_STYLES, BARS], ids=["lines", "bars"])
def test_a_picture_of_nothing_but_axes_and_names_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, panel: LinePanel | BarPanel
) -> None:
    """The control of these tests and of every other that asks what a picture shows."""
    for method in ("plot", "axhline", "barh"):
        monkeypatch.setattr(Axes, method, lambda *_, **__: None)
    assert set(pixels(tmp_path, panel).values()) == {0}
