"""The report before it is HTML or Markdown: sections of statements, sheets and one picture each."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Mark(Enum):
    """Whether a statement holds; the value is the word that is printed."""

    HOLDS = "holds"
    FAILS = "does not hold"
    PLAIN = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence, made from the numbers."""

    text: str
    mark: Mark = Mark.PLAIN


class RowKind(Enum):
    """How a row of a sheet is to be read; the value names it in style sheets."""

    PLAIN = "plain"
    PUBLISHED = "published"
    DEVIATION = "deviation"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class SheetRow:
    """Cells as printed."""

    cells: Sequence[str]
    kind: RowKind = RowKind.PLAIN


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table; the first column holds words, the others numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[SheetRow]


@dataclass(frozen=True, slots=True)
class Section:
    """One experiment. `picture` is the file of its picture, relative to the report; `remarks` say why ours differs;
    `part` is the heading of the part of the report that begins with it."""

    key: str
    title: str
    setting: str
    statements: Sequence[Statement]
    sheets: Sequence[Sheet]
    picture: str | None = None
    alt: str = ""
    part: str = ""
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """The whole report. `facts` say how it was made."""

    title: str
    introduction: Sequence[str]
    statements: Sequence[Statement]
    sections: Sequence[Section]
    targets: Sheet
    facts: Sequence[str]
