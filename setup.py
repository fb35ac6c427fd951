"""Compiles what every request and every streamed chunk passes through, where `VTC_GATEWAY_COMPILE=1` asks for it.

The sources stay the only ones: mypyc makes C of them by their annotations (docs/decisions/mypyc.md). A C compiler takes
minutes to optimize that. `VTC_GATEWAY_OPTIMIZE=0` makes slower code in half a minute: it suffices to try that it builds
and works. All else of the packaging is in pyproject.toml.
"""

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from setuptools import setup

PASSED = {  # of the packages that a request passes, the modules that it does
    "clients": (
        "budget_headers",
        "body",
        "connection",
        "custody",
        "downstream",
        "incoming",
        "origins",
        "protocol",
        "rate_headers",
        "refusal",
        "request",
        "request_ids",
    ),
    "endpoints": ("connection", "failures", "plain_socket", "progress", "upstream", "workers"),
    "ledger": ("quarters", "recorder", "rows"),
    "proxy": (
        "attempt",
        "budgets",
        "delivery",
        "directory",
        "dispatcher",
        "exchange",
        "record",
        "relay",
        "router",
        "services",
        "settlement",
    ),
    "replicas": (
        "call",
        "candidates",
        "flow_book",
        "outage",
        "replica",
        "room_book",
        "shared_flows",
        "spread",
        "strangers",
    ),
    "store": ("alarm", "figures", "owner", "room", "windows"),
    "telemetry": ("budget", "families", "hits", "labels", "logs", "metrics", "observers"),
    "watch": ("death_guard", "health", "models", "outages", "reconciliation", "reminders"),
}
DESCRIBES = {"sdist", "egg_info", "dist_info"}  # commands of setuptools that build nothing


def compiled_modules() -> list[str]:
    """Their files: the pure core, the wire, and of the rest what a request passes."""
    return [
        "gateway/compilation.py",
        "gateway/draws.py",
        "gateway/events.py",
        "gateway/outcomes.py",
        "gateway/usage.py",
        *sorted(
            str(path)
            for package in ("accounts", "fairness", "learned", "wire", "workers")
            for path in Path("gateway", package).glob("*.py")
        ),
        *(f"gateway/{room}/{name}.py" for room, names in PASSED.items() for name in names),
    ]


def extensions() -> list[Any]:
    """One extension for all: calls between compiled modules are then plain C calls."""
    try:
        from mypyc.build import mypycify
    except ImportError:
        return []  # the first of two passes, in which pip asks what is needed
    optimization = os.environ.get("VTC_GATEWAY_OPTIMIZE", "3")
    return list(mypycify(compiled_modules(), opt_level=optimization, debug_level="0", group_name="vtc_gateway"))


def needs() -> list[str]:
    """What pip installs to build with: the compiler, and the dependencies for their types."""
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    mypy = [each for each in project["optional-dependencies"]["dev"] if each.startswith(("mypy", "types-"))]
    return [*mypy, *project["dependencies"]]


if os.environ.get("VTC_GATEWAY_COMPILE") == "1":
    setup(ext_modules=[] if DESCRIBES & set(sys.argv) else extensions(), setup_requires=needs())
else:
    setup()
