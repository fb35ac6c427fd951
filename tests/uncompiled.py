"""For tests that only the sources allow: compiled code takes no stand-in for its classes, methods and constants."""

import pytest

from gateway.compilation import IS_COMPILED

needs_sources = pytest.mark.skipif(
    IS_COMPILED, reason="puts something of its own in the place of compiled code; `make test` runs it on the sources"
)
