"""The report as one HTML file that opens from disk: its own style, relative pictures, no script, no network."""

from collections.abc import Iterator, Sequence
from html import escape

from evaluation.paper.document import Document, Mark, Section, Sheet, SheetRow, Statement

STYLE = """
:root { color-scheme: light; --ink: #222; --faint: #6d6d6d; --line: #e3e3e3; --good: #00694c; --bad: #a83c00; }
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: #fff;
  max-width: 76rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.6rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1.25rem; margin: 0 0 .25rem; }
section { border-top: 1px solid var(--line); padding: 1.75rem 0 .5rem; }
p { max-width: 52rem; margin: .5rem 0; }
.setting, .facts { color: var(--faint); }
nav { margin: 1rem 0; columns: 3 18rem; font-size: .9rem; }
nav a { display: block; color: inherit; }
ul.statements { list-style: none; padding: 0; margin: .75rem 0; max-width: 60rem; }
ul.statements li { margin: .3rem 0; padding-left: 1.6rem; text-indent: -1.6rem; }
.mark { display: inline-block; width: 1.6rem; text-indent: 0; font-weight: 700; }
.holds .mark { color: var(--good); } .fails .mark { color: var(--bad); } .fails { color: var(--bad); }
img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
.sheet { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 2px solid var(--faint); font-weight: 600; }
tr.published td { color: var(--faint); border-bottom: none; padding-top: .6rem; }
tr.deviation td { color: var(--faint); font-style: italic; }
tr.missed td { color: var(--bad); }
.targets td, .targets th { text-align: left; }
.remarks { border-left: 3px solid var(--line); padding-left: 1rem; }
@media print { nav { display: none; } section { break-inside: avoid; } }
"""
SIGNS = {Mark.HOLDS: ("✓", "holds"), Mark.FAILS: ("✗", "fails"), Mark.PLAIN: ("·", "plain")}


def render_html(document: Document) -> str:
    """The whole page."""
    return "\n".join(_page(document)) + "\n"


def _page(document: Document) -> Iterator[str]:
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(document.title)}</title><style>{STYLE}</style></head><body>"
    yield f"<header><h1>{escape(document.title)}</h1>"
    yield from (f"<p>{escape(text)}</p>" for text in document.introduction)
    yield _statements(document.statements)
    yield f'<p class="facts">{escape(" ".join(document.facts))}</p></header>'
    yield "<nav>"
    yield from (f'<a href="#{section.key}">{escape(section.title)}</a>' for section in document.sections)
    yield '<a href="#targets">Targets</a></nav><main>'
    for section in document.sections:
        yield from _section(section)
    yield f'<section id="targets">{_sheet(document.targets, "targets")}</section>'
    yield "</main></body></html>"


def _section(section: Section) -> Iterator[str]:
    if section.part:
        yield f'<h2 class="part">{escape(section.part)}</h2>'
    yield f'<section id="{section.key}"><h3>{escape(section.title)}</h3>'
    yield f'<p class="setting">{escape(section.setting)}</p>'
    yield _statements(section.statements)
    if section.picture is not None:
        yield f'<img src="{escape(section.picture)}" alt="{escape(section.alt)}">'
    yield from (_sheet(sheet) for sheet in section.sheets)
    if section.remarks:
        yield '<div class="remarks">'
        yield from (f"<p>{escape(remark)}</p>" for remark in section.remarks)
        yield "</div>"
    yield "</section>"


def _statements(statements: Sequence[Statement]) -> str:
    if not statements:
        return ""
    return f'<ul class="statements">{"".join(_statement(each) for each in statements)}</ul>'


def _statement(statement: Statement) -> str:
    sign, name = SIGNS[statement.mark]
    spoken = f' aria-label="{statement.mark.value}"' if statement.mark.value else ""
    return f'<li class="{name}"><span class="mark"{spoken}>{sign}</span>{escape(statement.text)}</li>'


def _sheet(sheet: Sheet, name: str = "") -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in sheet.columns)
    body = "".join(_row(row) for row in sheet.rows)
    return (
        f'<div class="sheet {name}"><table><caption>{escape(sheet.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: SheetRow) -> str:
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in row.cells)
    return f'<tr class="{row.kind.value}">{cells}</tr>'
