"""Reads a configuration file, or reports all its faults at once.

The passes are, in this order: text, YAML, schema, rules over several keys, keys on disk and in the environment. Each
pass works on what the passes before it found to be right.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config.cautions import warn
from gateway.config.checks import check
from gateway.config.document import read_document, read_text
from gateway.config.draft import Draft, draft
from gateway.config.faults import ConfigError, Fault, FaultLog
from gateway.config.keys import KeyFormat, UnusableKeyFile, read_key_file, write_key_file
from gateway.config.model import Config
from gateway.config.resolve import Resolver
from gateway.config.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, its file, and the key files on which it also depends.

    `ends_in_newline`: the file's last line is complete. `warnings`: settings that are valid but probably not meant.
    """

    config: Config
    path: Path
    key_files: tuple[Path, ...]
    ends_in_newline: bool = True
    warnings: tuple[Fault, ...] = ()


def load(path: Path | str, environ: Mapping[str, str] | None = None, *, is_complete: bool = True) -> Loaded:
    """Read the configuration at `path`; raises `ConfigError` with every fault.

    `environ` is the environment, by default the process's own. If it is not `is_complete`, variables and key files that
    are missing are taken on trust.
    """
    path, surroundings = Path(path), Surroundings(os.environ if environ is None else environ, is_complete)
    faults = FaultLog(str(path))
    text = read_text(path, faults)
    readable = None if text is None else _read(text, surroundings, faults)
    if text is None or readable is None:
        faults.raise_any()
        raise AssertionError("an unreadable file has a fault")
    check(readable, faults)
    warn(readable, faults)
    resolver = Resolver(readable, path.parent, surroundings, faults)
    config = resolver.config()
    faults.raise_any()
    return Loaded(config, path, tuple(resolver.files), text.endswith("\n"), faults.warnings())


@dataclass(frozen=True, slots=True)
class FileKey:
    """A key that a tenant takes from a file."""

    tenant: str
    file: Path
    key: str


def ensure_key_files(path: Path | str, environ: Mapping[str, str] | None = None) -> list[FileKey]:
    """The keys that tenants take from files; files that do not exist are created with a new key.

    New files get mode 0600, new folders 0700. Raises `ConfigError` if the configuration is wrong.
    """
    path, surroundings = Path(path), Surroundings(os.environ if environ is None else environ)
    faults = FaultLog(str(path))
    text = read_text(path, faults)
    readable = None if text is None else _read(text, surroundings, faults)
    if readable is not None:
        check(readable, faults)
    faults.raise_any()
    assert readable is not None
    sources = [
        (tenant.name, path.parent / key.file) for tenant in readable.file.tenants for key in tenant.keys if key.file
    ]
    return [FileKey(tenant, file, _ensured(file, faults)) for tenant, file in sources]


def _ensured(file: Path, faults: FaultLog) -> str:
    try:
        if file.exists():
            return read_key_file(file)
        key = KeyFormat.create()
        write_key_file(file, key)
    except OSError as error:
        faults.add((), f"the key file {file} cannot be written: {error.strerror}", "make its folder writable")
    except UnusableKeyFile as unusable:
        faults.add((), str(unusable), unusable.remedy)
    else:
        return key
    raise ConfigError(faults.faults())


def _read(text: str, surroundings: Surroundings, faults: FaultLog) -> Draft | None:
    value = read_document(text, surroundings.variables, faults, is_complete=surroundings.is_complete)
    return None if faults.covers(()) and not isinstance(value, dict) else draft(value, faults)
