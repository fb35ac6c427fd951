"""Writes chunks of an HTTP/1.1 body: the number of bytes in hexadecimal, then the bytes (RFC 9112, section 7.1)."""

from typing import Final

MOST_PREPARED: Final = 0xFFF  # bytes of a chunk whose length takes three digits: one token's, as a rule
CHUNK_HEADS: Final = [b"%x\r\n" % size for size in range(MOST_PREPARED + 1)]
"""The line before a chunk, by the number of the chunk's bytes."""
LAST_CHUNK: Final = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """`data`, which is not empty, as one chunk."""
    size = len(data)
    head = CHUNK_HEADS[size] if size <= MOST_PREPARED else b"%x\r\n" % size
    return head + data + b"\r\n"
