"""The request that kills its workers: the table pair by pair, and the stories that its head tells."""

from itertools import count

import pytest

from gateway.workers.quarantine import (
    KEPT_SECONDS,
    MAX_BODIES,
    TABLE,
    Blame,
    BodyEvidence,
    Clearance,
    Quarantine,
    Standing,
    Suspect,
)

S, E = Standing, BodyEvidence


def case(body: str, tenant: str = "alice") -> Suspect:
    """A request with this body."""
    return Suspect(tenant, "/v1/completions", "m", body.encode())


def sent(quarantine: Quarantine, worker: str, *cases: Suspect, now: float = 0.0) -> None:
    """All of `cases` go to `worker` at once."""
    for each in cases:
        assert quarantine.send(each, worker, now) is Clearance.SEND


def died(quarantine: Quarantine, *cases: Suspect, now: float = 0.0) -> list[Blame]:
    """The worker of `cases` dies; returns the blame of each."""
    return [quarantine.died(each, now) for each in cases]


def suspects(quarantine: Quarantine, *bodies: str, worker: str = "old") -> list[Suspect]:
    """Requests that were at one death."""
    cases = [case(body) for body in bodies]
    sent(quarantine, worker, *cases)
    assert died(quarantine, *cases) == [Blame.STRUCK] * len(cases)
    return cases


def test_the_table_has_every_pair_and_forgives_nobody_convicted() -> None:
    """Each standing under each evidence; only an accusation convicts, and nothing that was answered."""
    assert set(TABLE) == {(standing, evidence) for standing in Standing for evidence in BodyEvidence}
    convicting = {pair for pair, after in TABLE.items() if after is S.CONVICTED and pair[0] is not S.CONVICTED}
    assert convicting == {(S.CLEAN, E.ACCUSED), (S.SUSPECT, E.ACCUSED)}
    assert {TABLE[S.CONVICTED, evidence] for evidence in BodyEvidence} == {S.CONVICTED}
    assert {TABLE[S.CLEARED, evidence] for evidence in BodyEvidence} == {S.CLEARED}


def test_what_is_known_is_listed_until_it_is_forgotten() -> None:
    """Whose body it is, how it stands, where it was last; the one that was at a death last comes first."""
    quarantine = Quarantine()
    (poison,) = suspects(quarantine, "poison", worker="a")
    sent(quarantine, "b", poison)
    died(quarantine, poison, now=10.0)
    suspects(quarantine, "beside", worker="c")
    beside, culprit = quarantine.snapshots(20.0)
    assert (beside.standing, beside.deaths, beside.last_worker) == (S.SUSPECT, 1, "c")
    assert (culprit.tenant, culprit.path, culprit.model) == ("alice", "/v1/completions", "m")
    assert (culprit.standing, culprit.deaths, culprit.last_worker) == (S.CONVICTED, 2, "b")
    assert culprit.seconds_left == KEPT_SECONDS - 10.0
    assert quarantine.snapshots(10.0 + KEPT_SECONDS) == ()


def test_two_workers_die_of_a_poison_and_no_third() -> None:
    """Suspect at the first death, convicted at the second, refused wherever it comes from then on."""
    quarantine = Quarantine()
    (poison,) = suspects(quarantine, "poison", worker="a")
    sent(quarantine, "b", poison)
    assert died(quarantine, poison) == [Blame.CONVICTED]
    assert quarantine.send(case("poison"), "c", 1.0) is Clearance.REFUSE
    assert quarantine.standing(case("poison", tenant="bob"), 1.0) is S.CLEAN
    assert quarantine.standing(case("tea"), 1.0) is S.CLEAN


def test_a_pool_of_one_worker_that_comes_back_is_enough() -> None:
    """Both deaths at the same worker, in two of its lives."""
    quarantine = Quarantine()
    (poison,) = suspects(quarantine, "poison", worker="a")
    assert quarantine.life("a") == 1
    sent(quarantine, "a", poison)
    assert died(quarantine, poison) == [Blame.CONVICTED]
    assert quarantine.life("a") == 2


def test_innocents_that_were_beside_it_are_told_so() -> None:
    """Suspects go to a worker one at a time; one that was there when another was convicted is excused."""
    quarantine = Quarantine()
    poison, tea, milk = suspects(quarantine, "poison", "tea", "milk", worker="a")
    fresh = case("fresh")
    sent(quarantine, "b", tea, fresh)
    assert quarantine.send(poison, "b", 0.0) is Clearance.WAIT
    assert quarantine.send(milk, "c", 0.0) is Clearance.SEND
    quarantine.survived(tea)
    sent(quarantine, "b", poison)
    assert died(quarantine, tea, fresh, poison) == [Blame.EXCUSED, Blame.EXCUSED, Blame.CONVICTED]
    assert quarantine.standing(fresh, 0.0) is S.SUSPECT
    assert quarantine.is_on_trial(milk)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_who_is_accused_does_not_depend_on_who_is_told_first(order: tuple[int, int]) -> None:
    """Every case of one death hears the same verdict."""
    quarantine = Quarantine()
    poison, tea = suspects(quarantine, "poison", "tea")
    sent(quarantine, "b", tea)
    quarantine.survived(tea)
    sent(quarantine, "b", poison)
    blamed = {index: quarantine.died((poison, tea)[index], 0.0) for index in order}
    assert blamed == {0: Blame.CONVICTED, 1: Blame.EXCUSED}


