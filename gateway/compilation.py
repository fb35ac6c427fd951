"""Whether this gateway runs compiled; setup.py lists the modules that can be compiled."""

from typing import Final

IS_COMPILED: Final = not __file__.endswith(".py")
