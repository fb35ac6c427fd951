"""Lines reach the stream in order; a stream that stalls costs lines, never the caller's time."""

import json
from io import StringIO
from threading import Event

from gateway.telemetry.writer import LineWriter


def notice(count: int) -> str:
    return json.dumps({"dropped": count})


class StalledStream(StringIO):
    """A stream whose reader has gone to sleep: `write` returns only once `moves` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.is_waiting = Event()
        self.moves = Event()

    def write(self, text: str) -> int:
        self.is_waiting.set()
        assert self.moves.wait(30)
        return super().write(text)


def test_lines_are_written_in_order() -> None:
    """Closing writes everything that was queued."""
    stream = StringIO()
    writer = LineWriter(stream, notice)
    for number in range(100):
        writer.write(str(number))
    writer.close()
    assert stream.getvalue().split() == [str(number) for number in range(100)]


def test_a_stalled_stream_drops_lines_and_tells_how_many() -> None:
    """With room for three, the rest is dropped without waiting, and counted in the next line."""
    stream = StalledStream()
    writer = LineWriter(stream, notice, max_lines=3)
    writer.write("first")
    assert stream.is_waiting.wait(30)
    for number in range(10):
        writer.write(str(number))
    stream.moves.set()
    writer.close()
    assert stream.getvalue().splitlines() == ["first", "0", "1", "2", '{"dropped": 7}']


def test_the_count_comes_before_the_line_that_found_room_again() -> None:
    """A reader of the log sees the gap where it is."""
    stream = StalledStream()
    writer = LineWriter(stream, notice, max_lines=1)
    writer.write("first")
    assert stream.is_waiting.wait(30)
    writer.write("second")
    writer.write("lost")
    stream.is_waiting.clear()
    stream.moves.set()
    assert stream.is_waiting.wait(30)
    writer.write("third")
    writer.close()
    assert stream.getvalue().splitlines() == ["first", "second", '{"dropped": 1}', "third"]


class BrokenStream(StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_stream_that_is_gone_ends_nothing() -> None:
    """Lines to a closed pipe are lost and the writer still closes."""
    writer = LineWriter(BrokenStream(), notice)
    writer.write("lost")
    writer.close()
