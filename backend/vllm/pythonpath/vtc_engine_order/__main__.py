"""Ends with status 1 and a line that says why where the interpreter's vLLM cannot order its queue fairly."""

import sys

from .release import Unsupported, check_release

try:
    check_release()
except Unsupported as fault:
    sys.exit(str(fault))
