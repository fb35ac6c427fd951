"""Least squares of the relative error, with coefficients that are not negative: measurements to a linear cost. PURE.

Each measurement is divided by its own value, so that a step of 5 ms counts as much as a prompt of a second. A
coefficient that would come out negative is nothing but noise and is held at zero: with at most a handful of features
every set of those that stay is tried, and the one with the least error is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

# Below this a pivot is rounding noise: the measurements do not tell its feature from the others.
_SINGULAR = 1e-12


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was computed, in the quantities that cost time, and how long it took; `seconds` > 0."""

    features: tuple[float, ...]
    seconds: float

    def predicted_seconds(self, coefficients: Sequence[float]) -> float:
        """What a linear cost of these coefficients says."""
        return sum(feature * cost for feature, cost in zip(self.features, coefficients, strict=True))

    def error(self, coefficients: Sequence[float]) -> float:
        """How far the prediction is off, relative to what was measured."""
        return abs(self.predicted_seconds(coefficients) / self.seconds - 1.0)


def fit(measurements: Sequence[Measurement]) -> tuple[float, ...]:
    """The coefficients with the least sum of squared relative errors; raises ValueError if nothing can be told."""
    width = len(measurements[0].features) if measurements else 0
    found = [
        coefficients
        for size in range(1, width + 1)
        for kept in combinations(range(width), size)
        if (coefficients := _solved(measurements, kept, width)) is not None
    ]
    if not found:
        raise ValueError("the measurements do not determine any cost")
    return min(found, key=lambda coefficients: sum(each.error(coefficients) ** 2 for each in measurements))


def _solved(measurements: Sequence[Measurement], kept: tuple[int, ...], width: int) -> tuple[float, ...] | None:
    """The least squares over the features `kept`, the others 0; None if it is undetermined or negative."""
    # Features differ by orders of magnitude: each is scaled to 1 at most, for the arithmetic's sake.
    scales = [max(abs(each.features[index]) for each in measurements) for index in kept]
    if min(scales) <= 0.0:
        return None
    rows = [
        [each.features[index] / scale / each.seconds for index, scale in zip(kept, scales, strict=True)]
        for each in measurements
    ]
    normal = [[sum(row[i] * row[j] for row in rows) for j in range(len(kept))] for i in range(len(kept))]
    solution = _solve(normal, [sum(row[i] for row in rows) for i in range(len(kept))])
    if solution is None or min(solution) < 0.0:
        return None
    by_feature = {index: value / scale for index, value, scale in zip(kept, solution, scales, strict=True)}
    return tuple(by_feature.get(index, 0.0) for index in range(width))


def _solve(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Gauss with a pivot by row; None if the matrix is singular."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    largest = max(abs(value) for row in matrix for value in row)
    for column in range(size):
        pivot = max(range(column, size), key=lambda index: abs(rows[index][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        if abs(rows[column][column]) <= _SINGULAR * largest:
            return None
        for below in range(column + 1, size):
            factor = rows[below][column] / rows[column][column]
            rows[below] = [low - factor * top for low, top in zip(rows[below], rows[column], strict=True)]
    solution = [0.0] * size
    for index in reversed(range(size)):
        known = sum(rows[index][other] * solution[other] for other in range(index + 1, size))
        solution[index] = (rows[index][size] - known) / rows[index][index]
    return solution
