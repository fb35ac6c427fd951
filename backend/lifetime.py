"""A server process that ends when it should: on SIGTERM or SIGINT, and with its parent where that is its supervisor."""

import asyncio
import ctypes
import os
import signal
import sys
from typing import Annotated

import typer

_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec there is no time to look for libraries.
_libc = ctypes.CDLL(None, use_errno=True)

EndWithParent = Annotated[
    bool, typer.Option("--end-with-parent", help="End when the process that started this one ends, in whatever way.")
]
"""The option of a server command that a supervisor gives; who starts one from a shell wants it to outlive the shell."""


def die_with_parent(parent: int | None = None, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to signal this process when its parent dies (Linux; elsewhere nothing happens).

    `parent` is the parent's id where the caller knows it from before a fork; default: whoever that is now. A process
    whose children end with it, or that has none, takes SIGKILL, which reaches it stopped too.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid() if parent is None else parent
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        # The parent died before the request was in place.
        raise SystemExit(1)


async def until_told_to_stop() -> None:
    """Return at the first SIGTERM or SIGINT."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    await signalled.wait()
