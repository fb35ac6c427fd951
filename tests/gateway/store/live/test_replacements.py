"""Each of three gateways is replaced in turn under load: no request fails, no window is passed, and the shares hold.

`UPGRADES` says how many are replaced; `make test-upgrades` replaces twenty.
"""

import asyncio
import os
from pathlib import Path

import pytest
from real_stores import a_store

from .fleet import GATEWAYS, WINDOW
from .rotation import a_rotation
from .test_faults import HEAVY_SHARE, SHARE_ERROR

pytestmark = pytest.mark.live

REPLACEMENTS = int(os.environ.get("UPGRADES", "3"))


def test_replacements_under_load_fail_no_request(tmp_path: Path) -> None:
    """Each old gateway answers all that it has; each new one serves; the engines bear witness of what is in flight."""

    async def story() -> None:
        with a_store("redis", tmp_path, has_port=True) as store:
            async with a_rotation(tmp_path, store.url) as rotation:
                for number in range(REPLACEMENTS):
                    before = rotation.completed
                    last = await rotation.replace(number % GATEWAYS)
                    assert (last["event"], last["cut"], last["refused"]) == ("stopped", 0, 0)
                    assert rotation.failures == [], f"after replacement {number}"
                    assert rotation.completed > before
                    await rotation.engines.until_full()
                share, held = rotation.heavy_share, await rotation.engines.most_held()
                print(f"heavy tenant's share {share:.1f}, most held {held}, completed {rotation.completed}")
                assert rotation.failures == []
                assert share == pytest.approx(HEAVY_SHARE, abs=SHARE_ERROR)
                assert max(held) == WINDOW

    asyncio.run(story())
