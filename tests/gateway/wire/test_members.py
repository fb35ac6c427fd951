"""Members of the outermost object of a JSON text, found while it passes in pieces of any size."""

import json
import tracemalloc
from collections.abc import Iterable
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.members import MOST_VALUE_BYTES, UNREAD, Members

NAMES = ("usage", "error", "system_fingerprint")
AWKWARD = ["usage", "error", '"usage":{"a":1}', '\\"usage', "\\", '\\\\"', "{", "}", "]", '"', "é", "x"]
TEXTS = st.lists(st.sampled_from(AWKWARD), max_size=4).map("".join) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=5
)
KEYS = TEXTS | st.sampled_from(NAMES)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


def read(pieces: Iterable[bytes]) -> dict[str, object]:
    """What is found in a text that comes in `pieces`."""
    members = Members(NAMES)
    for piece in pieces:
        members.feed(piece)
    members.end()
    return members.values


@given(OBJECTS, st.booleans(), st.sampled_from([None, 1]), st.data())
def test_what_a_parser_finds_is_found_however_the_text_is_cut(
    value: dict[str, object], ascii_only: bool, indent: int | None, data: st.DataObject
) -> None:
    """Byte by byte, whole, and in pieces: the wanted members of the outermost object, and no others."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    expected = {name: value[name] for name in NAMES if name in value}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    assert read([text]) == expected
    assert read(text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)) == expected
    assert read(text[at : at + 1] for at in range(len(text))) == expected


@given(st.lists(st.sampled_from([b'"', b"\\", b"{", b"}", b'"usage"', b":", b" ", b"x", b",", b"1"]), max_size=40))
def test_what_is_no_json_does_no_harm(tokens: list[bytes]) -> None:
    """Whatever an engine sends is passed over; nothing is raised."""
    whole = b"".join(tokens)
    assert read([whole]).keys() <= set(NAMES)
    read(whole[at : at + 1] for at in range(len(whole)))


def test_of_a_name_given_twice_the_last_counts() -> None:
    """As JSON's readers have it."""
    assert read([b'{"usage":1,"error":null,"usage":2}']) == {"usage": 2, "error": None}


@pytest.mark.parametrize(
    "value", [b'{"a":"%b"}' % (b"x" * MOST_VALUE_BYTES), b'"%b"' % (b"x" * MOST_VALUE_BYTES), b"?"]
)
def test_a_value_that_cannot_be_read_is_there_all_the_same(value: bytes) -> None:
    """A long error is an error; what comes behind it is read."""
    text = b'{"error":%b,"usage":{"prompt_tokens":3}}' % value
    for size in (1, 1000, len(text)):
        found = read(text[at : at + size] for at in range(0, len(text), size))
        assert found == {"error": UNREAD, "usage": {"prompt_tokens": 3}}


@pytest.mark.parametrize("piece", [b"x" * 2**16, b"\\\\" * 2**15, b'\\"' * 2**15, b'"usage"' * 2**13, b"{" * 2**16])
def test_nothing_of_a_long_text_is_kept(piece: bytes) -> None:
    """Memory is that of one piece, whatever the pieces are full of."""
    members = Members(NAMES)
    tracemalloc.start()
    members.feed(b'{"text":"')
    for _ in range(64):
        members.feed(piece)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2**17


def test_reading_takes_time_in_proportion_to_the_text() -> None:
    """A text with a wanted name at every turn, as a model that repeats itself makes it, is searched once."""

    def seconds(names: int) -> float:
        text = b'{"tokens":[' + b'"usage",' * names + b'"x"]}'
        began = process_time()
        read([text])
        return process_time() - began

    short, long = (min(seconds(names) for _ in range(3)) for names in (4_000, 32_000))
    assert long < 24 * short  # eight times as long; searched anew at each name it takes 60 times as long
