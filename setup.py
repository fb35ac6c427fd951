"""Compiles the modules that every request and every streamed chunk passes through, where `VTC_GATEWAY_COMPILE=1` asks.

The sources are the same: mypyc turns their annotations into C. Everything else of the packaging is in pyproject.toml.
"""

import os
from pathlib import Path

from setuptools import setup

_WIRE = sorted(str(path) for path in Path("gateway/wire").glob("*.py"))
_FAIRNESS = sorted(str(path) for path in Path("gateway/fairness").glob("*.py"))
_PROXY = [
    f"gateway/proxy/{name}.py"
    for name in (
        "body",
        "connection",
        "directory",
        "dispatcher",
        "downstream",
        "exchange",
        "links",
        "listener",
        "record",
        "refusal",
        "relay",
        "request_ids",
        "trials",
        "upstream",
    )
]
_TELEMETRY = [
    f"gateway/telemetry/{name}.py" for name in ("budget", "families", "hits", "labels", "logs", "metrics", "observers")
]
_SHARED = ["gateway/events.py", "gateway/outcomes.py"]

COMPILED = [*_SHARED, *_FAIRNESS, *_WIRE, *_PROXY, *_TELEMETRY]


def _extensions() -> list[object]:
    if os.environ.get("VTC_GATEWAY_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    return list(mypycify(COMPILED, opt_level="3", debug_level="0", group_name="vtc_gateway"))


setup(ext_modules=_extensions())
