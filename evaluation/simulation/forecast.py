"""Whether the KV pool will hold one more sequence, all lengths known: the paper's engine regrets nothing it admits.

Sequences grow by one token per decode step and give back all they hold at their end, so the pool is fullest just before
one of them ends. A sequence that starts at step f with prompt p and output o ends at L = f + o; sorted by L, latest
first, the pool holds before the end of the i-th: the sum over j <= i of (p_j - f_j), plus i * L_i. That does not depend
on the present step, so it is summed once per change of the running set, and a candidate costs one bisection.
Source of the rule: `_can_add_new_req` in the paper's artifact (which counts one token more for a candidate).
"""

from bisect import bisect_right, insort
from itertools import accumulate

_Sequence = tuple[int, int]  # minus its end, its prompt minus its start


class Forecast:
    """The sequences in a pool, and the most that they will hold together."""

    __slots__ = ("_is_stale", "_later_peaks", "_peak", "_sequences", "_sums")

    def __init__(self) -> None:
        """Nothing runs."""
        self._sequences: list[_Sequence] = []
        self._is_stale = True

    def add(self, start: int, prompt_tokens: int, output_tokens: int) -> None:
        """A sequence starts at decode step `start`."""
        insort(self._sequences, (-(start + output_tokens), prompt_tokens - start))
        self._is_stale = True

    def remove(self, start: int, prompt_tokens: int, output_tokens: int) -> None:
        """A sequence that was added ended."""
        self._sequences.remove((-(start + output_tokens), prompt_tokens - start))
        self._is_stale = True

    def peak_with(self, step: int, prompt_tokens: int, output_tokens: int) -> int:
        """Most tokens that the pool will hold where one more sequence starts at `step`."""
        if self._is_stale:
            self._sum_up()
        end, grown = step + output_tokens, prompt_tokens - step
        place = bisect_right(self._sequences, (-end, 1 << 62))
        own = self._sums[place] + grown + (place + 1) * end
        return max(self._peak, own, self._later_peaks[place] + grown)

    def _sum_up(self) -> None:
        """Prefix sums, the peak without a candidate, and from each place on the peak that a candidate adds to."""
        sequences = self._sequences
        self._sums = [0, *accumulate(grown for _, grown in sequences)]
        peaks = [self._sums[i + 1] - (i + 1) * minus_end for i, (minus_end, _) in enumerate(sequences)]
        self._peak = max(peaks, default=0)
        raised = [peak - minus_end for peak, (minus_end, _) in zip(peaks, sequences, strict=True)]
        self._later_peaks = [*reversed(list(accumulate(reversed(raised), max))), -(1 << 62)]
        self._is_stale = False
