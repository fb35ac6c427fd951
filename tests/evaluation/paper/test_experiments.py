"""The list of experiments is whole: it has every figure and table, with runs, published numbers and targets."""

from importlib.resources import files

import pytest
import yaml

from evaluation import workloads
from evaluation.paper.experiment import TRACE, Experiment, Trial, experiments
from evaluation.paper.findings import trial_name
from evaluation.paper.laboratory import Source, distinct_trials, is_published, load_workload, settings_of
from evaluation.pictures.picture import LinePanel

from .fabricated import findings_of

EXPERIMENTS = experiments()
BY_KEY = {experiment.key: experiment for experiment in EXPERIMENTS}
TRIALS = distinct_trials(EXPERIMENTS)
EVERY = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=BY_KEY)


def test_every_figure_and_table_of_the_paper_has_an_entry() -> None:
    """Figures 3 to 16 and 19 and Tables 2 to 6 have one, and so has each gap in the paper."""
    figures = {f"fig{number}" for number in (*range(3, 17), 19)}
    tables = {f"table{number}" for number in range(2, 7)}
    beyond = {"tails", "unknown_lengths", "disconnects", "window", "identities", "noise", "speed", "chance", "flood"}
    assert set(BY_KEY) == figures | tables | beyond
    assert len(BY_KEY) == len(EXPERIMENTS)


@EVERY
def test_every_experiment_concludes_something(experiment: Experiment) -> None:
    """It has a claim, a printed number or a table; only the picture of the trace itself has none."""
    assert experiment.claims or experiment.printed or experiment.table or experiment.key == "fig11"
    assert all("{}" in claim.sentence for claim in experiment.claims)
    assert experiment.picture is not None or experiment.table is not None


@EVERY
def test_published_tables_have_a_run_for_every_row(experiment: Experiment) -> None:
    """Every published row has a run of ours beside it."""
    if experiment.table is not None:
        assert set(experiment.table.published) <= set(experiment.trials)


@pytest.mark.parametrize("trial", TRIALS, ids=trial_name)
def test_every_trial_can_be_run(trial: Trial) -> None:
    """The catalogue has its workload, and the gateway's own registry has its policy and predictor."""
    assert trial.workload == TRACE or trial.workload in workloads.names()
    assert settings_of(trial, {}).rules() is not None


def test_equal_trials_are_run_once_and_have_names_of_their_own() -> None:
    """There are as many names as there are runs."""
    assert len({trial_name(trial) for trial in TRIALS}) == len(TRIALS) == len(set(TRIALS))
    assert len(TRIALS) < sum(len(experiment.trials) for experiment in EXPERIMENTS)


def test_every_number_drawn_as_published_is_compared() -> None:
    """The marks and diamonds of a picture are the printed numbers of its experiment."""
    entries = yaml.safe_load(files("evaluation.paper").joinpath("experiments.yaml").read_text("utf-8"))["experiments"]
    compared = 0
    for entry in entries:
        printed = sorted(each["published"] for each in entry.get("printed", ()))
        for name, *arguments in entry.get("panels", ()):
            match name, arguments:
                case "gaps", [{"marks": marks}]:
                    shown = list(marks.values())
                case "waits", [{"published": waits}]:
                    shown = [value for values in waits.values() for value in values]
                case _:
                    continue
            assert sorted(shown) == printed
            compared += 1
    assert compared == 8


def test_the_generated_trace_does_not_pass_for_the_published_one() -> None:
    """It has as many requests and clients, but is not held against the published numbers."""
    assert not is_published(load_workload(TRACE, Source(None, 1)))


@pytest.mark.parametrize(
    "experiment", [each for each in EXPERIMENTS if each.picture], ids=lambda experiment: experiment.key
)
def test_every_experiment_has_a_picture_of_all_its_runs(experiment: Experiment) -> None:
    """Every panel has something in it, and every line is more than a point."""
    picture = findings_of([experiment])[0].picture
    assert picture is not None and picture.panels
    for panel in picture.panels:
        if isinstance(panel, LinePanel):
            assert panel.curves and all(len(curve.points) > 1 for curve in panel.curves)
        else:
            assert panel.bars
