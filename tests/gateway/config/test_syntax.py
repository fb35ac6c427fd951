"""For a text that is not YAML, the fault says what to do and names the line."""

import pytest

from gateway.config.document import read_document
from gateway.config.faults import FaultLog


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("a: 1\nb:\n\tc: 1\n", 3, "indented with a tab", "spaces"),
        ("a:\n  b: 1\n \tc: 1\n", 3, "tab", "spaces"),
        ("a: {b: 1\nc: 2\n", 2, "does not end the `{` of line 1", "`}`"),
        ("a: [1, 2\nc: 2\n", 2, "does not end the `[` of line 1", "`]`"),
        ("a: b: c\n", 1, "where no key can stand", "indent"),
        ("a\nb: 1\n", 2, "where no key can stand", "indent"),
        ("a:\n  b: 1\n c: 2\n", 3, "is not indented as the part that began in line 1", "same indent"),
        ("a: 'x\n", 2, "does not end the quote of line 1", "quote"),
        ("a: *x\n", 1, "alias that nothing above defines", "`&`"),
        ("a: @x\n", 1, "keeps for itself", "quotes"),
        ("a: 1\n---\nb: 2\n", 2, "second document", "one document"),
        ('a: "\\q"\n', 1, "escape", "backslash"),
        ("{}}\n", 1, "is not valid YAML", "brackets"),
    ],
)
def test_syntax_in_plain_words(text: str, line: int, message: str, remedy: str) -> None:
    """One fault; the line is the editor's, message and remedy are words of ours."""
    faults = FaultLog("c.yaml")
    read_document(text, {}, faults)
    (fault,) = faults.faults()
    assert fault.line == line
    assert message in fault.message and remedy in fault.remedy
