"""Whether this gateway runs compiled; setup.py says what of it can be."""

from typing import Final

IS_COMPILED: Final = not __file__.endswith(".py")
