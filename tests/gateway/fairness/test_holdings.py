"""The account of request bodies: exact, bounded after every call, and never at the cost of a modest tenant."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness.holdings import Holding, Holdings

MOST = 100
WEIGHTS = {"alice": 1.0, "bob": 1.0, "carol": 4.0, "dave": 0.5}
TENANTS = st.sampled_from(sorted(WEIGHTS))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("new"), TENANTS, st.integers(0, 60)),
        st.tuples(st.just("resize"), st.integers(0, 100), st.integers(0, 60)),
        st.tuples(st.just("let go"), st.integers(0, 100), st.just(0)),
    ),
    max_size=60,
)


def hold(holdings: Holdings[Holding], tenant: str, size: int) -> tuple[Holding, list[Holding]]:
    """A new holding of `size` bytes, and who was pushed out for it."""
    holding = Holding(tenant, WEIGHTS[tenant])
    return holding, holdings.resize(holding, size)


def sums(sizes: dict[Holding, int]) -> Counter[str]:
    """Bytes by tenant."""
    total: Counter[str] = Counter()
    for holding, size in sizes.items():
        total[holding.tenant] += size
    return total


def expected_losers(sizes: dict[Holding, int]) -> list[Holding]:
    """The rule in words of its own, over a plain list: `sizes` are in the order of the holdings' first bytes."""
    left, losers = dict(sizes), []
    while sum(left.values()) > MOST:
        total = sums(left)
        newest = {holding.tenant: holding for holding in left}
        order = list(left)
        most = max(newest, key=lambda tenant: (total[tenant] / WEIGHTS[tenant], order.index(newest[tenant])))
        losers.append(newest[most])
        del left[newest[most]]
    return losers


@given(STEPS)
def test_bytes_add_up_and_the_tenant_with_most_loses_its_newest(steps: list[tuple[str, str | int, int]]) -> None:
    """Against a plain model, after every step: who is pushed out, what each holding holds, what all hold together."""
    holdings: Holdings[Holding] = Holdings(MOST)
    sizes: dict[Holding, int] = {}
    for step, who, size in steps:
        if step == "let go":
            known = list(sizes)
            if known:
                gone = known[int(who) % len(known)]
                holdings.let_go(gone)
                holdings.let_go(gone)
                del sizes[gone]
        elif step == "new" or sizes:
            holding = Holding(str(who), WEIGHTS[str(who)]) if step == "new" else list(sizes)[int(who) % len(sizes)]
            sizes[holding] = size
            losers = expected_losers(sizes)
            assert holdings.resize(holding, size) == losers
            for loser in losers:
                assert loser.is_pushed_out
                assert loser.size_bytes == 0
                del sizes[loser]
        assert {holding: holding.size_bytes for holding in holdings} == sizes
        assert holdings.held_bytes == sum(sizes.values()) <= MOST
    for holding in list(sizes):
        holdings.let_go(holding)
    assert holdings.held_bytes == 0
    assert not list(holdings)


@given(st.lists(st.tuples(st.sampled_from(["alice", "dave"]), st.integers(1, 60)), max_size=40), st.integers(0, 20))
def test_a_newcomer_of_a_tenant_that_holds_less_is_not_the_one_refused(flood: list[tuple[str, int]], size: int) -> None:
    """Whatever two others hold: a body of up to a fifth of all there is fits for a third tenant, and stays."""
    holdings: Holdings[Holding] = Holdings(MOST)
    for tenant, flooded in flood:
        hold(holdings, tenant, flooded)
    newcomer, pushed_out = hold(holdings, "bob", size)
    assert newcomer not in pushed_out
    assert newcomer.size_bytes == size


def test_a_body_larger_than_all_that_may_be_held_is_pushed_out_itself() -> None:
    """Nobody else loses anything but what its tenant's own rank takes before it."""
    holdings: Holdings[Holding] = Holdings(MOST)
    other, _ = hold(holdings, "bob", 30)
    giant, pushed_out = hold(holdings, "alice", MOST + 1)
    assert pushed_out == [giant]
    assert other.size_bytes == holdings.held_bytes == 30


def test_weight_divides_what_a_tenant_holds() -> None:
    """Carol, of weight 4, holds more than alice and is still the modest one."""
    holdings: Holdings[Holding] = Holdings(MOST)
    hold(holdings, "carol", 60)
    first, _ = hold(holdings, "alice", 40)
    _, pushed_out = hold(holdings, "carol", 10)
    assert pushed_out == [first]


def test_a_tenant_that_holds_nothing_is_forgotten() -> None:
    """A thousand tenants come and go and leave nothing behind."""
    holdings: Holdings[Holding] = Holdings(MOST)
    for number in range(1000):
        holding = Holding(f"tenant {number}", 1.0)
        holdings.resize(holding, 10)
        holdings.let_go(holding)
    assert not holdings._holders
    assert len(holdings._most) == 0
