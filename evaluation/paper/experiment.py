"""An experiment as data: what is run, what is drawn, which printed numbers stand beside ours, what must hold.

All of them stand in `experiments.yaml`, which only this module reads. Every number of a conclusion comes from the runs:
a claim is a sentence with a gap, a target, and the measurement that fills both.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.resources import files
from typing import Any

import yaml

from evaluation.metrics.service import Difference
from evaluation.paper import measures, panels
from evaluation.paper.measures import MeasuredRuns
from evaluation.pictures.picture import Panel, Picture
from evaluation.report.verdicts import Comparison, Target, Verdict
from evaluation.simulation.settings import EngineModel

TRACE = "trace"  # stands for the file given, or for the generated `arena_like`

Measure = Callable[[MeasuredRuns], float]

POOL_TOKENS = 10_000  # of the published engine
TOLERANCE = 0.20  # of a number that the paper prints in its text


@dataclass(frozen=True, slots=True)
class Trial:
    """One simulated run. Equal trials run once, however many experiments use them."""

    workload: str
    policy: str = "vtc"
    predictor: str = "none"
    engine: EngineModel = EngineModel.PAPER
    profiled: bool = False  # charged by the profiled cost instead of tokens
    pool_tokens: int = POOL_TOKENS
    window_requests: int | None = None
    slower_percent: int = 0  # every step takes so much longer than fitted
    keys_share: bool = True
    until_seconds: float | None = None  # None: until every request has ended

    @classmethod
    def parse(cls, written: str | Mapping[str, Any]) -> "Trial":
        """The trial as it stands in the file."""
        if isinstance(written, str):
            written = dict(zip(("workload", "policy", "predictor"), written.split(), strict=False))
        return cls(**{**written, "engine": EngineModel(written.get("engine", "paper"))})


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a published table: difference in cost per second, throughput in tokens per second."""

    max_difference: float
    average_difference: float
    difference_variance: float
    tokens_per_second: float


Table = Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Printed:
    """A number that the paper prints, and how ours is measured."""

    name: str
    published: float
    unit: str
    measure: Measure

    def deviation(self, measured_runs: MeasuredRuns) -> float:
        """Ours over the published, less 1."""
        return self.measure(measured_runs) / self.published - 1


@dataclass(frozen=True, slots=True)
class Claim:
    """A conclusion: `sentence` has `{}` in the place of the measured number. It holds if the target is met."""

    sentence: str
    comparison: Comparison
    limit: float
    measure: Measure
    unit: str = ""

    def judge(self, key: str, measured_runs: MeasuredRuns) -> Verdict:
        """The verdict on these runs."""
        name = f"{key}: {self.sentence.replace('{}', '…')}"
        return Target(name, self.comparison, self.limit, self.unit).judge(self.measure(measured_runs))


