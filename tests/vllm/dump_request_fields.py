"""Prints, as JSON, every field that the installed vLLM reads from the body of each request the gateway exposes.

Runs under vLLM's own interpreter. The models are found through vLLM's routes, so a model that vLLM renames or
adds to a union is listed without a change here. Per path: model name -> field name -> type in words. With `--paths`:
every path instead.
"""

import json
import sys
import typing

from pydantic import BaseModel
from vllm.entrypoints.anthropic.api_router import router as anthropic
from vllm.entrypoints.openai.chat_completion.api_router import router as chat
from vllm.entrypoints.openai.completion.api_router import router as completion
from vllm.entrypoints.openai.responses.api_router import router as responses
from vllm.entrypoints.pooling.embed.api_router import router as embed
from vllm.entrypoints.pooling.scoring.api_router import router as scoring
from vllm.entrypoints.serve.tokenize.api_router import router as tokenize

ROUTERS = (anthropic, chat, completion, responses, embed, scoring, tokenize)


def models_in(annotation: object) -> list[type[BaseModel]]:
    """The pydantic models of a body's annotation, through unions and `Annotated`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


def fields_of(model: type[BaseModel]) -> dict[str, str]:
    """Every name the model accepts, aliases included, with its type."""
    names: dict[str, str] = {}
    for name, field in model.model_fields.items():
        for accepted in {name, field.alias, field.validation_alias}:
            if isinstance(accepted, str):
                names[accepted] = str(field.annotation)
    return dict(sorted(names.items()))


def request_fields(paths: set[str]) -> dict[str, dict[str, dict[str, str]]]:
    """Fields by path and model of the POST routes named in `paths`."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for router in ROUTERS:
        for route in router.routes:
            if route.path in paths and "POST" in route.methods:
                body = typing.get_type_hints(route.endpoint)["request"]
                found[route.path] = {model.__name__: fields_of(model) for model in models_in(body)}
    return found


def post_paths() -> list[str]:
    """Every path that takes a POST."""
    return sorted({route.path for router in ROUTERS for route in router.routes if "POST" in route.methods})


if __name__ == "__main__":
    result = post_paths() if sys.argv[1:] == ["--paths"] else request_fields(set(sys.argv[1:]))
    print(json.dumps(result, indent=1))  # noqa: T201
