"""Writes the configuration to start from: every section with its defaults, and two engines that need no GPU.

Its only source is `starter.yaml`. Once written, the file belongs to the operator, and the gateway never changes it.
"""

from pathlib import Path

_TEXT = Path(__file__).with_name("starter.yaml")


def write_starter(file: Path, *, replace: bool = False) -> None:
    """Write the starter to `file`; raises `FileExistsError` if there is one and `replace` is false."""
    text = _TEXT.read_text("utf-8")
    with file.open("w" if replace else "x", encoding="utf-8") as out:
        out.write(text)
