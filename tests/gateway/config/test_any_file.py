"""Whatever stands in the file, `load` returns a configuration or raises `ConfigError` with faults in their lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from any_bytes import damaged, kept
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.config import ConfigError, load
from gateway.config.export import json_schema

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["*", "linear", "expression", "rpm:3", "http://h:1", "${X}", "${X:-1}", "unix:///s", "0" * 64])
)


def _names(schema: Any) -> Iterator[str]:
    match schema:
        case dict():
            yield from schema.get("properties", {})
            for child in schema.values():
                yield from _names(child)
        case list():
            for child in schema:
                yield from _names(child)


_KEYS = st.sampled_from(sorted(set(_names(json_schema())))) | st.text(max_size=8)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=20
)


def _pool() -> st.SearchStrategy[dict[str, Any]]:
    worker = st.fixed_dictionaries({}, optional=dict.fromkeys(("url", "launch", "name", "api_key"), _VALUES))
    return st.fixed_dictionaries(
        {"model": _SCALARS, "workers": st.lists(worker, max_size=3)},
        optional=dict.fromkeys(("cost", "window", "aliases", "timeouts"), _VALUES),
    )


def _tenant() -> st.SearchStrategy[dict[str, Any]]:
    key = st.dictionaries(st.sampled_from(["id", "sha256", "env", "file", "disabled"]), _SCALARS, max_size=3)
    return st.fixed_dictionaries(
        {"name": _SCALARS},
        optional={"keys": st.lists(key, max_size=3), "limits": _VALUES, "models": _VALUES, "weight": _VALUES},
    )


_FILES = st.fixed_dictionaries(
    {"pools": st.lists(_pool(), max_size=3), "tenants": st.lists(_tenant(), max_size=3)},
    optional=dict.fromkeys(
        ("listen", "scheduler", "admin", "anonymous", "logs", "tenant_defaults", "processes", "replicas"), _VALUES
    ),
)


def _load(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        load(file, {})
    except ConfigError as error:
        lines = content.count(b"\n") + 1
        assert error.faults
        for fault in error.faults:
            assert 1 <= fault.line <= lines
            assert fault.message and fault.remedy
            assert str(fault).isprintable()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples, in a folder without keys."""
    return tmp_path_factory.mktemp("any") / "config.yaml"


_MOST_VALUES = 3_000  # one takes ten times as long to make and to read as bytes do


@given(value=_VALUES | _FILES)
@settings(
    deadline=None,
    max_examples=min(settings.default.max_examples, _MOST_VALUES),
    suppress_health_check=[HealthCheck.too_slow],
)
@example(value={"pools": [{"model": "a", "cost": {"function": ["x"]}}], "tenants": 3})
@example(value={"pools": [{"model": {}, "cost": 5, "workers": [{"launch": {"count": 10**30}}]}]})
@example(value={"tenants": [{"name": "a", "keys": [{"file": "\0"}, {"file": "x" * 5000}, {"env": "\0"}]}]})
@example(value={"pools": {"model": "a"}, "tenants": {"name": "a"}})
@example(value={"listen": {"\x85": None}, "\u2028": "\u2029", "pools": [], "tenants": []})
@example(value={"tenants": [{"name": "a", "keys": [{"file": "\x1b[2J\u2028"}]}]})
def test_any_value_is_loaded_or_faulted(file: Path, value: Any) -> None:
    """Values made of the schema's own keys, right and wrong, never raise anything but `ConfigError`."""
    _load(file, yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


_EXAMPLE = (Path(__file__).parents[3] / "config.yaml").read_bytes()
_WORDS = [
    *(
        b"\n",
        b"\r",
        b": ",
        b"- ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"&a ",
        b"*a",
        b"<<: *a",
        b"!!python/name:os.system ",
        b"%YAML 9",
    ),
    *(
        b"---\n",
        b"...\n",
        b"|\n",
        b">-\n",
        b"'",
        b'"',
        b"\t",
        b"#",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\0",
        b"\xe2\x80\xa8",
        b"? ",
    ),
    *(
        b"pools:\n",
        b"tenants: ",
        b"${X",
        b"${X:-}",
        b"1e999",
        b".nan",
        b"0x1F",
        b"1_000",
        b"2026-11-30",
        b"[" * 400,
        b"~",
    ),
]
_TEXTS = st.text(alphabet="{}[]:,-&*!|>'\"%@`?#\n ab1$", max_size=200).map(str.encode)


@pytest.fixture
def few_values() -> Iterator[None]:
    """A lower bound of values: reading a file up to the real one takes seconds, which the kept files do once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.config.document.MAX_NODES", 5_000)
        yield


@pytest.mark.usefixtures("few_values")
@given(content=damaged([_EXAMPLE, *kept("configurations")], _WORDS) | _TEXTS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_any_bytes_are_loaded_or_faulted(file: Path, content: bytes) -> None:
    """Bytes of any kind never raise anything but `ConfigError`."""
    _load(file, content)


@pytest.mark.parametrize("content", kept("configurations"), ids=repr)
def test_kept_files_are_loaded_or_faulted(file: Path, content: bytes) -> None:
    """Files that once failed, or that somebody feared, raise nothing but `ConfigError`."""
    _load(file, content)
