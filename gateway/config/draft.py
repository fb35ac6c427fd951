"""A file's values made into the schema's models, as far as they are right.

So that every fault is found in one go, what the schema refuses is cut out and the rest is read again: the
rules that join several keys then run on what is left. Lists lose their broken items; `origin` gives a place
in the draft its place in the file.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from pydantic import ValidationError

from gateway.config.document import Value
from gateway.config.explain import explain
from gateway.config.faults import FaultLog, Path
from gateway.config.schema import ConfigFile

# Cutting a value out can make another mistake visible, never for long.
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Draft:
    """The readable part of a file; `kept` maps a list of the file to the positions left in it.

    `guesses` are the places in the file whose values are not known.
    """

    file: ConfigFile
    kept: Mapping[Path, tuple[int, ...]]
    guesses: frozenset[Path] = frozenset()

    def origin(self, path: Path) -> Path:
        """`path` in the draft as a path in the file."""
        return _origin(path, self.kept)

    def is_whole(self, path: Path) -> bool:
        """True where the list at `path` lost no item, and all of it is known."""
        place = self.origin(path)
        return path not in self.kept and not any(guess[: len(place)] == place for guess in self.guesses)


def draft(value: Value, faults: FaultLog) -> Draft | None:
    """Read `value`, noting every fault; None where nothing is left to look at."""
    broken = set(faults)
    for _ in range(_ROUNDS):
        kept: dict[Path, tuple[int, ...]] = {}
        rest = _cut(value, (), broken, kept)
        try:
            return Draft(ConfigFile.model_validate(rest), kept, faults.guesses)
        except ValidationError as error:
            for finding in explain(error.errors(include_url=False), ConfigFile, tag="function"):
                faults.add(_origin(finding.path, kept), finding.message, finding.remedy)
                broken.add(_origin(finding.cut, kept))
    return None


def _origin(path: Path, kept: Mapping[Path, tuple[int, ...]]) -> Path:
    place: Path = ()
    for step in path:
        positions = kept.get(place)
        place = (*place, positions[step] if positions is not None and isinstance(step, int) else step)
    return place


def _cut(value: Value, path: Path, broken: Set[Path], kept: dict[Path, tuple[int, ...]]) -> Value:
    """`value` without the places in `broken`."""
    match value:
        case dict():
            return {
                key: _cut(child, (*path, key), broken, kept)
                for key, child in value.items()
                if (*path, key) not in broken
            }
        case list():
            left = [index for index in range(len(value)) if (*path, index) not in broken]
            if len(left) < len(value):
                kept[path] = tuple(left)
            return [_cut(value[index], (*path, index), broken, kept) for index in left]
        case _:
            return value
