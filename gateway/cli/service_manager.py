"""What systemd hears of the gateway that it has started: that the gateway is ready, and which process is the main one.

A gateway that takes over from another one is not the process that systemd knows. It must say so before the other ends,
because systemd would take that end for the end of the service. Nothing is said of an end: the service may go on in a
successor. The protocol is that of sd_notify(3): a datagram to the socket that an environment variable names.
"""

import os
import socket
from collections.abc import MutableMapping

VARIABLE = "NOTIFY_SOCKET"
_SECONDS = 1.0  # systemd reads at once; nothing else happens here meanwhile


class NotHeard(Exception):
    """The service manager cannot be told; the text says why."""


class ServiceManager:
    """Who started this process, if it wants to hear of it."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take the address out of `environment`: no child may speak for the gateway."""
        address = environment.pop(VARIABLE, "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # @: not in the file system

    def hear_ready(self) -> None:
        """Tell it that this process is the gateway and serves; raises `NotHeard`. No effect if nobody wants to hear."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.settimeout(_SECONDS)
            try:
                end.sendto(f"READY=1\nMAINPID={os.getpid()}\n".encode(), self._address)
            except OSError as error:
                raise NotHeard(
                    f"the service manager does not hear at {self._address!r} ({VARIABLE}): {error}"
                ) from None
