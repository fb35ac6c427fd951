"""Every fault of a wrong workload file is reported with its line and a remedy, all of them at once."""

from pathlib import Path

import pytest

from evaluation.workloads import ConfigError, file_of, load, names

HEAD = "name: mine\ndescription: Mine.\nseconds: 60\n"
TENANT = "{name: a, prompt: 8, output: 8, arrivals: {kind: poisson, per_minute: 6}}"
RIGHT = f"{HEAD}tenants:\n  - {TENANT}\n"


def _faults(tmp_path: Path, text: str) -> list[tuple[int, str, str]]:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(file)
    faults = raised.value.faults
    assert all(fault.file == str(file) and fault.message and fault.remedy for fault in faults)
    return [(fault.line, fault.path, f"{fault.message}; {fault.remedy}") for fault in faults]


def test_a_right_file_is_right(tmp_path: Path) -> None:
    """The smallest possible file is accepted."""
    (tmp_path / "mine.yaml").write_text(RIGHT)
    workload = load(tmp_path / "mine.yaml")
    assert workload.name == "mine" and dict(workload.tenants) == {"a": 1.0}


@pytest.mark.parametrize(
    ("tenant", "path", "words"),
    [
        ("{name: a, prompt: 8, output: 8}", "tenants[0].arrivals", "is missing"),
        (TENANT.replace("per_minute", "per_minut"), "tenants[0].arrivals.per_minut", "did you mean `per_minute`"),
        (TENANT.replace("poisson", "poison"), "tenants[0].arrivals.kind", "did you mean `poisson`"),
        (TENANT.replace("kind: poisson, ", ""), "tenants[0].arrivals", "does not say its kind"),
        (TENANT.replace("per_minute: 6", "per_minute: -6"), "tenants[0].arrivals.per_minute", "more than 0"),
        (TENANT.replace("per_minute: 6", "per_minute: true"), "tenants[0].arrivals.per_minute", "a whole number"),
        (TENANT.replace("prompt: 8", "prompt: 0"), "tenants[0].prompt", "at least 1"),
        (TENANT.replace("prompt: 8", "prompt: 8.5"), "tenants[0].prompt", "whole number"),
        (TENANT.replace("prompt: 8", "prompt: long"), "tenants[0].prompt", "whole number"),
        (
            TENANT.replace("prompt: 8", "prompt: {kind: uniform, shortest: 9, longest: 3}"),
            "tenants[0].prompt",
            "swap them",
        ),
        (
            TENANT.replace("prompt: 8", "prompt: {kind: quantiles, points: [[0, 1], [0.5, 9]]}"),
            "tenants[0].prompt",
            "from share 0 to share 1",
        ),
        (
            TENANT.replace("prompt: 8", "prompt: {kind: quantiles, points: [[0, 1], [0.5, 9], [1, 8]]}"),
            "tenants[0].prompt",
            "do not rise",
        ),
        (TENANT.replace("output: 8", "output: 8, max_output_tokens: 7"), "tenants[0]", "states at most 7 tokens"),
        (TENANT.replace("name: a", "name: a b"), "tenants[0].name", "right form"),
        (TENANT.replace("name: a", "name: a, weight: 0"), "tenants[0].weight", "more than 0"),
        (TENANT.replace("name: a", "name: a, keys: 0"), "tenants[0].keys", "at least 1"),
        ("nonsense", "tenants[0]", "a mapping of keys"),
        (
            TENANT.replace(
                "{kind: poisson, per_minute: 6}",
                "{kind: scattered, requests: 3, from_second: 9, to_second: 8}",
            ),
            "tenants[0].arrivals",
            "ends before it begins",
        ),
        (TENANT.replace("per_minute: 6", "per_minute: 6, on_off: {on_seconds: 6}"), "off_seconds", "is missing"),
        (
            TENANT.replace("{kind: poisson, per_minute: 6}", "{kind: phases, parts: []}"),
            "tenants[0].arrivals.parts",
            "at least 1",
        ),
        (TENANT.replace("a,", "a, disconnects: {share: 2, after_tokens: 1},"), "disconnects.share", "at most 1"),
    ],
)
def test_a_wrong_tenant_is_reported_with_its_line(tmp_path: Path, tenant: str, path: str, words: str) -> None:
    """A mistake has its place, its words and its remedy; a right tenant beside it has no fault."""
    right = TENANT.replace("name: a", "name: right")
    found = _faults(tmp_path, f"{HEAD}tenants:\n  - {tenant}\n  - {right}\n")
    assert len(found) == 1, found
    line, place, text = found[0]
    assert line == 5 and place.endswith(path) and words in text


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "is missing"),
        ("- 1\n", 1, "not a mapping"),
        ("name: [\n", 2, "has no value where one must stand"),
        (RIGHT.replace("seconds: 60\n", ""), 1, "is missing; add `seconds"),
        (RIGHT.replace("seconds: 60", "seconds: 0"), 3, "more than 0"),
        (RIGHT.replace("seconds: 60", "seconds: .nan"), 3, "seconds"),
        (RIGHT + "sed: 3\n", 6, "not a known key"),
        (RIGHT + "seed: -3\n", 6, "at least 0"),
        (RIGHT + "seconds: 61\n", 6, "given twice"),
        (f"{RIGHT}  - {TENANT}\n", 4, "the tenant a twice"),
        (f"{HEAD}tenants: []\n", 4, "at least 1"),
        (f"{HEAD}tenants: 3\n", 4, "a list"),
        (f"{HEAD}tenant_defaults: 3\ntenants: [{TENANT}]\n", 4, "a mapping"),
        (f"{HEAD}tenant_defaults: {{promt: 3}}\ntenants: [{TENANT}]\n", 4, "did you mean `prompt`"),
        (RIGHT.replace("per_minute: 6", "per_minute: 9000000"), 1, ""),
    ],
)
def test_a_wrong_file_is_reported_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    """These faults concern the file as a whole."""
    if "9000000" in text:
        text, words = text.replace("seconds: 60", "seconds: 6000"), "makes 900000000 requests"
    found = _faults(tmp_path, text)
    assert any(place == line and words in f"{path} {message}" for place, path, message in found), found


def test_a_fault_of_the_defaults_is_reported_once_where_it_stands(tmp_path: Path) -> None:
    """The fault is not repeated for every tenant that has the default."""
    tenants = "tenants:\n  - {name: a}\n  - {name: b}\n"
    defaults = "tenant_defaults:\n  prompt: 8\n  output: 0\n  arrivals: {kind: poisson, per_minute: 6}\n"
    assert [(line, path) for line, path, _ in _faults(tmp_path, HEAD + defaults + tenants)] == [
        (6, "tenant_defaults.output")
    ]


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    """Three mistakes give three faults in the order of their lines."""
    tenant = TENANT.replace("prompt: 8", "prompt: 0").replace("per_minute: 6", "per_minute: 0")
    found = _faults(tmp_path, f"{HEAD}sed: 1\ntenants:\n  - {tenant}\n")
    assert [line for line, _, _ in found] == [4, 6, 6]


def test_what_is_no_file_and_no_name_is_reported(tmp_path: Path) -> None:
    """The message suggests a similar name, and names a file that is absent or unreadable."""
    with pytest.raises(ConfigError, match="did you mean `overload`"):
        load("overlaod")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "binary.yaml")


@pytest.mark.parametrize("name", names())
def test_files_of_the_catalogue_can_be_copied(name: str, tmp_path: Path) -> None:
    """A copy elsewhere is the same workload."""
    copy = tmp_path / "copy.yaml"
    copy.write_text(file_of(name).read_text())
    assert load(copy) == load(name)
