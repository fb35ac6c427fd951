"""A report as one HTML file that opens from disk, or as Markdown.

The file has its own style, relative pictures, no script and no network; both forms have the same content.
"""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from evaluation.report.document import Document, Mark, RowKind, Section, Sheet, SheetRow, Statement

_HTML_SIGNS = {Mark.HOLDS: ("✓", "holds"), Mark.FAILS: ("✗", "fails"), Mark.PLAIN: ("·", "plain")}


def render_html(document: Document) -> str:
    """The whole page."""
    return "\n".join(_html_page(document)) + "\n"


def _html_page(document: Document) -> Iterator[str]:
    style = files("evaluation.report").joinpath("report.css").read_text("utf-8")
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(document.title)}</title><style>\n{style}</style></head><body>"
    yield f"<header><h1>{escape(document.title)}</h1>"
    yield from (f"<p>{escape(text)}</p>" for text in document.introduction)
    yield _html_statements(document.statements)
    yield f'<p class="facts">{escape(" ".join(document.facts))}</p></header>'
    yield "<nav>"
    yield from (f'<a href="#{section.key}">{escape(section.title)}</a>' for section in document.sections)
    yield "</nav><main>"
    for section in document.sections:
        yield from _html_section(section)
    yield "</main></body></html>"


def _html_section(section: Section) -> Iterator[str]:
    if section.part:
        yield f'<h2 class="part">{escape(section.part)}</h2>'
    yield f'<section id="{section.key}"><h3>{escape(section.title)}</h3>'
    if section.setting:
        yield f'<p class="setting">{escape(section.setting)}</p>'
    yield _html_statements(section.statements)
    if section.picture is not None:
        yield f'<img src="{escape(section.picture)}" alt="{escape(section.alt)}">'
    yield from (_sheet(sheet) for sheet in section.sheets)
    if section.remarks:
        yield f'<div class="remarks">{"".join(f"<p>{escape(remark)}</p>" for remark in section.remarks)}</div>'
    yield "</section>"


def _html_statements(statements: Sequence[Statement]) -> str:
    if not statements:
        return ""
    return f'<ul class="statements">{"".join(_statement(each) for each in statements)}</ul>'


def _statement(statement: Statement) -> str:
    sign, name = _HTML_SIGNS[statement.mark]
    spoken = f' aria-label="{statement.mark.value}"' if statement.mark.value else ""
    return f'<li class="{name}"><span class="mark"{spoken}>{sign}</span>{escape(statement.text)}</li>'


def _sheet(sheet: Sheet) -> str:
    head = _html_cells(sheet, sheet.columns, 'th scope="col"')
    body = "".join(_row(sheet, row) for row in sheet.rows)
    return (
        f'<div class="sheet"><table><caption>{escape(sheet.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(sheet: Sheet, row: SheetRow) -> str:
    return f'<tr class="{row.kind.value}">{_html_cells(sheet, row.cells, "td")}</tr>'


def _html_cells(sheet: Sheet, cells: Sequence[str], tag: str) -> str:
    kinds = (' class="number"' if sheet.is_number(column) else "" for column in range(len(cells)))
    return "".join(f"<{tag}{kind}>{escape(cell)}</{tag[:2]}>" for kind, cell in zip(kinds, cells, strict=True))


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
