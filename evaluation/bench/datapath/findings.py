"""What the rounds found: every observation by load and proxy, and the medians that are judged.

A ratio or a difference is taken within each round, so that what slows the machine in one round weighs on both sides;
the median over the rounds is what is told.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from evaluation.bench.datapath.load import Observation
from evaluation.bench.datapath.loads import Load
from evaluation.metrics import median

Figure = Callable[[Observation], float]


class Findings:
    """Observations by load and proxy, one for each round."""

    def __init__(self) -> None:
        self._rounds: defaultdict[str, defaultdict[str, list[Observation]]] = defaultdict(lambda: defaultdict(list))
        self.most_streams: dict[str, int] = {}

    def add(self, load: Load, name: str, observation: Observation) -> None:
        """Note what one round saw of proxy `name`."""
        self._rounds[load.name][name].append(observation)

    def names(self, load: Load) -> Sequence[str]:
        """The proxies that were measured under `load`, in their order."""
        return tuple(self._rounds[load.name]) if load.name in self._rounds else ()

    def rounds(self, load: Load, name: str) -> Sequence[Observation]:
        """What each round saw."""
        return self._rounds[load.name][name] if name in self.names(load) else ()

    def median(self, load: Load, name: str, figure: Figure) -> float:
        """The median of `figure` over the rounds; NaN where there is none."""
        return median([figure(observation) for observation in self.rounds(load, name)])

    def ratio(self, load: Load, name: str, other: str, figure: Figure) -> float:
        """The median of the ratio of `name` to `other` within a round."""
        return median([figure(mine) / figure(theirs) for mine, theirs in self._pairs(load, name, other)])

    def added(self, load: Load, name: str, other: str, figure: Figure) -> float:
        """The median of what `name` has more than `other` within a round."""
        return median([figure(mine) - figure(theirs) for mine, theirs in self._pairs(load, name, other)])

    def document(self) -> Mapping[str, object]:
        """Every observation as JSON data."""
        rounds = {
            load: {name: [asdict(seen) for seen in observed] for name, observed in by_name.items()}
            for load, by_name in self._rounds.items()
        }
        return {"rounds": rounds, "most_clean_streams": self.most_streams}

    def _pairs(self, load: Load, name: str, other: str) -> list[tuple[Observation, Observation]]:
        return list(zip(self.rounds(load, name), self.rounds(load, other), strict=False))
