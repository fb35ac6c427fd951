"""A picture as data: panels of lines or bars, with published numbers beside them. `drawing` puts it on paper."""

from collections.abc import Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]

# Okabe and Ito's colours, which people with any colour vision can distinguish; without yellow (too faint on white).
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
ORANGE = "#E69F00"
GREY = "#8a8a8a"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)


@dataclass(frozen=True, slots=True)
class Curve:
    """A line with its name written at its end; `faint` ones are background."""

    name: str
    colour: str
    points: Points
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A number to compare with, drawn as a dotted horizontal line."""

    text: str
    value: float
    colour: str


@dataclass(frozen=True, slots=True)
class LinePanel:
    """Lines over time (or over `x_label`), from 0 to `top`."""

    title: str
    y_label: str
    curves: Sequence[Curve]
    marks: Sequence[Mark] = ()
    x_label: str = "seconds since the start"
    top: float | None = None
    shade: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One value, and what the paper printed for it (None: nothing). Without a name it is background."""

    name: str
    value: float
    colour: str
    published: float | None = None


@dataclass(frozen=True, slots=True)
class BarPanel:
    """Horizontal bars, one below the other, each with its number; a diamond is the published value."""

    title: str
    x_label: str
    bars: Sequence[Bar]


Panel = LinePanel | BarPanel


@dataclass(frozen=True, slots=True)
class Picture:
    """Panels side by side. `alt` says in words what is seen, for whoever cannot see it."""

    title: str
    panels: Sequence[Panel]
    alt: str
