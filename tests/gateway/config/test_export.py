"""The published JSON schema is the models', is a right schema, and agrees with what `load` accepts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.config.export import json_schema, json_schema_text

ROOT = Path(__file__).parents[3]
VALIDATOR = Draft202012Validator(json_schema())
WORKERS = [{"url": "http://h:1"}]


def test_the_published_schema_is_current() -> None:
    """`docs/config.schema.json` is what `python -m gateway.config` prints."""
    assert (ROOT / "docs" / "config.schema.json").read_text() == json_schema_text()
    printed = subprocess.run([sys.executable, "-m", "gateway.config"], capture_output=True, check=True, cwd=ROOT)
    assert json.loads(printed.stdout) == json_schema()


def test_the_schema_is_one_of_its_dialect() -> None:
    """The schema is valid draft 2020-12."""
    assert json_schema()["$schema"] == Draft202012Validator.META_SCHEMA["$schema"]
    Draft202012Validator.check_schema(json_schema())


def test_the_sample_satisfies_the_schema() -> None:
    """The shipped file has the line that editors look for, and no fault in their eyes."""
    text = (ROOT / "config.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=docs/config.schema.json\n")
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "part",
    [
        {"listen": None},
        {"listen": {"port": "${PORT:-8000}"}},
        {"scheduler": {"policy": "rpm:20", "predictor": "${P}"}},
        {"metrics": {"enabled": "${M:-true}"}},
        {"processes": "auto", "replicas": {"store": "rediss://store", "expected": "${N:-3}"}},
        {"processes": "${PROCESSES:-2}", "replicas": {"store": "${STORE}"}},
        {"pools": [{"model": "m", "cost": {"output_weight": 3}, "workers": WORKERS}]},
        {"pools": [{"model": "m", "cost": {"function": "kv_time"}, "workers": WORKERS}]},
        {
            "pools": [
                {"model": "m", "workers": [{"launch": {"engine": "embedded", "count": 2, "environment": ["A=b"]}}]}
            ]
        },
    ],
)
def test_what_an_editor_accepts(part: dict[str, object]) -> None:
    """Variables, empty sections and every kind of worker and cost pass."""
    assert (
        list(VALIDATOR.iter_errors({"pools": [{"model": "m", "workers": WORKERS}], "tenants": [{"name": "a"}], **part}))
        == []
    )


@pytest.mark.parametrize(
    "part",
    [
        {"listn": {}},
        {"listen": {"port": 70000}},
        {"listen": {"port": "x"}},
        {"scheduler": {"policy": "vtcc"}},
        {"pools": []},
        {"pools": [{"model": "m"}]},
        {"pools": [{"model": "m", "workers": [{}]}]},
        {"pools": [{"model": "m", "workers": [{"url": "http://h:1", "launch": {"profile": "x"}}]}]},
        {"pools": [{"model": "m", "cost": {"function": "liner"}, "workers": WORKERS}]},
        {"tenants": [{"name": "_x"}]},
        {"processes": 0},
        {"processes": "many"},
        {"replicas": {}},
        {"replicas": {"store": "redis://:password@store"}},
        {"replicas": {"store": "store:6379"}},
        {"tenants": [{"name": "a", "limits": {"max_inflight": 1}}]},
        {"tenants": [{"name": "a", "keys": [{"id": "x"}]}]},
    ],
)
def test_what_an_editor_marks(part: dict[str, object]) -> None:
    """The mistakes that a schema can know are marked while typing."""
    whole = {"pools": [{"model": "m", "workers": WORKERS}], "tenants": [{"name": "a"}], **part}
    assert list(VALIDATOR.iter_errors(whole)) != []
