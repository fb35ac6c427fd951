"""An experiment as data: what is run, what is drawn, which printed numbers stand beside ours, what must hold.

Every word of a conclusion has its number from the runs: a claim is a sentence with a gap, a target and the measurement
that fills both.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.console.verdicts import Comparison, Target, Verdict, number
from evaluation.paper.document import Sheet
from evaluation.paper.figures.picture import Picture
from evaluation.paper.published import Table
from evaluation.paper.reading import Reading
from evaluation.simulation import EngineModel

TRACE = "trace"  # stands for the file given, or for the generated `arena_like`

Readings = Mapping[str, Reading]
Measure = Callable[[Readings], float]

POOL_TOKENS = 10_000  # of the published engine
TOLERANCE = 0.20  # of a number that the paper prints in its text


@dataclass(frozen=True, slots=True)
class Trial:
    """One simulated run; equal trials are run once, whatever number of experiments look at them."""

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


@dataclass(frozen=True, slots=True)
class Printed:
    """A number that the paper prints, and how ours is measured. `tolerance` None: shown, not judged."""

    name: str
    published: float
    unit: str
    measure: Measure
    tolerance: float | None = TOLERANCE

    def deviation(self, readings: Readings) -> float:
        """Ours over the published, less 1."""
        return self.measure(readings) / self.published - 1


@dataclass(frozen=True, slots=True)
class Claim:
    """A conclusion: `sentence` has `{}` where the measured number goes; it counts where the target is met."""

    sentence: str
    comparison: Comparison
    limit: float
    measure: Measure
    unit: str = ""

    def judge(self, key: str, readings: Readings) -> Verdict:
        """The verdict on these runs."""
        name = f"{key}: {self.sentence.replace('{}', '…')}"
        return Target(name, self.comparison, self.limit, self.unit).judge(self.measure(readings))

    def text(self, readings: Readings) -> str:
        """The sentence with its number."""
        return self.sentence.format(number(self.measure(readings)) + self.unit)


@dataclass(frozen=True, slots=True)
class Comparability:
    """A published table, row by row (label of the run to published row), and how near ours must come.

    Of the rows `held`, `within` is the largest deviation of maximum and average, `factor` the largest ratio either way.
    `throughput_within` and `ordered` (the order of the rows by each column) concern all rows. `profiled` tables measure
    the profiled cost.
    """

    published: Table
    profiled: bool = False
    within: float | None = None
    factor: float | None = None
    throughput_within: float | None = None
    held: Sequence[str] = ()
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Experiment:
    """One figure or table. `needs_trace`: its numbers can be held against the published ones on the real trace only.

    `is_beyond`: the paper has nothing of the kind. `sheet` makes a table of its own beside those of every experiment.
    """

    key: str
    title: str
    setting: str
    trials: Mapping[str, Trial]
    picture: Callable[[Readings], Picture] | None = None
    printed: Sequence[Printed] = ()
    claims: Sequence[Claim] = ()
    table: Comparability | None = None
    sheet: Callable[[Readings], Sheet] | None = None
    needs_trace: bool = False
    is_beyond: bool = False


def ratio(over: Measure, under: Measure) -> Measure:
    """One measurement over another; infinite where the second is 0, NaN where both are."""

    def measure(readings: Readings) -> float:
        top, bottom = over(readings), under(readings)
        if bottom == 0:
            return math.nan if top == 0 else math.inf
        return top / bottom

    return measure
