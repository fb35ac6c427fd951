"""The gateway's field table knows every request field of the installed vLLM, so that none passes by oversight."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from vllm_servers import ROOT

from backend.vllm.launch import find_python
from gateway.wire.fields import FIELDS
from gateway.wire.surface import ENDPOINTS, Endpoint

DUMP_SECONDS = 120


@pytest.fixture(scope="module")
def vllm_fields() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Path to request model to field, as vLLM's own interpreter lists them."""
    script = Path(__file__).with_name("dump_request_fields.py")
    command = [str(find_python(None, os.environ)), str(script), *ENDPOINTS]
    done = subprocess.run(command, check=True, capture_output=True, timeout=DUMP_SECONDS, cwd=ROOT)
    fields: Mapping[str, Mapping[str, Mapping[str, str]]] = json.loads(done.stdout)
    return fields


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
