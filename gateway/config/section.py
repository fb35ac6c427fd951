"""How a key of the configuration file is declared: its default, meaning, unit, bounds, and when a change takes effect.

`x-unit` names the unit of a number. `x-reload` says whether a change applies to the running gateway (`live`) or
waits for its next start (`restart`). Unknown keys are errors everywhere.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A mapping of the file: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _may_be_empty(cls, value: object) -> object:
        # A section whose keys are all commented out is null in YAML.
        return {} if value is None else value


def setting(default: Any, meaning: str, *, unit: str | None = None, reload: str | None = None, **bounds: Any) -> Any:
    """One key of the file; `default` is `...` where there is none, `reload` is None for sections."""
    extra = {"x-unit": unit, "x-reload": reload}
    return Field(
        default,
        description=meaning,
        json_schema_extra={name: value for name, value in extra.items() if value is not None},
        **bounds,
    )


def live(default: Any, meaning: str, *, unit: str | None = None, **bounds: Any) -> Any:
    """A key whose change applies to the running gateway."""
    return setting(default, meaning, unit=unit, reload="live", **bounds)


def restart(default: Any, meaning: str, *, unit: str | None = None, **bounds: Any) -> Any:
    """A key whose change waits for the next start."""
    return setting(default, meaning, unit=unit, reload="restart", **bounds)


def refuse_truth(value: object) -> object:
    """Pass everything but true and false on."""
    # Python counts True as 1; an operator who writes `port: true` made a mistake.
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "not a number")
    return value


def at_least_one(*required: str) -> Callable[[dict[str, Any]], None]:
    """Says in the JSON schema that these keys are required and their lists not empty.

    The models let both pass: `checks` reports them in words that hold when broken items leave a list empty.
    """

    def extend(schema: dict[str, Any]) -> None:
        schema["required"] = list(required)
        for name in required:
            if schema["properties"][name].get("type") == "array":
                schema["properties"][name]["minItems"] = 1

    return extend


Count = Annotated[int, BeforeValidator(refuse_truth)]
Quantity = Annotated[float, BeforeValidator(refuse_truth)]
