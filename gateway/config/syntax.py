"""Explains in an operator's words why a text is not YAML.

The table goes by the beginnings of PyYAML's messages; a message that is not in it keeps the parser's words. `{}` stands
for the line in which the unfinished part began.
"""

import yaml

_QUOTE_IT = "put a value that holds it in quotes"
_TABLE = (
    ("found character '\\t'", "is indented with a tab", "use spaces: YAML takes no tabs there"),
    ("found a tab character", "is indented with a tab", "use spaces: YAML takes no tabs there"),
    ("found character '", "begins a value with a character that YAML keeps for itself", _QUOTE_IT),
    (
        "mapping values are not allowed",
        "has a `:` where no key can stand",
        "indent the key as its neighbours; quote a text",
    ),
    ("expected ',' or '}'", "does not end the `{{` of line {}", "end it with `}}`, members apart by `,`; quote a text"),
    ("expected ',' or ']'", "does not end the `[` of line {}", "end it with `]`, items apart by `,`; quote a text"),
    ("expected the node content", "has no value where one must stand", "write one, or remove what is left over"),
    (
        "expected <block end>",
        "is not indented as the part that began in line {}",
        "give all members of a part the same indent",
    ),
    ("could not find expected ':'", "has a line without `:` after its key", "write `key: value`"),
    ("found unexpected end of stream", "does not end the quote of line {}", "end it with the quote that began it"),
    ("found unexpected document separator", "does not end the quote of line {}", "end it with the quote that began it"),
    (
        "found undefined alias",
        "uses an alias that nothing above defines",
        "define it with `&`, or put a text with `*` in quotes",
    ),
    (
        "found unknown escape character",
        "has an escape that YAML does not know",
        "write `\\\\` for a backslash, or use '...'",
    ),
    ("but found another document", "holds a second document (`---`)", "keep one document in a file"),
)


def in_plain_words(error: yaml.MarkedYAMLError, began_in_line: int) -> tuple[str, str]:
    """The message and a remedy; `began_in_line` is the line in which the parser's current part began."""
    problem = error.problem or ""
    for beginning, message, remedy in _TABLE:
        if problem.startswith(beginning):
            return message.format(began_in_line), remedy.format(began_in_line)
    return f"is not valid YAML: {problem}", "compare its indentation, quotes and brackets with the lines around it"
