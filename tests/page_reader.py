"""Reads a page of HTML: its tables, its links and pictures, and whether every tag is closed."""

from html.parser import HTMLParser

from evaluation.report.document import Sheet

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Holds every tag against its end tag; keeps the tables and what refers elsewhere."""

    def __init__(self, page: str) -> None:
        """Read the HTML of `page`."""
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tables: list[list[list[str]]] = []  # each with its rows of cells, the headings first
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open it, unless it has no end."""
        if tag not in VOID:
            self.open.append(tag)
        match tag:
            case "table":
                self.tables.append([])
            case "tr":
                self.tables[-1].append([])
            case "th" | "td":
                self.tables[-1][-1].append("")
        known = dict(attrs)
        self.references += [value for name, value in attrs if name in ("src", "href") and value]
        self.ids += [known["id"] or ""] if "id" in known else []
        self.images += [known] if tag == "img" else []

    def handle_endtag(self, tag: str) -> None:
        """It must be the one that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text in a cell belongs to it, whatever emphasizes it."""
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += data


def rows_of(sheet: Sheet) -> list[list[str]]:
    """The rows of `sheet` as a table of a page has them, the headings first."""
    return [[" ".join(cell.split()) for cell in row] for row in (sheet.columns, *(row.cells for row in sheet.rows))]
