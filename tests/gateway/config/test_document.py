"""YAML becomes values: scalars follow YAML 1.2, every path has a line, and the cost of a text is bounded."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.document import MAX_DEPTH, Value, read_document
from gateway.config.faults import FaultLog


def _read(text: str, environ: dict[str, str] | None = None) -> tuple[Value, FaultLog]:
    faults = FaultLog("f")
    return read_document(text, environ or {}, faults), faults


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("0x1f", 31),
        ("0o17", 15),
        ("007", 7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'3'", "3"),
        ('"true"', "true"),
        ("9" * 400, "9" * 400),
    ],
)
def test_scalars_follow_yaml_1_2(written: str, value: Value) -> None:
    """Plain scalars are typed by the core schema of YAML 1.2, quoted ones are text."""
    read, faults = _read(f"k: {written}")
    assert read == {"k": value}
    assert type(read["k"]) is type(value)
    assert not list(faults)


@pytest.mark.parametrize(
    ("written", "environ", "value"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-d}", {"A": "x"}, "x"),
        ("${A:-}", {}, None),
        ("${A}", {"A": ""}, None),
        ("a-${A}-${B:-b}-c", {"A": "1"}, "a-1-b-c"),
        ("$${A}", {"A": "x"}, "${A}"),
        ("'${A}'", {"A": "8"}, "8"),
        ("$A", {"A": "x"}, "$A"),
        ("${A}", {"A": "${B}"}, "${B}"),
    ],
)
def test_variables(written: str, environ: dict[str, str], value: Value) -> None:
    """`${VAR}` and `${VAR:-default}` are replaced once; nothing is null; `$${` is literal."""
    read, faults = _read(f"k: {written}", environ)
    assert read == {"k": value}
    assert not list(faults)


@pytest.mark.parametrize("written", ["${A}", "${}", "${A-b}", "${A", "x${1}"])
def test_variables_that_cannot_be_replaced_are_faults(written: str) -> None:
    """A variable that is not set, or a malformed one, is a fault at its line."""
    _, faults = _read(f"a: 1\nk: '{written}'")
    assert [(fault.line, fault.path) for fault in faults.faults()] == [(2, "k")]


def test_every_path_has_its_line() -> None:
    """Keys and items are found where they stand, in block and in flow style."""
    _, faults = _read("a:\n  - x: 1\n    y: {z: 2}\n  - 3\nb: [1,\n  2]\n")
    assert faults.lines == {
        (): 1,
        ("a",): 1,
        ("a", 0): 2,
        ("a", 0, "x"): 2,
        ("a", 0, "y"): 3,
        ("a", 0, "y", "z"): 3,
        ("a", 1): 4,
        ("b",): 5,
        ("b", 0): 5,
        ("b", 1): 6,
    }


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029", "\r"])
def test_lines_are_those_that_editors_show(mark: str) -> None:
    """What YAML takes for a line break besides LF moves no line number: of values, of faults, of the syntax."""
    _, faults = _read(f"a: 'x{mark}{mark}y'\nb: 2\n")
    assert faults.lines[("b",)] == 2
    _, faults = _read(f"a: 'x{mark}{mark}y'\nb: {{$" + "{X}: 1\n")
    [fault] = faults.faults()
    assert (fault.line, fault.remedy) == (2, "inside {...} and [...] put a value with `${VAR}` in quotes")


def test_a_character_that_cannot_be_printed_is_found_in_its_line() -> None:
    """The fault names the character by its number and the line that holds it, and repeats it nowhere."""
    _, faults = _read("a: 1\nb: 2\nc: \x07\n")
    [fault] = faults.faults()
    assert (fault.line, fault.message) == (3, "holds the character 0x0007, which cannot be printed")
    assert str(fault).isprintable()


@pytest.mark.parametrize("value", ["\x1b[2J", "a\nb", "\u2028", "\ud800"])
def test_what_a_file_holds_cannot_command_a_terminal(value: str) -> None:
    """Message, remedy, path and file name of a fault are one line of characters that can be printed."""
    faults = FaultLog(value)
    faults.add((value,), f"names {value}", f"mend {value}")
    [fault] = faults.faults()
    assert all(text.isprintable() for text in (fault.file, fault.path, fault.message, fault.remedy))


def test_aliases_are_values() -> None:
    """An alias stands for its anchor's value."""
    read, faults = _read("a: &x {k: [1]}\nb: *x")
    assert read == {"a": {"k": [1]}, "b": {"k": [1]}}
    assert not list(faults)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
        "[" * 5000,
        "a: {b",
        "a: 'x",
        "\tx",
        "a: *nobody",
        "a: 1\n---\nb: 2",
        'a: "\\ud800"',
        'a: "\\UFFFFFFFF"',
        "a: \x07",
        "? [a]\n: b",
        "a: !!python/object:os.system {}",
        "a: !!binary aGk=",
    ],
)
def test_what_cannot_be_read_is_a_fault(text: str) -> None:
    """Syntax errors, endless structures, foreign tags and unprintable text are faults, never exceptions."""
    _, faults = _read(text)
    assert faults.faults()


def test_many_aliases_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine levels of nine aliases would be 10^8 values; reading stops at the bound with one fault."""
    monkeypatch.setattr("gateway.config.document.MAX_NODES", 1000)
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    _, faults = _read("\n".join(lines))
    assert [fault.message for fault in faults.faults()] == ["is one of more than 1000 values"]


@pytest.mark.parametrize("text", ["a: &a [*a, *a]\nb: *a", "a: &a {b: *a, c: *a, d: *a}\nb: [*a, *a]"])
def test_a_value_that_contains_itself_is_read_once_to_the_depth(text: str) -> None:
    """It has as many places as levels and one fault, although its places multiply at each level."""
    _, faults = _read(text)
    assert [fault.message for fault in faults.faults()] == [f"is nested deeper than {MAX_DEPTH} levels"]
    assert len(faults.lines) <= MAX_DEPTH + 2


@given(st.text())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_text_raises(text: str) -> None:
    """Any text is read or faulted."""
    _read(text)
