"""Every experiment, in the order of the paper, then what the paper leaves out: one entry each, data only."""

from collections.abc import Sequence

from evaluation.paper.experiment import Experiment
from evaluation.paper.experiments.beyond import BEYOND
from evaluation.paper.experiments.predicted import PREDICTED
from evaluation.paper.experiments.sensitivity import SENSITIVITY
from evaluation.paper.experiments.synthetic import SYNTHETIC
from evaluation.paper.experiments.traced import TRACED

EXPERIMENTS: Sequence[Experiment] = (*SYNTHETIC, *TRACED, *PREDICTED, *BEYOND, *SENSITIVITY)

__all__ = ["EXPERIMENTS"]
