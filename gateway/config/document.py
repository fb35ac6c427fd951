"""Reads YAML text into plain values and notes the line of every path.

Lines are those that an editor and `grep -n` show: only LF ends a line, although YAML knows more line breaks. Scalars
follow YAML 1.2, so `no` is text and `1e3` is a number. A file has one document; its keys are text, no key occurs twice,
and there are no tags. Anchors and aliases work. `${VAR}` and `${VAR:-default}` are replaced in scalars. The result is
text, which the schema converts as the key demands; an empty result is null. `$${` is a literal `${`. Size, depth and
the number of nodes are bounded, so that no text is expensive to read.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping
from math import isfinite
from pathlib import Path as FilePath
from typing import Any, NoReturn

import yaml
from yaml.reader import ReaderError

from gateway.config.faults import FaultLog, Path
from gateway.config.surroundings import Surroundings
from gateway.config.syntax import in_plain_words

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 1_000_000

Value = Any  # dict[str, Value] | list[Value] | str | int | float | bool | None

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_HEX_OR_OCTAL = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# Python refuses to read longer decimal numbers; none of the configuration's is near it.
_MAX_DIGITS = 300
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>[^}]*))?\}|(?P<stray>\$\{)")


class _PlainLoader(yaml.SafeLoader):
    """Composes nodes only; every scalar stays text, so that `_typed` alone decides its type."""


_PlainLoader.yaml_implicit_resolvers = {}


class _Lines:
    """Numbers the lines of a text from 1; a place is the index of a character."""

    def __init__(self, text: str) -> None:
        self._ends = [end.start() for end in re.finditer("\n", text)]

    def number(self, index: int) -> int:
        return bisect_left(self._ends, index) + 1

    def of(self, node: yaml.Node) -> int:
        return self.number(node.start_mark.index)


def read_text(path: FilePath, faults: FaultLog) -> str | None:
    """The text of the file at `path`; None if it cannot be read, and then `faults` says why."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        faults.add((), f"cannot be read: {reason}", "name a readable file")
        return None
    if len(content) > MAX_BYTES:
        faults.add((), f"is larger than {MAX_BYTES} bytes", "use a smaller file")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        faults.add((), "is not UTF-8 text", "save it as UTF-8", line=line)
        return None


def read_document(text: str, environ: Mapping[str, str], faults: FaultLog, *, is_complete: bool = True) -> Value:
    """The value of `text`; sets the `lines` of `faults` and notes every fault there.

    A variable that `environ` lacks is a fault if `environ` `is_complete`; else it is taken on trust.
    """
    lines = _Lines(text)
    try:
        node = yaml.compose(text, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = lines.number(mark.index) if mark else 1
        began = lines.number(error.context_mark.index) if error.context_mark else line
        message, remedy = in_plain_words(error, began)
        if "${" in text.split("\n")[line - 1]:
            remedy = "inside {...} and [...] put a value with `${VAR}` in quotes"
        faults.add((), message, remedy, line=line)
        return None
    except ReaderError as error:
        reason = f"holds the character {error.character:#06x}, which cannot be printed"
        faults.add(
            (), reason, "remove it, or write it as an escape in double quotes", line=lines.number(error.position)
        )
        return None
    except RecursionError:
        faults.add((), f"is nested deeper than {MAX_DEPTH} levels", "flatten it")
        return None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        faults.add((), f"is not valid YAML: {error}", "write its escapes anew")
        return None
    if node is None:
        return {}
    reader = _Reader(lines, Surroundings(environ, is_complete), faults)
    faults.lines = reader.lines
    try:
        return reader.read(node, ())
    except _BeyondBoundsError:
        return None


class _BeyondBoundsError(Exception):
    """The text is too deep or has too many values, and the fault is noted; a few aliases can stand for very many."""


class _Reader:
    """Walks the nodes once and notes lines and faults; it stops at a node that is beyond the bounds."""

    def __init__(self, lines: _Lines, surroundings: Surroundings, faults: FaultLog) -> None:
        self.lines: dict[Path, int] = {}
        self._lines = lines
        self._surroundings = surroundings
        self._faults = faults
        self._nodes = 0

    def read(self, node: yaml.Node, path: Path) -> Value:
        line = self._lines.of(node)
        self.lines.setdefault(path, line)
        self._nodes += 1
        if len(path) > MAX_DEPTH:
            self._end(path, f"is nested deeper than {MAX_DEPTH} levels", "flatten it", line)
        if self._nodes > MAX_NODES:
            self._end(path, f"is one of more than {MAX_NODES} values", "repeat less by aliases", line)
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rsplit(":", 1)[1] not in _PLAIN_TAGS:
            self._faults.add(path, f"has the YAML tag {node.tag!r}", "remove the tag", line=line)
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _end(self, path: Path, message: str, remedy: str, line: int) -> NoReturn:
        self._faults.add(path, message, remedy, line=line)
        raise _BeyondBoundsError

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Value]:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            place: Path = (*path, key)
            if key in result:
                self._repeated(place, self._lines.of(key_node))
                continue
            self.lines[place] = self._lines.of(key_node)
            result[key] = self.read(value_node, place)
        return result

    def _repeated(self, place: Path, line: int) -> None:
        message = f"is given twice, first in line {self.lines[place]}"
        self._faults.add(place, message, "keep one of the two", line=line)

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        line = self._lines.of(node)
        if not isinstance(node, yaml.ScalarNode) or not _is_text(node.value):
            self._faults.add(path, "has a key that is not text", "use plain words as keys", line=line)
            return None
        if node.value == "<<":
            self._faults.add(
                (*path, "<<"),
                "merge keys are not supported",
                "use `tenant_defaults` or write the keys out",
                line=line,
            )
            return None
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Value:
        text = str(node.value)
        if not _is_text(text):
            self._faults.add(path, "holds characters that are not text", "remove them")
            return None
        if "${" in text:
            return self._expanded(text, path)
        return text if node.style is not None else _typed(text)

    def _expanded(self, text: str, path: Path) -> str | None:
        def replacement(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if match["stray"]:
                self._faults.add(path, "has a malformed `${`", "write `${VAR}`, `${VAR:-default}`, or `$${` for itself")
                return ""
            if name is None:
                return "${"
            variables = self._surroundings.variables
            value = variables.get(name, "")
            if value or default is not None:
                return value or str(default)
            if name not in variables and not self._surroundings.is_complete:
                self._faults.guess(path)
                return name
            if name not in variables:
                self._faults.add(
                    path,
                    f"needs the environment variable {name}, which is not set",
                    f"set it, or write `${{{name}:-default}}`",
                )
            return ""

        expanded = _VARIABLE.sub(replacement, text)
        if not _is_text(expanded):
            self._faults.add(path, "takes characters that are not text from the environment", "set the variable anew")
            return None
        is_usable = path in self._faults.guesses or not self._faults.covers(path)
        return expanded if expanded and is_usable else None


_PLAIN_TAGS = {"str", "map", "seq"}


def _typed(text: str) -> Value:
    """The value of a plain scalar in YAML 1.2's core schema."""
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _HEX_OR_OCTAL.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and isfinite(number := float(text)):
        return number
    return text


def _is_text(text: str) -> bool:
    """False if `text` has lone surrogates, which UTF-8 cannot encode."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
