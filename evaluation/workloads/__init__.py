"""Workloads as data, by name or from a file, always the same for the same seed.

`schema`, `arrivals` and `lengths` describe a workload's YAML file, which `files` reads. `workload` draws a workload
from it. `traces` reads and writes recorded ones. `sources` finds either. Simulations and replays take a `Workload`.
Faults of a file are `ConfigError`s, as in a configuration: file, line, what is wrong and what to do.
"""

from evaluation.workloads.sources import ReadOptions, file_of, find, load, names
from evaluation.workloads.workload import PREFIX_BLOCK_TOKENS, Workload
from gateway.config.faults import ConfigError

__all__ = ["PREFIX_BLOCK_TOKENS", "ConfigError", "ReadOptions", "Workload", "file_of", "find", "load", "names"]
