"""Which request kills the workers that it meets: found by the second death, refused from then on.

A worker that dies takes down all that it was running, and any of it may be the cause. Every body that was there is
*suspect* from then on, and only one suspect at a time stands *trial* at a worker: the next death there accuses that
one. Bodies are told apart by tenant; what is known of one is forgotten after ten minutes.

    standing     is sent                             answered    worker died    worker died, accused
    clean        at once                             clean       suspect        convicted
    suspect      when no other is on trial there     cleared     suspect        convicted
    cleared      at once                             cleared     cleared        cleared
    convicted    never: it is refused                convicted   convicted      convicted

Accused is who stands trial where the worker died; if nobody does, the only suspect that is still running there; else
nobody. A trial is over with the first byte or after two seconds, so that innocents wait little for one another; for a
body that was there at two deaths it lasts to the end of its answer. What follows:
- one that is sent again and again, or to a pool of one worker that comes back: two deaths, then it is refused;
- several poisons: each costs two workers, for everybody who was at a death is suspect, whoever was convicted of it;
- one that kills after its first byte: the same, as its client sends it again;
- copies of one poison that run at once: the workers they are at, and one more;
- slow ones, several unanswered at once: one death more, after which their trials last to the end.
An innocent may be convicted where it stands trial in the moment in which something else kills the worker; a body that
has been answered since it became suspect cannot. What counts as a death is the caller's.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b

KEPT_SECONDS = 600.0
MAX_BODIES = 8192  # known at once; the one that was at a death longest ago is forgotten first
TRIAL_SECONDS = 2.0
MOST_KEPT_BYTES = 16 * 1024  # of a body whose answer runs; the digest of a longer one is taken, at 1 us for each KiB
_STRIKES_FOR_WHOLE_TRIAL = 2


class Standing(Enum):
    """What is known of a body."""

    CLEAN = "clean"
    SUSPECT = "suspect"
    CLEARED = "cleared"
    CONVICTED = "convicted"


class BodyEvidence(Enum):
    """What was seen of a body."""

    ANSWERED = "answered"
    DEATH = "death"
    ACCUSED = "accused"


_S, _E = Standing, BodyEvidence
TABLE: dict[tuple[Standing, BodyEvidence], Standing] = {
    (_S.CLEAN, _E.ANSWERED): _S.CLEAN,
    (_S.CLEAN, _E.DEATH): _S.SUSPECT,
    (_S.CLEAN, _E.ACCUSED): _S.CONVICTED,  # it was forgotten during its trial
    (_S.SUSPECT, _E.ANSWERED): _S.CLEARED,
    (_S.SUSPECT, _E.DEATH): _S.SUSPECT,
    (_S.SUSPECT, _E.ACCUSED): _S.CONVICTED,
    (_S.CLEARED, _E.ANSWERED): _S.CLEARED,
    (_S.CLEARED, _E.DEATH): _S.CLEARED,
    (_S.CLEARED, _E.ACCUSED): _S.CLEARED,  # a copy of it was answered during its trial
    (_S.CONVICTED, _E.ANSWERED): _S.CONVICTED,  # a copy that was sent before
    (_S.CONVICTED, _E.DEATH): _S.CONVICTED,
    (_S.CONVICTED, _E.ACCUSED): _S.CONVICTED,
}


class Clearance(Enum):
    """What is to be done with a request that has room at a worker."""

    SEND = "send"
    WAIT = "wait"  # another suspect stands trial there
    REFUSE = "refuse"


class Blame(Enum):
    """What a worker's death means for a request that was there."""

    STRUCK = "struck"  # it may have been the cause
    EXCUSED = "excused"  # another one was convicted of it
    CONVICTED = "convicted"


@dataclass(frozen=True, slots=True)
class SuspectSnapshot:
    """A body that was at a worker's death of late: whose it is, what is known of it, when that is forgotten."""

    tenant: str
    path: str
    model: str
    standing: Standing
    deaths: int
    last_worker: str
    seconds_left: float


class Suspect:
    """One request: its body, and the worker, in which of its lives, that it was sent to last."""

    __slots__ = ("_body", "_key", "life", "model", "path", "tenant", "worker")

    def __init__(self, tenant: str, path: str, model: str, body: bytes | memoryview) -> None:
        """A request that was not sent yet; `body` is of it what decides the worker's work."""
        self.tenant, self.path, self.model = tenant, path, model
        self._body = body
        self._key: bytes | None = None
        self.worker = ""
        self.life = 0

    @property
    def key(self) -> bytes:
        """A digest of the body and its tenant; taken when first asked for, which for most requests is never."""
        if self._key is None:
            digest = blake2b(b"\0".join((self.tenant.encode(), self.path.encode(), self.model.encode(), b"")))
            digest.update(self._body)
            self._key = digest.digest()[:16]
        return self._key

    def let_go(self) -> None:
        """Keep no more of the request than a small body: of a large one the digest will do."""
        if len(self._body) > MOST_KEPT_BYTES and self.key:
            self._body = b""
        else:
            self._body = bytes(self._body)


class _File:
    """What is known of one body."""

    __slots__ = ("last_death", "model", "path", "standing", "strikes", "tenant", "until")

    def __init__(self, suspect: Suspect) -> None:
        self.tenant, self.path, self.model = suspect.tenant, suspect.path, suspect.model
        self.standing = Standing.CLEAN
        self.strikes = 0
        self.last_death = ("", 0)
        self.until = 0.0


