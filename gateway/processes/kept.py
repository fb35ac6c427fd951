"""A program that runs for as long as its standard input stays open, so that a successor can take it over.

Two descriptors are all that ties it to a parent: the pipe to its input keeps it alive and may carry orders, and the
pipe from its output carries its lines and ends with it. Nothing asks the kernel to end it with its parent, because a
parent that has handed the pipes over may end.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence

_READ_BYTES = 64 * 1024
_MAX_LINE_BYTES = 1 << 20  # a longer line is cut here


class Kept:
    """The two pipes of such a program; `heard` gets each line that it writes, `ended` is called once at its end."""

    def __init__(self, orders: int, news: int, heard: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        """Own the descriptors `orders` (to its input) and `news` (from its output)."""
        self._orders = orders
        self._news = news
        self._heard = heard
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._is_open = True
        self._program: subprocess.Popen[bytes] | None = None
        os.set_blocking(news, False)
        self._loop.add_reader(news, self._read)

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        heard: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> "Kept":
        """Start `command`, which must end when its standard input does; raises `OSError`."""
        theirs_in, orders = os.pipe()
        news, theirs_out = os.pipe()
        try:
            program = subprocess.Popen(  # noqa: S603 - a command of our own
                command,
                stdin=theirs_in,
                stdout=theirs_out,
                stderr=subprocess.STDOUT,  # it would else hold the log of a parent that has ended
                env=dict(environment),
                start_new_session=True,
            )
        except OSError:
            os.close(orders)
            os.close(news)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        kept = cls(orders, news, heard, ended)
        kept._program = program
        return kept

    @property
    def pipes(self) -> tuple[int, int]:
        """The descriptors to its input and from its output, for whoever takes it over."""
        return self._orders, self._news

    def close(self) -> None:
        """Close its input, which orders its end; nothing more is heard of it. No effect if it was closed before."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._news)
            os.close(self._orders)
            os.close(self._news)

    def _read(self) -> None:
        data = os.read(self._news, _READ_BYTES)
        self._received += data
        while self._is_open and (length := self._received.find(b"\n")) >= 0:
            line = bytes(self._received[:length])
            del self._received[: length + 1]
            self._heard(line)
        del self._received[_MAX_LINE_BYTES:]
        if not data and self._is_open:
            self.close()
            if self._program is not None:
                self._program.wait()  # it has closed its output as the last thing it did
            self._ended()