@dataclass(frozen=True, slots=True)
class Comparability:
    """A published table, row by row (label of the run to published row), and how near ours must come.

    `within` is the largest deviation of maximum and average, `factor` the largest ratio either way; `throughput_within`
    and `ordered` (the order of the rows by each column) concern all rows. `profiled` tables measure the profiled cost.
    """

    published: Table
    profiled: bool = False
    within: float | None = None
    factor: float | None = None
    throughput_within: float | None = None
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class AtSpeeds:
    """The runs of other experiments with every step of the engine longer by each of `percents`."""

    of: Sequence["Experiment"]
    labels: Sequence[str]
    percents: Sequence[int]

    def label(self, experiment: "Experiment", label: str, percent: int) -> str:
        """The name of one of these runs."""
        prefix = f"{experiment.key} " if len(self.of) > 1 else ""
        return f"{prefix}{label}, {signed(percent)}"

    def runs(self) -> Iterator[tuple[str, Trial]]:
        """Every run by its name."""
        for experiment in self.of:
            for label in self.labels:
                for percent in self.percents:
                    trial = replace(experiment.trials[label], slower_percent=percent)
                    yield self.label(experiment, label, percent), trial

    def printed(self, measured_runs: MeasuredRuns) -> Iterator[tuple[str, Printed, list[float]]]:
        """Every printed number of these experiments, its experiment's key, and ours at every speed."""
        for experiment in self.of:
            at = [
                {label: measured_runs[self.label(experiment, label, percent)] for label in self.labels}
                for percent in self.percents
            ]
            for printed in experiment.printed:
                yield experiment.key, printed, [printed.measure(each) for each in at]

    def printed_within_range(self, measured_runs: MeasuredRuns) -> float:
        """How many of the printed numbers lie between our smallest and our largest."""
        return sum(is_within(printed.published, values) for _, printed, values in self.printed(measured_runs))

    def rows_within_range(self, measured_runs: MeasuredRuns) -> float:
        """How many of the published maxima and averages lie between our smallest and our largest."""
        (experiment,) = self.of
        assert experiment.table is not None
        hits = 0
        for label in self.labels:
            published = experiment.table.published[label]
            rows = self._differences(measured_runs, label)
            hits += is_within(published.max_difference, [row.maximum for row in rows])
            hits += is_within(published.average_difference, [row.average for row in rows])
        return hits

    def swing(self, measured_runs: MeasuredRuns, label: str) -> float:
        """Largest over smallest maximum difference of one run, over the speeds."""
        maxima = [row.maximum for row in self._differences(measured_runs, label)]
        return max(maxima) / min(maxima)

    def _differences(self, measured_runs: MeasuredRuns, label: str) -> list[Difference]:
        (experiment,) = self.of
        runs = [self.label(experiment, label, percent) for percent in self.percents]
        return [measured_runs[run].summary.difference for run in runs]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One figure or table. `needs_trace`: its numbers can be held against the published ones on the real trace only.

    `is_beyond`: the paper has nothing of the kind. `remarks` say why ours differs.
    """

    key: str
    title: str
    setting: str
    trials: Mapping[str, Trial]
    picture: Callable[[MeasuredRuns], Picture] | None = None
    printed: Sequence[Printed] = ()
    claims: Sequence[Claim] = ()
    table: Comparability | None = None
    at_speeds: AtSpeeds | None = None
    needs_trace: bool = False
    is_beyond: bool = False
    remarks: Sequence[str] = ()


def signed(percent: int) -> str:
    """How much longer the steps are, in words."""
    return f"{percent:+d} %" if percent else "as it is"


def is_within(published: float, values: Sequence[float]) -> bool:
    """True if a published number lies between our smallest and our largest."""
    return min(values) <= published <= max(values)


# -- the file


@cache
def published_tables() -> Mapping[str, Table]:
    """The tables of the paper by name."""
    return {name: {label: Row(*row) for label, row in rows.items()} for name, rows in _file()["tables"].items()}


@cache
def experiments() -> Sequence[Experiment]:
    """Every experiment, in the order of the report."""
    found: dict[str, Experiment] = {}
    for entry in _file()["experiments"]:
        found[entry["key"]] = _experiment(entry, found)
    return tuple(found.values())


@cache
def _file() -> Mapping[str, Any]:
    content: Mapping[str, Any] = yaml.safe_load(
        files("evaluation.paper").joinpath("experiments.yaml").read_text("utf-8")
    )
    return content


def _experiment(entry: Mapping[str, Any], before: Mapping[str, Experiment]) -> Experiment:
    at_speeds = None
    if varied := entry.get("at_speeds"):
        at_speeds = AtSpeeds([before[key] for key in varied["of"]], varied["labels"], varied["percents"])
    runs = at_speeds.runs() if at_speeds else ((label, Trial.parse(run)) for label, run in entry["runs"].items())
    return Experiment(
        key=entry["key"],
        title=entry["title"],
        setting=entry["setting"],
        trials=dict(runs),
        picture=partial(_picture, entry) if "panels" in entry else None,
        printed=[
            Printed(each["name"], each["published"], f" {each['unit']}", _measure(each["measure"], at_speeds))
            for each in entry.get("printed", ())
        ],
        claims=[_claim(each, at_speeds) for each in entry.get("claims", ())],
        table=_table(entry["table"]) if "table" in entry else None,
        at_speeds=at_speeds,
        needs_trace=entry.get("needs_trace", False),
        is_beyond=entry.get("is_beyond", False),
        remarks=entry.get("remarks", ()),
    )


def _claim(entry: Mapping[str, Any], at_speeds: AtSpeeds | None) -> Claim:
    (comparison,) = (each for each in Comparison if each.name.lower() in entry)
    unit = f" {entry['unit']}" if "unit" in entry else ""
    measure = _measure(entry["measure"], at_speeds)
    return Claim(entry["sentence"], comparison, entry[comparison.name.lower()], measure, unit)


def _table(entry: Mapping[str, Any]) -> Comparability:
    return Comparability(**{**entry, "published": published_tables()[entry["published"]]})


def _measure(written: Any, at_speeds: AtSpeeds | None) -> Measure:
    """The measure that `written` names: a number, a function with its arguments, or a label and a path."""
    if isinstance(written, int | float):
        return lambda measured_runs: written
    name, *arguments = written
    parsed: list[Any] = [_measure(each, at_speeds) if isinstance(each, list) else each for each in arguments]
    function = getattr(at_speeds, name, None) or measures.MEASURES.get(name)
    if function is None:
        return lambda measured_runs: measures.figure(measured_runs[name], *parsed)
    return lambda measured_runs: function(measured_runs, *parsed)


def _picture(entry: Mapping[str, Any], measured_runs: MeasuredRuns) -> Picture:
    return Picture(entry["picture"], [_panel(measured_runs, *panel) for panel in entry["panels"]], entry["alt"])


def _panel(measured_runs: MeasuredRuns, name: str, *arguments: Any) -> Panel:
    given = [each for each in arguments if not isinstance(each, dict)]
    options = {key: value for each in arguments if isinstance(each, dict) for key, value in each.items()}
    if isinstance(options.get("published"), list):
        table, column = options["published"]
        options["published"] = {label: getattr(row, column) for label, row in published_tables()[table].items()}
    return panels.PANELS[name](measured_runs, *given, **options)
