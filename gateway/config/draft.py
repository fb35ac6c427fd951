"""Makes the schema's models from a file's values, as far as these are right.

All faults are to be found at once. So whatever the schema refuses is cut out, and the rest is read again; then the
rules over several keys can check what is left. Lists lose their broken items. `origin` translates a place in the draft
into the place in the file.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from pydantic import ValidationError

from gateway.config.document import Value
from gateway.config.explain import explain
from gateway.config.faults import FaultLog, Path
from gateway.config.schema import ConfigFile

# Cutting a value out may show another mistake, but only a few times in a row.
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Draft:
    """The readable part of a file.

    For a list that lost items, `kept` has the positions of those that are left. `guesses` are the places in the file
    whose values are not known.
    """

    file: ConfigFile
    kept: Mapping[Path, tuple[int, ...]]
    guesses: frozenset[Path] = frozenset()

    def origin(self, path: Path) -> Path:
        """The path in the file of what is at `path` in the draft."""
        return _origin(path, self.kept)

    def is_whole(self, path: Path) -> bool:
        """True if the list at `path` lost no item and all its values are known."""
        place = self.origin(path)
        return path not in self.kept and not any(guess[: len(place)] == place for guess in self.guesses)


def draft(value: Value, faults: FaultLog) -> Draft | None:
    """Read `value` and note every fault; None if nothing readable is left."""
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
