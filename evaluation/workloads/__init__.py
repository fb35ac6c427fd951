"""What arrives: workloads as data, by name or from a file, always the same for the same seed.

`load` draws a workload from its YAML file (one of `names()`, or a path); `traces` reads and writes recorded ones;
`find` takes either. All give a `Workload`, which simulations, replays and benches take. Faults of a file are
`ConfigError`s, as of a configuration: file, line, what is wrong and what to do.
"""

from pathlib import Path

from evaluation.workloads.catalogue import file_of, names
from evaluation.workloads.sources import Found, Reading, find
from evaluation.workloads.workload import PREFIX_BLOCK_TOKENS, Workload
from gateway.config.faults import ConfigError

__all__ = ["PREFIX_BLOCK_TOKENS", "ConfigError", "Found", "Reading", "Workload", "file_of", "find", "load", "names"]


def load(name_or_path: str | Path, seed: int | None = None) -> Workload:
    """The workload of a name in the catalogue or of a file; `seed` replaces the file's own.

    Raises `ConfigError` where there is no such file or it is wrong.
    """
    return find(name_or_path, Reading(seed=seed)).workload
