"""Declares keys of the configuration file: default, meaning, unit, bounds, and when a change takes effect.

`x-unit` names the unit of a number. `x-reload` says whether a change takes effect at once (`live`) or waits for the
next start (`restart`). Unknown keys are errors everywhere.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A mapping of the file; it is immutable and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _may_be_empty(cls, value: object) -> object:
        # A section whose keys are all commented out is null in YAML.
        return {} if value is None else value


def setting(default: Any, meaning: str, *, unit: str | None = None, reload: str | None = None, **bounds: Any) -> Any:
    """One key of the file; `default` is `...` if it has none, and `reload` is None for sections."""
    extra = {"x-unit": unit, "x-reload": reload}
    return Field(
        default,
        description=meaning,
        json_schema_extra={name: value for name, value in extra.items() if value is not None},
        **bounds,
    )


def live(default: Any, meaning: str, *, unit: str | None = None, **bounds: Any) -> Any:
    """A key whose change takes effect at once."""
    return setting(default, meaning, unit=unit, reload="live", **bounds)


def restart(default: Any, meaning: str, *, unit: str | None = None, **bounds: Any) -> Any:
    """A key whose change waits for the next start."""
    return setting(default, meaning, unit=unit, reload="restart", **bounds)


def refuse_truth(value: object) -> object:
    """Return `value` unless it is true or false."""
    # Python counts True as 1; an operator who writes `port: true` made a mistake.
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "not a number")
    return value


def at_least_one(*required: str) -> Callable[[dict[str, Any]], None]:
    """Says in the JSON schema that these keys are required and that their lists must not be empty.

    The models accept both, and `checks` reports them: a list may also be empty because all its items are broken.
    """

    def extend(schema: dict[str, Any]) -> None:
        schema["required"] = list(required)
        for name in required:
            if schema["properties"][name].get("type") == "array":
                schema["properties"][name]["minItems"] = 1

    return extend


Count = Annotated[int, BeforeValidator(refuse_truth)]
Quantity = Annotated[float, BeforeValidator(refuse_truth)]

# A number or the word: `Annotated[Annotated[int, ..., Tag("number")] | Auto, NUMBER_OR_AUTO]`.
AUTO: Final = "auto"
Auto = Annotated[Literal["auto"], Tag("auto")]
NUMBER_OR_AUTO: Final = Discriminator(lambda value: "auto" if value == AUTO else "number")
