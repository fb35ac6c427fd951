"""The configuration that a newcomer starts from: every section, its defaults, and two engines that need no GPU.

`starter.yaml` is its one source. The file is the operator's from then on: nothing here changes one that exists.
"""

from pathlib import Path

_TEXT = Path(__file__).with_name("starter.yaml")


def write_starter(file: Path, *, replace: bool = False) -> None:
    """Write the starter to `file`; `FileExistsError` where one is there and it is not to `replace` it."""
    text = _TEXT.read_text("utf-8")
    with file.open("w" if replace else "x", encoding="utf-8") as out:
        out.write(text)
