"""Prints, as JSON, what the installed vLLM makes of odd values in the fields that the gateway reads.

Runs under vLLM's own interpreter with `{path: [field, ...]}` as its argument. Per path and field: pairs of a value and
what vLLM reads in it, `"refused"` where it refuses it. A field that no model of a path has is left out.
"""

import json
import sys
import typing

from dump_request_fields import ROUTERS, models_in
from pydantic import BaseModel, TypeAdapter, ValidationError

REFUSED = "refused"
SCALARS = [
    *(True, False, 0, 1, 2, 7, -1, 1.0, 0.0, 4.0, 4.5, -1.0, 1e3, 1e18, 1e19, 2**63),
    *("4", "4.0", "4.5", " 4 ", "+4", "-4", "04", "1_000", "0x4", "1e3", "", "many", "99999999999999999999"),
    *("true", "True", "TRUE", "false", "no", "yes", "y", "n", "on", "off", "t", "f", "1", "0", "2", " true "),
    *([], [1], {}, {"a": 1}),
]
PROMPTS = [
    *("a", 5, 5.0, True, {"a": 1}, ["a"], ["a", "b"], ["1", "2"], [1, 2], [1.0, 2.0], [1.5], [True], [1, "2"]),
    *(["a", 1], [1, "a"], [None], [[1], [2.0, "3"]], [[1.5]], [[1], "a"], [[1], 2], [["a"]], [1e3], [2**40]),
]
PROMPT_FIELDS = ("prompt", "input")


def read(model: type[BaseModel], name: str, value: object) -> object:
    """What `model` reads in `value` as its field `name`."""
    field = model.model_fields[name]
    kind = typing.Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return REFUSED


def coercions(wanted: dict[str, list[str]]) -> dict[str, dict[str, list[list[object]]]]:
    """What the first model of each path that has a field makes of the values."""
    found: dict[str, dict[str, list[list[object]]]] = {}
    for router in ROUTERS:
        for route in router.routes:
            if route.path not in wanted or "POST" not in route.methods:
                continue
            models = models_in(typing.get_type_hints(route.endpoint)["request"])
            for name in wanted[route.path]:
                model = next((each for each in models if name in each.model_fields), None)
                if model is not None:
                    values = PROMPTS if name in PROMPT_FIELDS else SCALARS
                    found.setdefault(route.path, {})[name] = [[value, read(model, name, value)] for value in values]
    return found


if __name__ == "__main__":
    print(json.dumps(coercions(json.loads(sys.argv[1]))))  # noqa: T201
