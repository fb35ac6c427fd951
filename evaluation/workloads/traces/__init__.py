"""Recorded traffic: readers for our own and for public formats, a writer for ours, tenants where a trace has none."""

from evaluation.workloads.traces.formats import TraceFormat
from evaluation.workloads.traces.reading import Trace, read_trace
from evaluation.workloads.traces.tenants import TenantMapping
from evaluation.workloads.traces.writing import write_csv, write_jsonl

__all__ = ["TenantMapping", "Trace", "TraceFormat", "read_trace", "write_csv", "write_jsonl"]
