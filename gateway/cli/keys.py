"""`vtc-gateway keys create TENANT [--file PATH]`: makes a key, shows it once, and says what to configure.

Without a file only the client has the key, and the configuration gets its digest. With a file the key is written there
with mode 0600, and the configuration names the file. The key of `admin` is for the operator's pages.
"""

import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gateway.config import KeyFormat, digest, write_key_file
from gateway.config.tenants import NAME_PATTERN

_ADMIN = "admin"  # this name stands for the operator and is no tenant


def create(tenant: str, file: Path | None = None, console: Console | None = None) -> int:
    """Make a key for `tenant` and print it; returns the exit status."""
    console = console or Console(soft_wrap=True)
    if not re.fullmatch(NAME_PATTERN, tenant):
        form = "1 to 64 letters, digits, `_`, `.`, `-`, not starting with `_`"
        console.print(Text(f"{tenant!r} cannot be a tenant's name: {form}", style="red"))
        return 2
    key = KeyFormat.create()
    if file is not None and not _written(file, key, console):
        return 1
    source = f"sha256: {digest(key).hex()}" if file is None else f"file: {file}"
    console.print(Text(f"Key of {tenant}, shown once:", style="bold"))
    console.print(Text(f"  {key}"))
    place, lines = f"under the tenant {tenant}", f"  keys:\n    - {source}"
    if tenant == _ADMIN:
        place, lines = "for the operator's pages", f"admin:\n  key: {{{source}}}"
    console.print(Text(f"In config.yaml, {place}:", style="bold"))
    console.print(Text(lines))
    return 0


def _written(file: Path, key: str, console: Console) -> bool:
    try:
        write_key_file(file, key)
    except FileExistsError:
        console.print(Text(f"{file} exists already and was left as it is", style="red"))
        return False
    except OSError as error:
        console.print(Text(f"{file} cannot be written: {error.strerror}", style="red"))
        return False
    return True
