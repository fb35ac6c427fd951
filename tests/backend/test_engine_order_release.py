"""Only tested releases of vLLM may order their queue fairly."""

import pytest

from backend.vllm.pythonpath.vtc_engine_order.release import Unsupported, check_release


@pytest.mark.parametrize("version", ["0.32.0", "0.32.1", "0.32.0+cpu", "0.32.0rc1"])
def test_a_tested_release_is_taken(version: str) -> None:
    """The hardware that it was built for does not matter."""
    check_release(version)


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "1.0.0", "0.320.0", ""])
def test_any_other_is_refused_and_named(version: str) -> None:
    """Newer or older: its private interface may differ in what no check of names would show."""
    with pytest.raises(Unsupported, match="was not tested; use engine_order fcfs"):
        check_release(version)
