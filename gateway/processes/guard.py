"""Runs one program for as long as standard input stays open, and ends with its status.

Whoever holds the other end of the pipe keeps the program alive: a parent, or the successor that has got the end from
it. When the last holder is gone, however it ended, the program is ended too: by SIGTERM, then by force. This file is
started by its path and imports only what starts quickly.
"""

import os
import select
import signal
import subprocess
import sys

_GRACE_SECONDS = 5.0


def main(command: list[str]) -> int:
    """Run `command`; returns its exit status, or 128 and the number of the signal that ended it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the end of the input ends it
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_as_usual) as program:  # noqa: PLW1509, S603 - one thread
        ended = os.pidfd_open(program.pid)
        while ended not in select.select([ended, sys.stdin.fileno()], [], [])[0]:
            if not os.read(sys.stdin.fileno(), 4096):
                program.terminate()
                if not select.select([ended], [], [], _GRACE_SECONDS)[0]:
                    program.kill()
                break
        status = program.wait()
    return status if status >= 0 else 128 - status


def _as_usual() -> None:
    """Give the program the signals' usual meaning, which it would else inherit from here."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
