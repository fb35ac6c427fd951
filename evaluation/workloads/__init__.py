"""What arrives: workloads as data, by name or from a file, always the same for the same seed.

`schema`, `arrivals` and `lengths` are a workload's YAML file, `files` reads it and `generate` draws from it; `traces`
reads and writes recorded ones, row by row in `rows`; `sources` finds either. All give a `Workload`, which simulations,
replays and benches take. Faults of a file are `ConfigError`s, as of a configuration: file, line, what is wrong and what
to do.
"""

from evaluation.workloads.sources import Found, Reading, file_of, find, load, names
from evaluation.workloads.workload import PREFIX_BLOCK_TOKENS, Workload
from gateway.config.faults import ConfigError

__all__ = ["PREFIX_BLOCK_TOKENS", "ConfigError", "Found", "Reading", "Workload", "file_of", "find", "load", "names"]
