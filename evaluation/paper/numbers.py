"""Every number of the report as JSON. The same source gives the same bytes: no clock, no path, no machine in it."""

from collections.abc import Sequence
from typing import Any

import orjson

from evaluation.console.verdicts import Verdict
from evaluation.paper.assembly import Findings
from evaluation.paper.experiment import POOL_TOKENS, Trial
from evaluation.paper.reading import Reading


def encode_numbers(findings: Sequence[Findings], seed: int) -> bytes:
    """The file's content; what is not a number becomes null."""
    trials = {trial: each.readings[label] for each in findings for label, trial in each.experiment.trials.items()}
    document = {
        "seed": seed,
        "real_trace": any(each.real_trace for each in findings),
        "trials": {trial_name(trial): _reading(trial, reading) for trial, reading in trials.items()},
        "experiments": {each.experiment.key: _experiment(each) for each in findings},
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def trial_name(trial: Trial) -> str:
    """A trial in words, unlike that of any other: `overload vtc oracle paper`."""
    words = [trial.workload, trial.policy, trial.predictor, trial.engine.value]
    words += ["profiled"] if trial.profiled else []
    words += [f"pool {trial.pool_tokens}"] if trial.pool_tokens != POOL_TOKENS else []
    words += [f"window {trial.window_requests}"] if trial.window_requests is not None else []
    words += [f"slower by {trial.slower_percent} %"] if trial.slower_percent else []
    words += [f"until {trial.until_seconds:g} s"] if trial.until_seconds is not None else []
    words += [] if trial.keys_share else ["one level"]
    return " ".join(words)


def _reading(trial: Trial, reading: Reading) -> dict[str, Any]:
    return {"trial": trial, "reading": reading}


def _experiment(findings: Findings) -> dict[str, Any]:
    experiment, readings = findings.experiment, findings.readings
    return {
        "title": experiment.title,
        "runs": {label: trial_name(trial) for label, trial in experiment.trials.items()},
        "printed": [
            {"name": each.name, "published": each.published, "ours": each.measure(readings), "unit": each.unit.strip()}
            for each in experiment.printed
        ],
        "published_table": None if experiment.table is None else dict(experiment.table.published),
        "verdicts": [_verdict(verdict) for verdict in findings.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "target": verdict.target.name,
        "wanted": verdict.target.text,
        "measured": verdict.measured,
        "passed": verdict.passed,
        "note": verdict.note,
    }
