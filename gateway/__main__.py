"""`python -m gateway`: the same as `vtc-gateway`.

It imports nothing from the folder in which it is started, whatever modules lie there.
"""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[1])
if not sys.flags.safe_path:
    del sys.path[0]
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from gateway.cli.commands import main  # noqa: E402 - found by the path that was just set

main()
