"""What a configuration takes from outside its file: environment variables, and whether key files must be there.

`check --no-environment` reads a file on a machine where it will not run. Then variables and key files that are missing
are taken on trust.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The environment; if it `is_complete`, a variable or key file that is missing is a fault."""

    variables: Mapping[str, str]
    is_complete: bool = True
