"""The gateway's field table knows every request field of the installed vLLM, so that none passes by oversight."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from vllm_servers import ROOT

from backend.vllm.launch import find_python
from gateway.wire.coercion import TYPED
from gateway.wire.fields import FIELDS, Treatment
from gateway.wire.surface import ENDPOINTS, Endpoint

DUMP_SECONDS = 120
RECORDED_COERCIONS = ROOT / "tests/gateway/wire/vllm_0_32_coercions.json"
PLAIN = {"int", "bool", "|", "None", "<class", "'int'>", "'bool'>"}  # words of a type that is a number or a truth
# Treatments that look into a field's value, which must be what the engine reads there.
JUDGED = (Treatment.CLAMP, Treatment.RIGHT, Treatment.REFUSE)


@pytest.fixture(scope="module")
def vllm_fields() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Path to request model to field, as vLLM's own interpreter lists them."""
    fields: Mapping[str, Mapping[str, Mapping[str, str]]] = dumped("dump_request_fields.py", *ENDPOINTS)
    return fields


def dumped(script: str, *arguments: str) -> Any:
    """What one of the scripts prints under vLLM's own interpreter."""
    command = [str(find_python(None, os.environ)), str(Path(__file__).with_name(script)), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, timeout=DUMP_SECONDS, cwd=ROOT)
    return json.loads(done.stdout)


def test_values_are_read_as_the_recorded_vllm_reads_them() -> None:
    """The record by which `coercion.py` is tested is the installed vLLM's own."""
    recorded = json.loads(RECORDED_COERCIONS.read_text("utf-8"))
    wanted = {path: list(fields) for path, fields in recorded.items()}
    assert dumped("dump_coercions.py", json.dumps(wanted)) == recorded


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=lambda endpoint: endpoint.family.value)
def test_every_judged_number_and_truth_is_read_as_the_engine_reads_it(
    endpoint: Endpoint, vllm_fields: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> None:
    """A field of theirs that a limit or a right looks into, and `stream`, has its reader."""
    rules = FIELDS[endpoint.family]
    for fields in vllm_fields[endpoint.path].values():
        plain = {name for name, kind in fields.items() if set(kind.split()) <= PLAIN}
        judged = {name for name in plain if name in rules and rules[name].treatment in JUDGED} | plain & {"stream"}
        assert judged <= set(TYPED[endpoint.family])


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=lambda endpoint: endpoint.family.value)
def test_every_field_of_vllm_is_classified(
    endpoint: Endpoint, vllm_fields: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> None:
    """Each field that a request model of this path accepts has a treatment."""
    models = vllm_fields[endpoint.path]
    assert models, "vLLM has no such path: the listing looks in the wrong place"
    known = FIELDS[endpoint.family]
    unknown = {model: sorted(set(fields) - set(known)) for model, fields in models.items()}
    assert not any(unknown.values()), f"add to gateway/wire/fields.py: {unknown}"


def test_every_spelling_of_a_served_path_is_served() -> None:
    """What vLLM serves under a served path's name, with or without a version before it, leads to the same here."""

    def name(path: str) -> str:
        return re.sub(r"^/v[0-9]+", "", path)

    served = {name(path) for path in ENDPOINTS}
    theirs = {path for path in dumped("dump_request_fields.py", "--paths") if name(path) in served}
    assert theirs == set(ENDPOINTS)
