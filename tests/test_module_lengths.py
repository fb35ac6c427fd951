"""What the sources keep to that no linter asks for."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PURE = tuple(ROOT / "gateway" / room for room in ("fairness", "learned", "wire", "workers"))
MOST_LINES, MOST_LINES_OF_PURE = 400, 300


def most_lines(module: Path) -> int:
    """How long `module` may be: in pure packages shorter, since a reader must hold all of it in mind."""
    return MOST_LINES_OF_PURE if module.parent in PURE else MOST_LINES


def test_modules_are_short() -> None:
    """One that grows beyond its limit hides a second noun: give that a module of its own."""
    modules = [module for package in ("gateway", "backend", "evaluation") for module in (ROOT / package).rglob("*.py")]
    lines = {module: len(module.read_text("utf-8").splitlines()) for module in modules}
    assert set(PURE) <= {module.parent for module in modules}
    assert [f"{module}: {count}" for module, count in lines.items() if count > most_lines(module)] == []
