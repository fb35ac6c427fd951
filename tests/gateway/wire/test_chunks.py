"""Chunks, against a parser that knows them."""

import httptools
import pytest

from gateway.wire.chunks import LAST_CHUNK, MOST_PREPARED, chunk


class Read:
    """What a parser finds in a body."""

    def __init__(self) -> None:
        self.body = b""
        self.is_complete = False

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """The end."""
        self.is_complete = True


@pytest.mark.parametrize("size", [1, 15, 16, 255, 256, MOST_PREPARED, MOST_PREPARED + 1, 1_000_000])
def test_a_parser_finds_the_bytes_again(size: int) -> None:
    """Whatever their number, also where its digits are not prepared."""
    body, read = b"\r\n" * (size // 2) + b"x" * (size % 2), Read()
    parser = httptools.HttpResponseParser(read)
    parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(body) + chunk(body) + LAST_CHUNK)
    assert read.body == body + body
    assert read.is_complete
