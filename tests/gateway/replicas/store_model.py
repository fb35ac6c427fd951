"""The store and its script as a model in Python, to hold the script against and to run fleets in virtual time.

It states the rules once more in another way: what the script moves by differences is summed anew here each time.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.replicas.call import (
    A_KEY,
    NOBODY,
    Call,
    Candidate,
    Figures,
    FlowReport,
    FlowState,
    Grant,
    Message,
    Reading,
    Reply,
    Status,
    WorkerReport,
    WorkerState,
)

FRESH, RECALL, UNHEARD, BLIND, IDLE = 150, 20, 60, 60_000, 600_000  # milliseconds
PAGE, MOST_SPARE, MOST_BOOTS, LOOKS = 256, 16, 64, 16


@dataclass(slots=True)
class Holding:
    """What one replica holds at one worker."""

    granted: int = 0
    returned: int = 0
    idle: int = 0
    unread: int = 0
    kv: int = 0
    metered: int = 0
    ended: int | None = None  # None: the replica has not said
    is_open: bool = True

    @property
    def sequences(self) -> int:
        """Sequences in use or spare."""
        return self.granted - self.returned


@dataclass(slots=True)
class Member:
    """A replica that lives, as far as the store knows."""

    call: Call
    time: int
    holdings: dict[str, Holding] = field(default_factory=dict)
    before: dict[str, Holding] = field(default_factory=dict)  # what it held before it registered anew
    queue: list[Candidate] = field(default_factory=list)
    last_granted: Candidate | None = None
    granted: int = 0
    spare: int = 0

    def head(self, now: int) -> Candidate | None:
        """Its next candidate, or the last one if it has more than it named."""
        if now - self.time >= FRESH:
            return None
        if self.queue:
            return self.queue[0]
        return self.last_granted if self.call.has_more else None


@dataclass(slots=True)
class Ghost:
    """What a dead replica held at a worker."""

    worker: str
    since: int
    sequences: int
    boot: str


@dataclass(slots=True)
class Account:
    """A flow's counter."""

    sum: int = 0
    floor: int = 0
    level: int = A_KEY
    touched: int = 0
    seq: int = 0
    totals: dict[str, int] = field(default_factory=dict)


