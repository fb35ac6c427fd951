"""Which releases of vLLM the fair queue was tested in, and whether the installed one is among them.

It rests on vLLM's private interface, which any release may change without a word: another one is refused, because a
queue in a wrong order would not show. Asked without importing vLLM, in a fraction of a second.
"""

from importlib.metadata import packages_distributions, version

TESTED_RELEASES = ("0.32",)


class Unsupported(RuntimeError):
    """This vLLM is not one that the fair queue is known to work in; the message says why and what helps."""

    def __init__(self, reason: str) -> None:
        """`reason` is what differs."""
        super().__init__(f"engine_order vtc: {reason}; use engine_order fcfs, or vLLM {' or '.join(TESTED_RELEASES)}")


def check_release(installed: str | None = None) -> None:
    """Raise `Unsupported` where vLLM `installed` (default: this interpreter's) was not tested."""
    installed = _installed() if installed is None else installed
    if ".".join(installed.split(".")[:2]) not in TESTED_RELEASES:
        raise Unsupported(f"vLLM {installed or '(none installed)'} was not tested")


def _installed() -> str:
    # The distribution has other names for other hardware.
    names = packages_distributions().get("vllm", ())
    return version(names[0]) if names else ""
