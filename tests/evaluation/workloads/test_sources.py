"""What a source on the command line names, and what the `workloads` command says and writes."""

from pathlib import Path

import pytest

from evaluation.workloads import ConfigError, Reading, find, load, names
from evaluation.workloads.command import WorkloadsOptions, run
from evaluation.workloads.traces import TenantMapping, TraceFormat, read_trace, write_jsonl


def test_a_name_a_description_and_a_trace_are_told_apart(tmp_path: Path) -> None:
    """Names come from the catalogue, YAML is a description, everything else a trace."""
    workload = load("overload")
    trace = tmp_path / "overload.jsonl"
    write_jsonl(workload.requests, trace)
    assert find("overload").workload == workload
    found = find(trace)
    assert found.workload.requests == workload.requests and found.notes == ("read as jsonl",)


@pytest.mark.parametrize("source", ["overload", "trace"])
def test_seconds_cut_both_off(source: str, tmp_path: Path) -> None:
    """A description and a trace are cut at the same moment."""
    write_jsonl(load("overload").requests, tmp_path / "trace")
    path = tmp_path / "trace" if source == "trace" else source
    cut = find(path, Reading(seconds=30)).workload
    assert cut.requests == load("overload").until(30).requests and cut.seconds == 30


def test_a_trace_gets_the_tenants_that_were_asked_for(tmp_path: Path) -> None:
    """The mapping is told among the notes."""
    (tmp_path / "azure.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,3,4\n")
    found = find(tmp_path / "azure.csv", Reading(mapping=TenantMapping(count=1, skew=0)))
    assert list(found.workload.tenants) == ["tenant-1"]
    assert found.notes[1] == "the trace has no tenants: 1 tenants by Zipf with exponent 0, seed 1"


def test_a_format_that_is_named_is_believed(tmp_path: Path) -> None:
    """Also for a file that is called as a description is."""
    (tmp_path / "odd.yaml").write_text("arrival_seconds,tenant,prompt_tokens,output_tokens\n1,a,2,3\n")
    assert len(find(tmp_path / "odd.yaml", Reading(trace_format=TraceFormat.CSV)).workload.requests) == 1
    with pytest.raises(ConfigError):
        find(tmp_path / "odd.yaml")


def test_the_command_lists_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each workload: its name and what it is."""
    assert run(WorkloadsOptions(None, Reading())) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(names())
    assert all(load(line.split()[0]).description in line for line in lines)


def test_the_command_shows_and_writes_a_workload(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One row for each tenant; both files hold the same requests."""
    options = WorkloadsOptions("weighted", Reading(seed=3), tmp_path / "a.csv", tmp_path / "a.jsonl")
    assert run(options) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("tenant-")]
    assert rows == [[f"tenant-{n}", str(n), "396", "66.0", *["256"] * 4] for n in range(1, 5)]
    expected = load("weighted", 3).requests
    assert read_trace(tmp_path / "a.csv").workload.requests == expected
    assert read_trace(tmp_path / "a.jsonl").workload.requests == expected


def test_the_command_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name, and a file that cannot be written: 1, told on stderr."""
    assert run(WorkloadsOptions("overlaod", Reading())) == 1
    assert "did you mean `overload`?" in capsys.readouterr().err
    assert run(WorkloadsOptions("overload", Reading(), tmp_path / "absent" / "a.csv")) == 1
    assert "cannot be written" in capsys.readouterr().err
