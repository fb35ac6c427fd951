"""A report as Markdown, the same content as the page."""

from collections.abc import Iterator, Sequence

from evaluation.report.document import Document, Mark, RowKind, Section, Sheet, SheetRow, Statement

SIGNS = {Mark.HOLDS: "✓ ", Mark.FAILS: "✗ ", Mark.PLAIN: ""}


def render_markdown(document: Document) -> str:
    """The whole report."""
    return "\n".join(_page(document)) + "\n"


def _page(document: Document) -> Iterator[str]:
    yield f"# {document.title}\n"
    yield from (f"{text}\n" for text in document.introduction)
    yield from _statements(document.statements)
    if document.facts:
        yield f"{' '.join(document.facts)}\n"
    for section in document.sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    if section.part:
        yield f"## {section.part}\n"
    yield f"### {section.title}\n"
    if section.setting:
        yield f"{section.setting}\n"
    yield from _statements(section.statements)
    if section.picture is not None:
        yield f"![{section.alt}]({section.picture})\n"
    for sheet in section.sheets:
        yield from render_sheet(sheet)
    yield from (f"> {_one_line(remark)}\n" for remark in section.remarks)


def _statements(statements: Sequence[Statement]) -> Iterator[str]:
    yield from (f"- {SIGNS[statement.mark]}{_one_line(statement.text)}" for statement in statements)
    if statements:
        yield ""


def render_sheet(sheet: Sheet) -> Iterator[str]:
    """A table under its title, line by line."""
    yield f"**{sheet.title}**\n"
    yield _line(sheet.columns)
    yield f"|---|{'---:|' * (len(sheet.columns) - 1)}"
    yield from (_line(_cells(row)) for row in sheet.rows)
    yield ""


def _cells(row: SheetRow) -> Sequence[str]:
    if row.kind is RowKind.PLAIN:
        return row.cells
    mark = "**" if row.kind is RowKind.MISSED else "*"
    return [f"{mark}{cell}{mark}" if cell else "" for cell in row.cells]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_one_line(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _one_line(text: str) -> str:
    """A text may quote what a server said, line ends included."""
    return " ".join(text.split()) if "\n" in text or "\r" in text else text