class StoreModel:
    """One pool's account."""

    def __init__(self) -> None:
        """Nothing is there before the first call."""
        self.wipe()

    def wipe(self) -> None:
        """Forget everything, as a store that was emptied."""
        self.generation = self.store = ""
        self.lease = 0
        self.seq = self.born = self.vt = self.grants = self.recalled = 0
        self.accounts: dict[str, Account] = {}
        self.is_unused = False  # nobody has used the account before, in this store or in another
        self._forget_room()

    def _forget_room(self) -> None:
        self.members: dict[str, Member] = {}
        self.windows: dict[str, Reading] = {}
        self.tuners: dict[str, str] = {}
        self.credit: dict[str, int] = {}
        self.metered: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.ghosts: list[Ghost] = []

    def turn(self, call: Call, now: int) -> tuple[Reply, dict[str, Message]]:
        """Carry out one call: its reply, and the messages to other replicas by name."""
        self._begin(call, now)
        self.lease = call.lease
        member = self.members.get(call.name)
        is_same = member is not None and member.call.boot == call.boot
        if is_same and (member.call.incarnation, member.call.number) >= (call.incarnation, call.number):
            return Reply(Status.LATE, self.generation, self.seq, now), {}
        is_known = is_same and member.call.incarnation == call.incarnation
        if not is_known and not call.is_registering:
            return Reply(Status.REGISTER, self.generation, self.seq, now), {}
        self.seq += 1
        if self.members and now - max(other.time for other in self.members.values()) > self.lease:
            self.born = now + self.lease
            self.credit = dict.fromkeys(self.credit, 0)
        silent = [name for name, other in self.members.items() if now - other.time > other.call.lease]
        for name in silent:
            if name != call.name:
                self._bury(name, now)
        if not is_known:
            self._welcome(call, now)
        caller = self._hear(call, now, is_known=is_known)
        if call.is_leaving:
            self._bury(call.name, now)
            caller.holdings.clear()
        if call.is_registering:
            self._forget_gone()
        return self._decide(call, caller, now)

    def _hear(self, call: Call, now: int, *, is_known: bool) -> Member:
        caller = self._note_caller(call, now)
        for report in call.flows:
            self._charge(call.boot, report, now)
        for worker in call.workers:
            self._note_worker(caller, worker, is_first=not is_known)
        caller.before = {}
        for reading in call.readings:
            self._read(reading, call.boot)
        self._skip_granted(caller)
        return caller

    @staticmethod
    def _heard(call: Call) -> Counter[str]:
        return Counter({report.name: report.granted for report in call.workers})

    def _skip_granted(self, caller: Member) -> None:
        """Grants that the caller had not heard of when it named its candidates will take the first of these."""
        heard = self._heard(caller.call)
        unheard = sum(holding.granted - heard[worker] for worker, holding in caller.holdings.items())
        while unheard > 0 and caller.queue:
            caller.last_granted = caller.queue.pop(0)
            unheard -= caller.last_granted.sequences

    def _begin(self, call: Call, now: int) -> None:
        if not self.generation:
            born = 0 if self.is_unused else now
            self.wipe()
            self.generation, self.born, self.store = call.new_generation, born, call.store
        has_lost = call.generation == self.generation and call.seq > self.seq
        if has_lost or call.store != self.store:
            self._forget_room()
            self.generation, self.born, self.store = call.new_generation, now, call.store
            self.seq = max(self.seq, call.seq)

    # -- replicas

    def _bury(self, name: str, now: int) -> None:
        member = self.members.pop(name)
        for worker, holding in member.holdings.items():
            self._know(worker)
            if holding.sequences > 0:
                self.ghosts.append(Ghost(worker, now, holding.sequences, member.call.boot))

    def _welcome(self, call: Call, now: int) -> None:
        before = self.members.get(call.name)
        if before is not None and before.call.boot != call.boot:
            granted = before.granted
            self._bury(call.name, now)
            self.members[call.name] = Member(call, now, granted=granted)
        else:
            self.members[call.name] = Member(call, now) if before is None else self._anew(before, call, now)
        self.ghosts = [ghost for ghost in self.ghosts if ghost.boot != call.boot]

    @staticmethod
    def _anew(before: Member, call: Call, now: int) -> Member:
        return Member(call, now, before=before.holdings, granted=before.granted)

    def _note_caller(self, call: Call, now: int) -> Member:
        caller = self.members[call.name]
        caller.call, caller.time, caller.spare = call, now, call.spare
        caller.queue, caller.last_granted = list(call.candidates), None
        return caller

    # -- flows

    def _charge(self, boot: str, report: FlowReport, now: int) -> None:
        account = self.accounts.setdefault(report.name, Account())
        moved = report.total - account.totals.get(boot, report.acknowledged)
        account.floor = max(account.floor, report.floor)
        account.level = max(account.level, report.level)
        account.sum = max(account.sum + moved, account.floor, report.total + report.base)
        account.touched, account.seq = now, self.seq
        account.totals.pop(boot, None)
        if not report.is_gone:
            account.totals[boot] = report.total
        if len(account.totals) > MOST_BOOTS:
            living = {member.call.boot for member in self.members.values()}
            account.totals = {boot: total for boot, total in account.totals.items() if boot in living}

    def _forget_idle(self, now: int) -> None:
        if not self.accounts or self.seq % LOOKS:
            return
        name = min(self.accounts, key=lambda name: (self.accounts[name].seq, name.encode()))
        account = self.accounts[name]
        if now - account.touched <= IDLE:
            return
        if account.level != A_KEY and account.sum > self.vt:
            account.touched, account.seq = now, self.seq
        else:
            del self.accounts[name]

    # -- room

    def _know(self, worker: str) -> None:
        self.windows.setdefault(worker, Reading(worker, 0, 0, 0, 0))
        self.credit.setdefault(worker, 0)
        self.metered.setdefault(worker, 0)
        self.ended.setdefault(worker, 0)

    def _note_worker(self, caller: Member, report: WorkerReport, *, is_first: bool) -> None:
        self._know(report.name)
        is_new = report.name not in caller.holdings
        holding = caller.holdings.setdefault(report.name, Holding())
        if is_first:
            holding.granted = report.granted
        before = caller.before.get(report.name)
        if is_new:
            holding.metered = report.metered if before is None else before.metered
        if holding.ended is None:
            holding.ended = report.ended if before is None or before.ended is None else before.ended
        self.metered[report.name] += max(0, report.metered - holding.metered)
        self.ended[report.name] += max(0, report.ended - holding.ended)
        holding.metered, holding.ended = max(holding.metered, report.metered), max(holding.ended, report.ended)
        holding.idle = report.idle + max(0, holding.granted - report.granted)
        if report.returned > holding.returned:
            self.credit[report.name] += report.returned - holding.returned
            holding.returned = report.returned
        holding.unread, holding.kv, holding.is_open = report.unread, report.kv, report.is_open

    def _read(self, reading: Reading, boot: str) -> None:
        self._know(reading.worker)
        if reading.at >= self.windows[reading.worker].at:
            self.windows[reading.worker], self.tuners[reading.worker] = reading, boot
            ended = reading.at - BLIND if reading.is_blind else reading.at
            self.ghosts = [ghost for ghost in self.ghosts if ghost.worker != reading.worker or ghost.since >= ended]

    def _forget_gone(self) -> None:
        """Forget the workers without a window that no replica reports any more."""
        for worker, window in list(self.windows.items()):
            if not window.sequences and not self._at(worker) and not self._ghosts(worker):
                for known in (self.windows, self.tuners, self.credit, self.metered, self.ended):
                    known.pop(worker, None)

    def _at(self, worker: str) -> list[Holding]:
        return [member.holdings[worker] for member in self.members.values() if worker in member.holdings]

    def _ghosts(self, worker: str) -> int:
        return sum(ghost.sequences for ghost in self.ghosts if ghost.worker == worker)

    def free(self, worker: str, now: int) -> int:
        """Sequences that may be granted at `worker`.

        In quarantine, for a lease and until the worker was read, these are at most those that came back.
        """
        held = sum(holding.sequences for holding in self._at(worker))
        free = self.windows[worker].sequences - self.windows[worker].strangers - held - self._ghosts(worker)
        is_quarantined = now - self.born < self.lease or self.windows[worker].at < self.born
        return min(free, self.credit[worker]) if is_quarantined else free

    def _fits(self, worker: str, candidate: Candidate, now: int) -> bool:
        window = self.windows[worker]
        unread = sum(holding.unread for holding in self._at(worker))
        kv = sum(holding.kv for holding in self._at(worker))
        fits_prompt = not window.prompt_tokens or not unread or unread + candidate.prompt_tokens <= window.prompt_tokens
        fits_kv = not window.kv or not kv or kv + candidate.kv <= window.kv
        return self.free(worker, now) > 0 and fits_prompt and fits_kv

    def _freest(self, workers: Iterable[str], now: int) -> str | None:
        free = [worker for worker in workers if self.free(worker, now) > 0]
        return min(free, key=lambda worker: (-self.free(worker, now), worker.encode()), default=None)

    def _open(self, member: Member) -> list[str]:
        closed = {worker for worker, holding in member.holdings.items() if not holding.is_open}
        return [worker for worker in self.windows if worker not in closed]

    def _grant(self, member: Member, worker: str, candidate: Candidate) -> None:
        holding = member.holdings.setdefault(worker, Holding())
        holding.granted += candidate.sequences
        holding.idle += candidate.sequences
        holding.unread += candidate.prompt_tokens
        holding.kv += candidate.kv
        self.credit[worker] -= candidate.sequences

    # -- decisions

    def _first(self, now: int, without: Sequence[Member] = ()) -> Member | None:
        waiting = {
            name: head
            for name, member in self.members.items()
            if not any(member is other for other in without) and (head := member.head(now)) is not None
        }
        if not waiting:
            return None
        tenant = min((head.counter, head.tenant.encode(), head.tenant) for head in waiting.values())[-1]
        rivals = [name for name, head in waiting.items() if head.tenant == tenant]
        keys = {name: (waiting[name].key_counter, self.members[name].granted, name.encode()) for name in rivals}
        return self.members[min(rivals, key=lambda name: keys[name])]

    @staticmethod
    def _names(member: Member, now: int) -> bool:
        return now - member.time < FRESH and len(member.call.candidates) > 0

    def _least(self, now: int, without: Member | None = None) -> int | None:
        heads = [member.head(now) for member in self.members.values() if member is not without]
        return min((head.counter for head in heads if head is not None), default=None)

    def _decide(self, call: Call, caller: Member, now: int) -> tuple[Reply, dict[str, Message]]:
        named = [member.call.candidates[0].counter for member in self.members.values() if self._names(member, now)]
        self.vt = max(self.vt, min(named, default=call.vt))
        asked, recalled = None, []
        granted: dict[str, dict[str, int]] = {}
        is_waiting = False
        passed: list[Member] = []
        while (member := self._first(now, passed)) is not None:
            is_waiting = True
            if not member.queue:
                asked = member
                break
            candidate = member.queue[0]
            worker = self._place(candidate, now, self._open(member))
            if worker is None and self._place(candidate, now, list(self.windows)) is not None:
                passed.append(member)
                continue
            if worker is None:
                break
            self._grant(member, worker, candidate)
            self.grants += 1
            member.granted = self.grants
            member.last_granted = member.queue.pop(0)
            granted.setdefault(member.call.name, {})[worker] = member.holdings[worker].granted
            is_waiting = False
        if is_waiting or passed:
            recalled = self._recall(caller, now)
        else:
            self._give_spare(caller, now)
        self._forget_idle(now)
        told = sorted({*granted, *recalled, *([asked.call.name] if asked else [])} - {call.name})
        messages = {
            name: Message(
                self.generation,
                self.members[name].call.incarnation,
                self.seq,
                name in recalled,
                asked is not None and asked.call.name == name,
                [Grant(worker, total) for worker, total in granted.get(name, {}).items()],
            )
            for name in told
        }
        return self._reply(call, caller, now), messages

    def _place(self, candidate: Candidate, now: int, workers: Sequence[str]) -> str | None:
        if candidate.worker in workers and self._fits(candidate.worker, candidate, now):
            return candidate.worker
        return self._freest((worker for worker in workers if self._fits(worker, candidate, now)), now)

    def _recall(self, caller: Member, now: int) -> list[str]:
        if now - self.recalled < RECALL:
            return []
        names = [
            name
            for name, member in self.members.items()
            if member is not caller and (member.spare > 0 or now - member.time >= UNHEARD)
        ]
        if names:
            self.recalled = now
        return names

    def _give_spare(self, caller: Member, now: int) -> None:
        if caller.call.is_leaving:
            return
        free = sum(max(0, self.free(worker, now)) for worker in self.windows)
        target = self._spare_target(free)
        while caller.spare < target and (worker := self._freest(self._open(caller), now)) is not None:
            self._grant(caller, worker, Candidate(0, "", 0))
            caller.spare += 1

    def _spare_target(self, free: int) -> int:
        return min(MOST_SPARE, int(free / (1.5 * len(self.members))))

    # -- the reply

    def _reply(self, call: Call, caller: Member, now: int) -> Reply:
        waiting = self._first(now, without=[caller])
        head = None if waiting is None else waiting.head(now)
        least = self._least(now, without=caller)
        changed = sorted(
            (account.seq, name.encode(), name) for name, account in self.accounts.items() if account.seq > call.changes
        )
        has_more = len(changed) > PAGE
        flows = [
            FlowState(name, self.accounts[name].sum, self.accounts[name].floor, self.accounts[name].level)
            for _, _, name in changed[:PAGE]
        ]
        return Reply(
            Status.OK,
            self.generation,
            self.seq,
            now,
            self.vt,
            len(self.members),
            self._rank(call.name),
            sum(member.call.settings != call.settings for member in self.members.values()),
            NOBODY if least is None else least,
            "" if head is None else head.tenant,
            0 if head is None else head.key_counter,
            self._figures(now),
            min((member.time for member in self.members.values()), default=now),
            changed[PAGE][0] - 1 if has_more else self.seq,
            has_more,
            [
                Grant(worker, holding.granted)
                for worker, holding in caller.holdings.items()
                if holding.granted > self._heard(call)[worker]
            ],
            [self._state(worker, call) for worker in self.windows],
            flows,
        )

    def _rank(self, name: str) -> int:
        return sorted(self.members, key=str.encode).index(name) if name in self.members else 0  # 0: it has left

    def _figures(self, now: int) -> Figures:
        said = [member.call.figures for member in self.members.values()]
        fresh = [member.call.figures for member in self.members.values() if now - member.time < FRESH]
        return Figures(
            sum(each.exposure for each in said),
            sum(each.refundable for each in said),
            sum(each.unreported for each in said),
            max((each.unheard for each in said), default=0),
            max((each.greatest for each in fresh), default=NOBODY),
            min((each.least for each in fresh if each.least != NOBODY), default=NOBODY),
        )

    def _state(self, worker: str, call: Call) -> WorkerState:
        is_news = self._rank(call.name) == 0 and self.tuners.get(worker, "") != call.boot
        window, here = self.windows[worker], self._at(worker)
        return WorkerState(
            worker,
            window.sequences,
            window.prompt_tokens,
            window.kv,
            window.at,
            sum(holding.sequences for holding in here),
            sum(holding.unread for holding in here),
            sum(holding.kv for holding in here),
            sum(holding.idle for holding in here),
            self.metered[worker],
            self.ended[worker],
            self._ghosts(worker),
            window.strangers,
            window.at < self.born,
            window.state if is_news else "",
        )
