"""A report before it is HTML, Markdown or text: sections of statements, sheets and one picture each."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from evaluation.report.verdicts import Verdict


class Mark(Enum):
    """Whether a statement holds; the value is the sign before it."""

    HOLDS = "✓ "
    FAILS = "✗ "
    PLAIN = ""

    @classmethod
    def of(cls, holds: bool) -> "Mark":
        """The mark of a statement that was judged."""
        return cls.HOLDS if holds else cls.FAILS


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence that is made from the numbers."""

    text: str
    mark: Mark = Mark.PLAIN


class RowKind(Enum):
    """What a row of a sheet shows: ours, something to compare with, or a miss. The value emphasizes it."""

    PLAIN = ""
    QUIET = "*"
    MISSED = "**"


@dataclass(frozen=True, slots=True)
class SheetRow:
    """Cells as printed."""

    cells: Sequence[str]
    kind: RowKind = RowKind.PLAIN


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table; the first column and the last `words` ones hold words, the others numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[SheetRow]
    words: int = 0

    def is_number(self, column: int) -> bool:
        """Whether a column, counted from 0, holds numbers."""
        return 0 < column < len(self.columns) - self.words


@dataclass(frozen=True, slots=True)
class Section:
    """One part. `picture` is the file of its picture, relative to the report; `remarks` stand at its end;
    `part` is the heading of the part of the report that begins with it."""

    key: str
    title: str
    setting: str = ""
    statements: Sequence[Statement] = ()
    sheets: Sequence[Sheet] = ()
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
    facts: Sequence[str] = ()


def targets_sheet(title: str, verdicts: Sequence[Verdict]) -> Sheet:
    """Every target with its measurement, in the order given."""
    rows = [
        SheetRow(
            (each.target.name, each.target.text, each.text, "met" if each.passed else "missed", each.note),
            RowKind.PLAIN if each.passed else RowKind.MISSED,
        )
        for each in verdicts
    ]
    return Sheet(title, ("target", "wanted", "measured", "verdict", "note"), rows, words=2)
