"""What a configuration takes from outside its file: environment variables, and key files beside it.

`check --no-environment` reads a file where it will not run: what is not there is then taken on trust.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The environment; `is_complete` where what is missing is a fault."""

    variables: Mapping[str, str]
    is_complete: bool = True
