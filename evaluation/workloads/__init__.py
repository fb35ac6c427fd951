"""What arrives: workloads as data, by name or from a file, always the same for the same seed.

`load` draws a workload from its YAML file (one of `names()`, or a path); `traces` reads and writes recorded ones.
Both give a `Workload`, which simulations, replays and benches take. Faults of a file are `ConfigError`s, as of a
configuration: file, line, what is wrong and what to do.
"""

from pathlib import Path

from evaluation.workloads.catalogue import file_of, names
from evaluation.workloads.files import read_workload_file
from evaluation.workloads.generate import generate
from evaluation.workloads.workload import PREFIX_BLOCK_TOKENS, Workload
from gateway.config.faults import ConfigError, FaultLog, nearest

__all__ = ["PREFIX_BLOCK_TOKENS", "ConfigError", "Workload", "file_of", "load", "names"]


def load(name_or_path: str | Path, seed: int | None = None) -> Workload:
    """The workload of a name in the catalogue or of a YAML file; `seed` replaces the file's own.

    Raises `ConfigError` where there is no such file or it is wrong.
    """
    return generate(read_workload_file(_find(name_or_path)), seed)


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if str(name_or_path) in names():
        return file_of(str(name_or_path))
    if path.suffix in (".yaml", ".yml") or path.exists():
        return path
    faults = FaultLog(str(name_or_path))
    close = nearest(str(name_or_path), list(names()))
    suggestion = f"did you mean `{close}`? " if close else ""
    faults.add((), "is neither a workload's name nor a file", f"{suggestion}one of {', '.join(names())}")
    raise ConfigError(faults.faults())