class Quarantine:
    """Every body that was at a worker's death of late, and who stands trial where."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._files: OrderedDict[bytes, _File] = OrderedDict()  # in the order in which they end
        self._lives: dict[str, int] = {}
        self._culprits: dict[str, tuple[int, bytes | None]] = {}  # of each worker's last death
        self._on_trial: dict[str, Suspect] = {}
        self._suspects: dict[str, set[Suspect]] = {}  # that run at a worker

    def standing(self, suspect: Suspect, now: float) -> Standing:
        """What is known of the body of `suspect`; costs nothing while nothing is known of any."""
        self._forget(now)
        file = self._files.get(suspect.key) if self._files else None
        return Standing.CLEAN if file is None else file.standing

    def forget_worker(self, worker: str) -> None:
        """`worker` was removed: what its deaths told of bodies stays with the bodies."""
        self._lives.pop(worker, None)
        self._culprits.pop(worker, None)

    def life(self, worker: str) -> int:
        """How many deaths of `worker` were told."""
        return self._lives.get(worker, 0)

    # -- trials

    def send(self, suspect: Suspect, worker: str, now: float) -> Clearance:
        """Whether `suspect`, which has room at `worker`, may be sent there now; it counts as there if so."""
        standing = self.standing(suspect, now)
        if standing is Standing.CONVICTED:
            return Clearance.REFUSE
        if standing is Standing.SUSPECT:
            if worker in self._on_trial:
                return Clearance.WAIT
            self._on_trial[worker] = suspect
            self._suspects.setdefault(worker, set()).add(suspect)
        suspect.worker, suspect.life = worker, self.life(worker)
        return Clearance.SEND

    def is_on_trial(self, suspect: Suspect) -> bool:
        """True while no other suspect may be sent where `suspect` is."""
        return self._on_trial.get(suspect.worker) is suspect

    def has_trial(self, worker: str) -> bool:
        """True while a suspect stands trial at `worker`."""
        return worker in self._on_trial

    def survived(self, suspect: Suspect) -> None:
        """The worker of `suspect` lives with it: the next one's trial may begin, unless this one's lasts to its end."""
        if not self.is_on_trial(suspect):
            return
        file = self._files.get(suspect.key)
        if file is None or file.strikes < _STRIKES_FOR_WHOLE_TRIAL:
            del self._on_trial[suspect.worker]

    def leave(self, suspect: Suspect) -> None:
        """`suspect` is no longer at its worker."""
        if self.is_on_trial(suspect):
            del self._on_trial[suspect.worker]
        suspects = self._suspects.get(suspect.worker)
        if suspects is not None:
            suspects.discard(suspect)
            if not suspects:
                del self._suspects[suspect.worker]

    # -- evidence

    def answered(self, suspect: Suspect, now: float) -> None:
        """A worker answered the whole of `suspect`."""
        if self.standing(suspect, now) is not Standing.CLEAN:
            self._note(suspect, BodyEvidence.ANSWERED, now)

    def died(self, suspect: Suspect, now: float) -> Blame:
        """The worker died to which `suspect` was sent, and was there; every suspect that was there is told so once."""
        self._forget(now)
        worker = suspect.worker
        if suspect.life == self.life(worker):
            accused = self._accused(worker)
            self._culprits[worker] = suspect.life, None if accused is None else accused.key
            self._lives[worker] = suspect.life + 1
            self._on_trial.pop(worker, None)
            self._suspects.pop(worker, None)
        life, culprit = self._culprits[worker]
        is_explained = culprit is not None and life == suspect.life
        is_accused = is_explained and culprit == suspect.key
        standing = self._note(suspect, BodyEvidence.ACCUSED if is_accused else BodyEvidence.DEATH, now)
        if standing is Standing.CONVICTED:
            return Blame.CONVICTED
        return Blame.EXCUSED if is_explained and not is_accused else Blame.STRUCK

    def _accused(self, worker: str) -> Suspect | None:
        """Who is to blame for a death of `worker`, where that can be said."""
        suspects = self._suspects.get(worker, set())
        alone = next(iter(suspects)) if len(suspects) == 1 else None
        return self._on_trial.get(worker, alone)

    def _note(self, suspect: Suspect, evidence: BodyEvidence, now: float) -> Standing:
        file = self._files.get(suspect.key)
        if file is None:
            file = self._files[suspect.key] = _File(suspect)
        file.standing = TABLE[file.standing, evidence]
        file.until = now + KEPT_SECONDS
        self._files.move_to_end(suspect.key)
        death = (suspect.worker, suspect.life)
        if evidence is not BodyEvidence.ANSWERED and file.last_death != death:
            file.last_death = death
            file.strikes += 1
        if len(self._files) > MAX_BODIES:
            self._files.popitem(last=False)
        return file.standing

    def snapshots(self, now: float) -> tuple[SuspectSnapshot, ...]:
        """Every body that is known, the one that was at a death last first."""
        self._forget(now)
        return tuple(
            SuspectSnapshot(
                file.tenant, file.path, file.model, file.standing, file.strikes, file.last_death[0], file.until - now
            )
            for file in reversed(self._files.values())
        )

    def _forget(self, now: float) -> None:
        while self._files and next(iter(self._files.values())).until <= now:
            self._files.popitem(last=False)
