"""What one of several gateways holds of a tenant's limits: it spends what it was granted, and says what is left."""

from gateway.fairness.buckets import LeasedBucket, RateLevel
from gateway.fairness.limits import Allowance, TenantLimits


def test_a_bucket_spends_what_it_was_granted() -> None:
    """It begins empty; what is given back leaves; what it lacks may be left at the store, and refills there."""
    bucket = LeasedBucket(60, 2)
    assert bucket.wait_seconds(1.0, 0.0) > 0.0
    bucket.grant(30.0)
    assert bucket.wait_seconds(10.0, 0.0) == 0.0
    bucket.take(10.0, 0.0)
    assert (bucket.held(0.0), bucket.spent) == (20, 10.0)
    bucket.shed(5.0)
    bucket.hear(25.0, 45.0, 2)
    assert bucket.wait_seconds(50.0, 0.0) == 5.0


def test_a_bucket_alone_refills_its_part() -> None:
    """Half of 60 a minute for each of two gateways; a debt is the store's once it is confirmed."""
    bucket = LeasedBucket(60, 2)
    bucket.take(0.0, 0.0)
    bucket.stand_alone(0.0, is_alone=True)
    assert bucket.held(30.0) == 15
    bucket.take(45.0, 30.0)
    assert (bucket.held(30.0), bucket.level) == (0, -30.0)
    bucket.confirm()
    assert bucket.level == 0.0
    assert bucket.wait_seconds(45.0, 30.0) == 60.0


def test_what_is_owed_to_the_store_is_waited_for() -> None:
    """The level that the store states counts, also below nothing."""
    bucket = LeasedBucket(60, 2)
    bucket.hear(0.0, -30.0, 2)
    assert bucket.wait_seconds(10.0, 0.0) == 40.0
    assert bucket.state(0.0) == RateLevel(60, 0, 90.0)


def test_what_is_left_is_what_is_left_anywhere() -> None:
    """Before the store spoke nobody is known to have used any; what was used here since then counts too."""
    bucket = LeasedBucket(60, 2)
    assert bucket.state(0.0).left == 60
    bucket.grant(20.0)
    bucket.take(5.0, 0.0)
    assert bucket.held(0.0) == 15
    bucket.take(5.0, 0.0)
    bucket.hear(30.0, 50.0, 2)
    assert bucket.state(0.0) == RateLevel(60, 45, 15.0)
    bucket.stand_alone(0.0, is_alone=True)
    assert bucket.state(0.0).left == 10


def test_an_allowance_without_leases_lacks_them() -> None:
    """A request that the local part does not cover may be covered elsewhere; one part in 200 is here without asking."""
    limits = TenantLimits(400, 400, 60, 600)
    allowance, alone = Allowance(limits, 2), Allowance(limits)
    assert (allowance.is_leased, allowance.flight_places, allowance.queue_places) == (True, 2, 2)
    assert allowance.leased_requests is not None and allowance.leased_tokens is not None
    assert allowance.lacks(10.0, 0.0)
    assert (alone.is_leased, alone.leased_tokens, alone.lacks(10.0, 0.0)) == (False, None, False)


def test_places_that_others_wait_for_are_given_back() -> None:
    """What comes free leaves, down to the part that is here without asking."""
    allowance = Allowance(TenantLimits(max_in_flight=400), 2)
    allowance.flight_places, allowance.in_flight, allowance.is_yielding = 10, 10, True
    allowance.land(4)
    assert (allowance.in_flight, allowance.flight_places) == (6, 6)