def test_one_that_kills_after_its_first_byte_is_found_too() -> None:
    """Its trial is over, but it is the only suspect that runs there."""
    quarantine = Quarantine()
    (poison,) = suspects(quarantine, "poison")
    again, fresh = case("poison"), case("fresh")
    sent(quarantine, "b", again, fresh)
    quarantine.survived(again)
    assert died(quarantine, fresh, again) == [Blame.EXCUSED, Blame.CONVICTED]
    assert quarantine.send(poison, "c", 0.0) is Clearance.REFUSE


def test_several_poisons_cost_two_workers_each() -> None:
    """One may be sent beside another's trial: it is suspect by that death, and the next convicts it."""
    quarantine = Quarantine()
    (first,) = suspects(quarantine, "first poison")
    second = case("second poison")
    sent(quarantine, "b", first, second)
    assert died(quarantine, first, second) == [Blame.CONVICTED, Blame.EXCUSED]
    sent(quarantine, "c", second)
    assert died(quarantine, second) == [Blame.CONVICTED]


def test_where_nobody_can_be_distinguished_from_the_others_nobody_is_convicted() -> None:
    """Two slow ones whose trials are over: both strike twice, and then stand trial to the end."""
    quarantine = Quarantine()
    slow = suspects(quarantine, "poison", "tea")
    for each in slow:
        sent(quarantine, "b", each)
        quarantine.survived(each)
    assert died(quarantine, *slow) == [Blame.STRUCK, Blame.STRUCK]
    poison, tea = slow
    sent(quarantine, "c", tea)
    quarantine.survived(tea)
    assert quarantine.send(poison, "c", 0.0) is Clearance.WAIT
    quarantine.answered(tea, 0.0)
    quarantine.leave(tea)
    sent(quarantine, "c", poison)
    assert died(quarantine, poison) == [Blame.CONVICTED]


def test_an_answer_clears() -> None:
    """What a worker has answered since is no poison, whatever dies beside it afterwards."""
    quarantine = Quarantine()
    (tea,) = suspects(quarantine, "tea")
    sent(quarantine, "b", tea)
    quarantine.answered(tea, 0.0)
    quarantine.leave(tea)
    for _ in range(5):
        sent(quarantine, "b", tea)
        assert died(quarantine, tea) == [Blame.STRUCK]
    assert quarantine.standing(tea, 0.0) is S.CLEARED


def test_copies_of_one_body_count_once_for_a_death() -> None:
    """Ten copies at one death are one strike."""
    quarantine = Quarantine()
    copies = [case("tea") for _ in range(10)]
    sent(quarantine, "a", *copies)
    assert died(quarantine, *copies) == [Blame.STRUCK] * 10
    sent(quarantine, "b", copies[0])
    quarantine.survived(copies[0])
    assert quarantine.send(copies[1], "b", 0.0) is Clearance.SEND


def test_whoever_leaves_makes_room_for_the_next_trial_and_is_not_accused() -> None:
    """A client that went, a time-out, a 4xx: nothing is known by that."""
    quarantine = Quarantine()
    gone, tea = suspects(quarantine, "gone", "tea")
    sent(quarantine, "b", gone)
    assert quarantine.send(tea, "b", 0.0) is Clearance.WAIT
    quarantine.leave(gone)
    sent(quarantine, "b", tea)
    assert died(quarantine, tea) == [Blame.CONVICTED]
    assert quarantine.standing(gone, 0.0) is S.SUSPECT


def test_all_is_forgotten_in_time_and_in_number() -> None:
    """Ten minutes after the last death, or when too many others came after it."""
    quarantine = Quarantine()
    (poison,) = suspects(quarantine, "poison")
    sent(quarantine, "b", poison)
    assert died(quarantine, poison, now=1.0) == [Blame.CONVICTED]
    assert quarantine.standing(poison, KEPT_SECONDS + 0.9) is S.CONVICTED
    assert quarantine.standing(poison, KEPT_SECONDS + 1.0) is S.CLEAN
    numbers = count()
    suspects(quarantine, *(f"tea {next(numbers)}" for _ in range(MAX_BODIES + 1)), worker="c")
    assert quarantine.standing(case("tea 0"), 0.0) is S.CLEAN
    assert quarantine.standing(case("tea 1"), 0.0) is S.SUSPECT


def test_a_death_keeps_no_request_and_a_removed_worker_no_death() -> None:
    """Of who is to blame the digest stays; with the worker that goes too, while its bodies stay known."""
    quarantine = Quarantine()
    for number in range(2):
        poison = case("x" * 100_000)
        sent(quarantine, f"w{number}", poison)
        died(quarantine, poison)
        assert all(isinstance(culprit, bytes | None) for _, culprit in quarantine._culprits.values())
        quarantine.forget_worker(f"w{number}")
    assert not quarantine._culprits
    assert not quarantine._lives
    assert quarantine.standing(case("x" * 100_000), 0.0) is S.CONVICTED


def test_a_case_that_lets_go_of_its_body_is_known_all_the_same() -> None:
    """A copy of a small body or a digest of a large one is kept, and that is enough to recognise it."""
    for size in (100, 100_000):
        whole, less = case("x" * size), case("x" * size)
        less.let_go()
        assert less.key == whole.key != case("x" * size + "y").key
        assert len(less._body) <= 16 * 1024
