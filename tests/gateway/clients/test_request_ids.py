"""The gateway draws ids of requests many at a time and hands each out once."""

import re

from gateway.clients.request_ids import RequestIds


def test_no_two_ids_are_the_same() -> None:
    """Ids differ, whatever was drawn together and whoever draws."""
    ids = [RequestIds(), RequestIds()]
    drawn = [each.draw() for _ in range(1000) for each in ids]
    assert len(set(drawn)) == 2000
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in drawn)


def test_every_digit_of_an_id_is_random() -> None:
    """Ids that were drawn together share no part, so one id does not reveal the next."""
    ids = RequestIds()
    drawn = [ids.draw() for _ in range(1000)]
    assert all(len(set(column)) == 16 for column in zip(*drawn, strict=True))
    windows = {one[at : at + 16] for one in drawn for at in range(17)}
    assert len(windows) == 17_000
