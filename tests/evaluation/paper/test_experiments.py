"""The list of experiments is whole: every figure and table, with runs, published numbers and targets that exist."""

import pytest

from evaluation import workloads
from evaluation.paper import published
from evaluation.paper.assembly import load_remarks
from evaluation.paper.experiment import TRACE, Experiment, Trial
from evaluation.paper.experiments import EXPERIMENTS
from evaluation.paper.laboratory import Source, distinct_trials, is_published, load_workload, settings_of
from evaluation.paper.numbers import trial_name

BY_KEY = {experiment.key: experiment for experiment in EXPERIMENTS}
TRIALS = distinct_trials(EXPERIMENTS)
EVERY = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=BY_KEY)


def test_every_figure_and_table_of_the_paper_has_an_entry() -> None:
    """Figures 3 to 16 and 19, Tables 2 to 6, and at least one experiment on each gap in the paper."""
    figures = {f"fig{number}" for number in (*range(3, 17), 19)}
    tables = {f"table{number}" for number in range(2, 7)}
    beyond = {"tails", "unknown_lengths", "disconnects", "window", "identities", "noise", "speed", "chance", "flood"}
    assert set(BY_KEY) == figures | tables | beyond
    assert len(BY_KEY) == len(EXPERIMENTS)


@EVERY
def test_every_experiment_concludes_something(experiment: Experiment) -> None:
    """A claim with a place for its number, a printed number or a table; only the trace itself is just shown."""
    assert experiment.claims or experiment.printed or experiment.table or experiment.key == "fig11"
    assert all("{}" in claim.sentence for claim in experiment.claims)
    assert experiment.picture is not None or experiment.table is not None


@EVERY
def test_published_tables_have_a_run_for_every_row(experiment: Experiment) -> None:
    """And hold no row that was not published."""
    if experiment.table is not None:
        assert set(experiment.table.published) <= set(experiment.trials)
        assert set(experiment.table.held) <= set(experiment.table.published)


@pytest.mark.parametrize("trial", TRIALS, ids=trial_name)
def test_every_trial_can_be_run(trial: Trial) -> None:
    """Its workload is in the catalogue; its policy and predictor are in the gateway's own registry."""
    assert trial.workload == TRACE or trial.workload in workloads.names()
    assert settings_of(trial, {}).rules() is not None


def test_equal_trials_are_run_once_and_have_names_of_their_own() -> None:
    """The number of names is the number of runs."""
    assert len({trial_name(trial) for trial in TRIALS}) == len(TRIALS) == len(set(TRIALS))
    assert len(TRIALS) < sum(len(experiment.trials) for experiment in EXPERIMENTS)


def test_every_printed_number_stands_beside_one_of_ours() -> None:
    """The published gaps, waits and rates are each compared by the experiment of their figure."""
    printed = {key: [each.published for each in experiment.printed] for key, experiment in BY_KEY.items()}
    for figure, gaps in published.LARGEST_GAP.items():
        assert sorted(gaps.values()) == sorted(printed[figure])
    for figure, waits in published.MEAN_TTFT.items():
        assert sorted(value for values in waits.values() for value in values) == sorted(printed[figure])
    assert sorted(published.SMALL_CLIENTS_TTFT.values()) == sorted(printed["fig12"])
    assert sorted(value for values in published.SHIFTED_RATES.values() for value in values) == sorted(printed["fig10"])


def test_remarks_belong_to_experiments() -> None:
    """A remark under a key that does not exist would never be read."""
    assert set(load_remarks()) <= set(BY_KEY)


def test_the_generated_trace_does_not_pass_for_the_published_one() -> None:
    """It has the same number of requests and clients; its numbers are not held against those of the real one."""
    assert not is_published(load_workload(TRACE, Source(None, 1)))
