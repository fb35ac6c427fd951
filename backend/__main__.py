"""`python -m backend`, or this file as a program: the same commands as `vtc-backend`.

Nothing is imported from the folder in which it is started, whatever modules lie there: whoever starts it as a child
names this file, not the package, which another folder may have too.
"""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[1])
if not sys.flags.safe_path:
    del sys.path[0]
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from backend.cli import main  # noqa: E402 - found by the path that was just set

if __name__ == "__main__":
    main()
