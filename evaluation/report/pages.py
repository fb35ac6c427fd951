"""Writes a report as Markdown, or as one HTML file that opens from disk and shows the same Markdown.

The file has its own style and relative pictures. It needs no script and no network.
"""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from markdown_it import MarkdownIt

from evaluation.report.document import Document, Section, Sheet, SheetRow, Statement


def render_markdown(document: Document) -> str:
    """The whole report."""
    sections = (line for section in document.sections for line in _section(section))
    return "\n".join([*_opening(document), *sections]) + "\n"


def render_html(document: Document) -> str:
    """The whole page. HTML inside a text is shown and not obeyed."""
    render = MarkdownIt("js-default").render
    style = files("evaluation.report").joinpath("report.css").read_text("utf-8")
    links = (f'<a href="#{section.key}">{escape(section.title)}</a>' for section in document.sections)
    sections = (
        f'<section id="{section.key}">{render(chr(10).join(_section(section)))}</section>'
        for section in document.sections
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(document.title)}</title><style>
{style}</style></head><body>
<header>{render(chr(10).join(_opening(document)))}</header>
<nav>{"".join(links)}</nav>
<main>{"".join(sections)}</main></body></html>
"""


def _opening(document: Document) -> Iterator[str]:
    yield f"# {document.title}\n"
    yield from (f"{text}\n" for text in document.introduction)
    yield from _statements(document.statements)
    if document.facts:
        yield f"{' '.join(document.facts)}\n"


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
    yield from (f"- {statement.mark.value}{_one_line(statement.text)}" for statement in statements)
    if statements:
        yield ""


def render_sheet(sheet: Sheet) -> Iterator[str]:
    """A table under its title, line by line."""
    yield f"**{sheet.title}**\n"
    yield _line(sheet.columns)
    yield "|" + "".join("---:|" if sheet.is_number(column) else "---|" for column in range(len(sheet.columns)))
    yield from (_line(_cells(row)) for row in sheet.rows)
    yield ""


def _cells(row: SheetRow) -> Sequence[str]:
    mark = row.kind.value
    return [f"{mark}{cell}{mark}" if cell else "" for cell in row.cells]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_one_line(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _one_line(text: str) -> str:
    """One line of `text`, which may quote a server's words with their line ends."""
    return " ".join(text.split()) if "\n" in text or "\r" in text else text
