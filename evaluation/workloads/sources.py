"""Whatever names a workload on the command line: a name of the catalogue, a workload's file or a trace.

YAML files are descriptions; any other file is a trace.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.workloads.catalogue import file_of, names
from evaluation.workloads.files import read_workload_file
from evaluation.workloads.generate import generate
from evaluation.workloads.traces import TenantMapping, TraceFormat, read_trace
from evaluation.workloads.workload import Workload
from gateway.config.faults import ConfigError, Fault, nearest

_DESCRIPTIONS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read: `seed` draws a description (None: its own), the rest is for traces; `seconds` cuts both off."""

    seed: int | None = None
    seconds: float = math.inf
    trace_format: TraceFormat | None = None
    mapping: TenantMapping = field(default_factory=TenantMapping)


@dataclass(frozen=True, slots=True)
class Found:
    """The workload, and what the reader had to decide, in words."""

    workload: Workload
    notes: tuple[str, ...] = ()


def find(source: str | Path, reading: Reading | None = None) -> Found:
    """The workload that `source` names; raises `ConfigError` where there is none or it is wrong."""
    reading = reading or Reading()
    path = _path(source)
    if path.suffix in _DESCRIPTIONS and reading.trace_format is None:
        return Found(generate(read_workload_file(path), reading.seed).until(reading.seconds))
    trace = read_trace(path, reading.trace_format, reading.mapping, reading.seconds)
    return Found(trace.workload, (f"read as {trace.format.value}", *trace.notes))


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
