"""`vtc-gateway init [CONFIG] [--force]`: writes a configuration to start from, and the keys of its tenants.

Without `--force` an existing configuration stays as it is; an existing key file always stays.
"""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from gateway.config import ConfigError, ensure_key_files, write_starter


def init(file: Path, console: Console | None = None, *, force: bool = False) -> int:
    """Write the configuration to `file` and make its key files; returns the exit status."""
    console = console or Console(soft_wrap=True)
    try:
        write_starter(file, replace=force)
        keys = ensure_key_files(file)
    except FileExistsError:
        console.print(Text(f"{file} exists already and was left as it is; --force replaces it", style="red"))
        return 1
    except OSError as error:
        remedy = "name a file in a folder that exists and that you may write"
        console.print(Text(f"{file} cannot be written: {error.strerror}; {remedy}", style="red"))
        return 1
    except ConfigError as error:
        for fault in error.faults:
            console.print(Text(str(fault), style="red"))
        return 1
    console.print(Text(f"{file} is written. Its tenants and the files with their keys:", style="bold"))
    for key in keys:
        console.print(Text(f"  {key.tenant}: {key.file}"))
    console.print(Text("Next:", style="bold"))
    console.print(Text(f"  vtc-gateway check {file}"))
    console.print(Text(f"  vtc-gateway serve {file} --create-keys  # prints every key and a curl command"))
    return 0
