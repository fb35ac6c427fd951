"""The workloads that come with the program: one file each, by name.

The paper's set-ups ("Fairness in Serving Large Language Models", OSDI '24, arXiv 2401.00588) and, after them, what the
paper leaves out. Rates, durations, lengths and schedules of the paper's are those of its artifact
(Ying1123/VTC-artifact, fair_bench/exp_suite.py and fair_bench/trace.py).
"""

from pathlib import Path

_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Every name, in alphabetical order."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.yaml")))


def file_of(name: str) -> Path:
    """The file of a name of `names()`."""
    return _FOLDER / f"{name}.yaml"
