"""Bytes as an enemy makes them: those that were kept, damaged copies of good ones, and any at all.

What a search found, and what a reader is known to stumble over, is kept in `tests/gateway/corpus`, one bytes literal on
each line: every run of the suite reads it again. `make fuzz` searches on.
"""

import ast
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

_CORPUS = Path(__file__).parent / "gateway" / "corpus"
_MAX_DAMAGES = 6
_MAX_CUT_BYTES = 40


def kept(name: str) -> list[bytes]:
    """The inputs kept under `name`."""
    lines = (_CORPUS / f"{name}.txt").read_text("ascii").splitlines()
    return [ast.literal_eval(line) for line in lines]


def damaged(originals: Sequence[bytes], words: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """An original, or none, with bytes taken out, doubled, replaced, and with `words` put in."""

    @st.composite
    def copy(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from([b"", *originals]))
        for _ in range(draw(st.integers(0, _MAX_DAMAGES))):
            start = draw(st.integers(0, len(data)))
            end = min(len(data), start + draw(st.integers(0, _MAX_CUT_BYTES)))
            piece = draw(st.sampled_from([b"", data[start:end] * 2, *words]) | st.binary(max_size=8))
            data = data[:start] + piece + data[end:]
        return data

    return copy() | st.binary(max_size=200)
