"""The splitter: events are the same however the bytes arrive, and no byte is lost or changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.sse import EventSplitter, MalformedStream, event_data, split_events

from .transcripts import PATIENT, at_cuts, pieces

CASES = {
    b"data: a\n\ndata: b\n\n": [b"data: a\n\n", b"data: b\n\n"],
    b"data: a\r\n\r\ndata: b\r\n\r\n": [b"data: a\r\n\r\n", b"data: b\r\n\r\n"],
    b"data: a\r\rdata: b\r\r": [b"data: a\r\r", b"data: b\r\r"],
    b"data: a\r\rdata: b\n\n": [b"data: a\r\r", b"data: b\n\n"],
    b"data: a\n\r\ndata: b\r\n\n": [b"data: a\n\r\n", b"data: b\r\n\n"],
    b": keep-alive\n\nevent: x\ndata: a\n\n": [b": keep-alive\n\n", b"event: x\ndata: a\n\n"],
    b"data: a\n\n\ndata: b\n\n": [b"data: a\n\n", b"\ndata: b\n\n"],
    b"data: a\n\n\n\n\ndata: b\n\n": [b"data: a\n\n", b"\n\n", b"\ndata: b\n\n"],
    b"data: \xe2\x80\xa8 \xc2\x85\n\n": [b"data: \xe2\x80\xa8 \xc2\x85\n\n"],
    b'data: "\\n\\n\\r\\r"\n\n': [b'data: "\\n\\n\\r\\r"\n\n'],
    b"data: a\ndata: b\n\n": [b"data: a\ndata: b\n\n"],
    b"": [],
}


@pytest.mark.parametrize("stream", CASES)
@pytest.mark.parametrize("tail", [b"", b"data: unfin", b"d"])
def test_events_do_not_depend_on_the_split(stream: bytes, tail: bytes) -> None:
    """Whole, byte by byte and at every split point, with a tail and without, the events are the same."""
    data = stream + tail
    for reads in [[data], list(pieces(data, 1)), *([data[:cut], data[cut:]] for cut in range(len(data)))]:
        splitter = EventSplitter()
        events = [event for read in reads for event in splitter.feed(read)]
        assert events == CASES[stream]
        assert splitter.tail() == tail


@PATIENT
@given(st.text("a\r\n:", max_size=40).map(str.encode), st.lists(st.integers(0, 40), max_size=8))
def test_any_split_of_any_bytes_gives_the_same_events(data: bytes, cuts: list[int]) -> None:
    """Events and tail, joined, are the input; one read or many make no difference."""
    whole, split = EventSplitter(), EventSplitter()
    expected = whole.feed(data)
    assert [event for read in at_cuts(data, cuts) for event in split.feed(read)] == expected
    assert b"".join(expected) + whole.tail() == data
    assert split.tail() == whole.tail()
    assert split_events(b"".join(expected)) == expected


def test_an_event_beyond_the_bound_is_refused() -> None:
    """The bound holds for one unfinished event, not for the stream."""
    splitter = EventSplitter(max_event_bytes=64)
    for _ in range(100):
        assert len(splitter.feed(b"data: 0123456789\n\ndata: x")) == 1
        assert len(splitter.feed(b"\n\n")) == 1
    with pytest.raises(MalformedStream):
        for _ in range(10):
            splitter.feed(b"data: 0123456789")


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\n\n", b"a"),
        (b"data:  a\r\n\r\n", b" a"),
        (b"event: x\ndata: a\ndata: b\n\n", b"a\nb"),
        (b": comment\n\n", b""),
        (b"\ndata: a\r\r", b"a"),
        (b"data: \xe2\x80\xa8\x0b\x0c\n\n", b"\xe2\x80\xa8\x0b\x0c"),
    ],
)
def test_data_of_an_event(event: bytes, data: bytes) -> None:
    """The payload is the data lines without their prefix; only CR and LF end a line."""
    assert event_data(event) == data
