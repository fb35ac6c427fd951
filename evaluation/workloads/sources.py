"""Finds the workload that the command line names: a name of the catalogue, a workload's file or a trace.

YAML files are descriptions; any other file is a trace. The catalogue holds the set-ups of the paper ("Fairness in
Serving Large Language Models", OSDI '24, arXiv 2401.00588), with the rates, durations, lengths and schedules of its
artifact (Ying1123/VTC-artifact, fair_bench/exp_suite.py and fair_bench/trace.py), and what the paper leaves out.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from evaluation.workloads.files import read_workload_file
from evaluation.workloads.traces import TraceFormat, read_trace
from evaluation.workloads.workload import Workload, generate
from gateway.config.faults import ConfigError, Fault, nearest

_CATALOGUE = Path(__file__).parent / "catalogue"
_DESCRIPTIONS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read: `seed` draws a description (None: its own), `trace_format` is for traces; `seconds` cuts both."""

    seed: int | None = None
    seconds: float = math.inf
    trace_format: TraceFormat | None = None

    @classmethod
    def of(cls, seed: int | None, seconds: float | None, trace_format: str) -> "ReadOptions":
        """How to read, from the command line's values: `auto` is no format."""
        chosen = None if trace_format == "auto" else TraceFormat(trace_format)
        return cls(seed, math.inf if seconds is None else seconds, chosen)


def names() -> tuple[str, ...]:
    """Every name of the catalogue, in alphabetical order."""
    return tuple(sorted(file.stem for file in _CATALOGUE.glob("*.yaml")))


def file_of(name: str) -> Path:
    """The file of a name of `names()`."""
    return _CATALOGUE / f"{name}.yaml"


def load(name_or_path: str | Path, seed: int | None = None) -> Workload:
    """The workload of a name in the catalogue or of a file; `seed` replaces the file's own. Raises `ConfigError`."""
    return find(name_or_path, ReadOptions(seed=seed))


def find(source: str | Path, read_options: ReadOptions | None = None) -> Workload:
    """The workload that `source` names; raises `ConfigError` if there is none or it is wrong."""
    read_options = read_options or ReadOptions()
    path = _path(source)
    if path.suffix in _DESCRIPTIONS and read_options.trace_format is None:
        return generate(read_workload_file(path), read_options.seed).until(read_options.seconds)
    return read_trace(path, read_options.trace_format, read_options.seconds)


def _path(source: str | Path) -> Path:
    path, known = Path(source), names()
    if str(source) in known:
        return file_of(str(source))
    if path.suffix or path.exists():
        return path
    close = nearest(str(source), list(known))
    remedy = f"did you mean `{close}`? " if close else ""
    message = "is neither a workload's name nor a file"
    raise ConfigError((Fault(str(source), 1, "", message, f"{remedy}one of {', '.join(known)}"),))
