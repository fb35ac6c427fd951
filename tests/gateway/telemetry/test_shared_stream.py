"""Several processes write long lines to one pipe, terminal, socket or file, and none of them is torn."""

import os
import pty
import socket
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROCESSES, LINES = 4, 60
LENGTH = 20_000  # bytes of a line, more than a pipe takes in one piece
STUCK_SECONDS = 60.0
WRITER = """\
import os, sys
from gateway.telemetry.writer import LineWriter

name, lines, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
writer = LineWriter(sys.stderr, str)
for _ in range(lines):
    writer.write(name * length)
writer.close()
writer._thread.join()
"""
Ends = tuple[int, int]  # descriptors: where all write, and where the test reads


def a_pipe(_: Path) -> Ends:
    """What a container's runtime gives."""
    reads, writes = os.pipe()
    return writes, reads


def a_socket(_: Path) -> Ends:
    """What systemd gives."""
    reads, writes = socket.socketpair()
    return writes.detach(), reads.detach()


def a_terminal(_: Path) -> Ends:
    """What a person has; raw, so that no line's end is rewritten."""
    reads, writes = pty.openpty()
    tty.setraw(writes)
    return writes, reads


def a_file(folder: Path) -> Ends:
    """What a shell's `2>` gives."""
    path = folder / "log"
    return os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), os.open(path, os.O_RDONLY)


@contextmanager
def writers(stream: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that write at the same time, each lines of its own letter."""
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, name, str(LINES), str(LENGTH)], stderr=stream)
        for name in "abcdefgh"[:PROCESSES]
    ]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()


def read_all(reads: int, size: int) -> bytes:
    """Up to `size` bytes; fewer if there are no more."""
    received = bytearray()
    while len(received) < size:
        try:
            piece = os.read(reads, 65536)
        except OSError:  # a terminal that nobody has open any more
            break
        if not piece:
            break
        received += piece
    return bytes(received)


@pytest.mark.parametrize("open_stream", [a_pipe, a_socket, a_terminal, a_file])
def test_no_line_is_torn(open_stream: Callable[[Path], Ends], tmp_path: Path) -> None:
    """Each line is one writer's, and whole; none is lost."""
    writes, reads = open_stream(tmp_path)
    try:
        with writers(writes) as processes:
            os.close(writes)
            if open_stream is a_file:
                assert [each.wait(STUCK_SECONDS) for each in processes] == [0] * PROCESSES
            lines = read_all(reads, PROCESSES * LINES * (LENGTH + 1)).decode().splitlines()
            assert [each.wait(STUCK_SECONDS) for each in processes] == [0] * PROCESSES
    finally:
        os.close(reads)
    assert sorted(lines) == sorted(name * LENGTH for name in "abcdefgh"[:PROCESSES] for _ in range(LINES))
