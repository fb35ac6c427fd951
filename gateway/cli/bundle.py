"""`vtc-gateway bundle`: what somebody needs to help from afar, in one file, without secrets.

It holds what the gateway itself says: its views never show a key, a digest, a prompt or an answer. Names of tenants,
workers and end users' pseudonyms are in it.
"""

import io
import os
import platform
import sys
import tarfile
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

import orjson

from gateway import __version__
from gateway.cli.admin_client import NotAnswered, ask_text
from gateway.compilation import IS_COMPILED

_VIEWS: Final = {"overview": "overview.json", "drift": "drift.json", "state": "state.json", "metrics": "metrics.txt"}
_OWNER_ONLY: Final = 0o600


def bundle(file: Path, url: str) -> int:
    """Write the bundle to `file`, which must not exist; returns 1 if that fails, 2 if the gateway does not answer."""
    try:
        parts = {name: ask_text(url, view) for view, name in _VIEWS.items()}
    except NotAnswered as failure:
        print(failure, file=sys.stderr)  # noqa: T201 - the command's result
        return 2
    parts["versions.json"] = orjson.dumps(_versions(), option=orjson.OPT_INDENT_2)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as target:
            _write(target, parts)
    except OSError as failure:
        print(f"{file}: {failure.strerror}", file=sys.stderr)  # noqa: T201 - the command's result
        return 1
    print(f"{file}: {', '.join(parts)}")  # noqa: T201 - the command's result
    return 0


def _write(target: io.BufferedWriter, parts: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(f"vtc-gateway-bundle/{name}")
            entry.size, entry.mtime = len(content), int(time.time())
            archive.addfile(entry, io.BytesIO(content))


def _versions() -> dict[str, object]:
    """Of the command's own installation, which is that of the gateway where they share one."""
    packages = {each.metadata["Name"]: each.version for each in distributions()}
    return {
        "vtc-gateway": __version__,
        "compiled": IS_COMPILED,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": dict(sorted(packages.items())),
    }
