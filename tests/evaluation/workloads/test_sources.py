"""A source on the command line names a workload, a description or a trace."""

from pathlib import Path

import pytest

from evaluation.workloads import ConfigError, ReadOptions, find, load
from evaluation.workloads.traces import TraceFormat, write_jsonl


def test_a_name_a_description_and_a_trace_are_distinguished(tmp_path: Path) -> None:
    """A bare name is in the catalogue, a YAML file is a description, and any other file is a trace."""
    workload = load("overload")
    trace = tmp_path / "overload.jsonl"
    write_jsonl(workload.requests, trace)
    assert find("overload") == workload
    found = find(trace)
    assert found.requests == workload.requests and found.notes == ("read as jsonl",)


@pytest.mark.parametrize("source", ["overload", "trace"])
def test_seconds_cut_both_off(source: str, tmp_path: Path) -> None:
    """The option cuts a description and a trace at the same moment."""
    write_jsonl(load("overload").requests, tmp_path / "trace")
    path = tmp_path / "trace" if source == "trace" else source
    cut = find(path, ReadOptions(seconds=30))
    assert cut.requests == load("overload").until(30).requests and cut.seconds == 30


def test_a_format_that_is_named_is_believed(tmp_path: Path) -> None:
    """A named format counts more than the ending of the file's name."""
    (tmp_path / "odd.yaml").write_text("arrival_seconds,tenant,prompt_tokens,output_tokens\n1,a,2,3\n")
    assert len(find(tmp_path / "odd.yaml", ReadOptions(trace_format=TraceFormat.CSV)).requests) == 1
    with pytest.raises(ConfigError):
        find(tmp_path / "odd.yaml")
