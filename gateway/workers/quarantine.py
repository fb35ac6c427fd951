"""Finds the request that kills each worker that it meets, at the latest with the second death, and refuses it then.

When a worker dies, each request that ran there may be the cause. So the body of each becomes a *suspect*, and only one
suspect at a time stands *trial* at a worker: if the worker dies again, that one is accused. The same body of another
tenant is another body. What is known about a body is forgotten after ten minutes.

    standing     is sent                             answered    worker died    worker died, accused
    clean        at once                             clean       suspect        convicted
    suspect      when no other is on trial there     cleared     suspect        convicted
    cleared      at once                             cleared     cleared        cleared
    convicted    never: it is refused                convicted   convicted      convicted

The accused is the suspect on trial at the worker that died. If none is on trial, it is the only suspect that still runs
there; if there are several, nobody is accused. A trial ends with the first byte or after two seconds, so that innocents
wait little for one another. For a body that was at two deaths it lasts to the end of the answer. Poison is a request
that kills its worker. It costs this much:
- If a client sends it again and again, or if its pool has one worker that comes back: two deaths.
- If several requests are poison: two deaths for each, because each request that was at a death becomes a suspect.
- If it kills after its first byte: two deaths too, because its client sends it again.
- If copies run at once: the workers at which they run, and one more.
- If several are slow and run unanswered at once: one death more, because their next trials last to the end.
An innocent body may be convicted if something else kills the worker during its trial. It cannot be convicted after it
was answered. Left to the caller: what counts as a death.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b

KEPT_SECONDS = 600.0
MAX_BODIES = 8192  # so many are known at once; the one whose last death is longest ago is forgotten first
TRIAL_SECONDS = 2.0
MOST_KEPT_BYTES = 16 * 1024  # of a body while its answer runs; of a longer body the digest is taken, at 1 us per KiB
_STRIKES_FOR_WHOLE_TRIAL = 2


class Standing(Enum):
    """What is known about a body."""

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
    """What to do with a request that has room at a worker."""

    SEND = "send"
    WAIT = "wait"  # another suspect stands trial there
    REFUSE = "refuse"


class Blame(Enum):
    """What a worker's death means for one request that was there."""

    STRUCK = "struck"  # the request may have been the cause
    EXCUSED = "excused"  # another request was convicted of the death
    CONVICTED = "convicted"


@dataclass(frozen=True, slots=True)
class SuspectSnapshot:
    """A body that was at a worker's death lately: whose it is, what is known about it, when that is forgotten."""

    tenant: str
    path: str
    model: str
    standing: Standing
    deaths: int
    last_worker: str
    seconds_left: float


class Suspect:
    """One request: its body, the worker to which it was sent last, and the number of that worker's life."""

    __slots__ = ("_body", "_key", "life", "model", "path", "tenant", "worker")

    def __init__(self, tenant: str, path: str, model: str, body: bytes | memoryview) -> None:
        """Start with a request that was not sent yet; `body` is the part that decides the worker's work."""
        self.tenant, self.path, self.model = tenant, path, model
        self._body = body
        self._key: bytes | None = None
        self.worker = ""
        self.life = 0

    @property
    def key(self) -> bytes:
        """A digest of the body and its tenant; it is computed on first use, because most requests never need it."""
        if self._key is None:
            digest = blake2b(b"\0".join((self.tenant.encode(), self.path.encode(), self.model.encode(), b"")))
            digest.update(self._body)
            self._key = digest.digest()[:16]
        return self._key

    def let_go(self) -> None:
        """Keep only the digest of a large body, and a copy of a small one."""
        if len(self._body) > MOST_KEPT_BYTES and self.key:
            self._body = b""
        else:
            self._body = bytes(self._body)


class _File:
    """What is known about one body."""

    __slots__ = ("last_death", "model", "path", "standing", "strikes", "tenant", "until")

    def __init__(self, suspect: Suspect) -> None:
        self.tenant, self.path, self.model = suspect.tenant, suspect.path, suspect.model
        self.standing = Standing.CLEAN
        self.strikes = 0
        self.last_death = ("", 0)
        self.until = 0.0


class Quarantine:
    """All bodies that were at a worker's death lately, and the trials that run."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._files: OrderedDict[bytes, _File] = OrderedDict()  # in the order in which they are forgotten
        self._lives: dict[str, int] = {}
        self._culprits: dict[str, tuple[int, bytes | None]] = {}  # by worker: its last death, and who was accused
        self._on_trial: dict[str, Suspect] = {}
        self._suspects: dict[str, set[Suspect]] = {}  # by worker: those that run there

    def standing(self, suspect: Suspect, now: float) -> Standing:
        """What is known about the body of `suspect`; this costs nothing while no body is known."""
        self._forget(now)
        file = self._files.get(suspect.key) if self._files else None
        return Standing.CLEAN if file is None else file.standing

    def forget_worker(self, worker: str) -> None:
        """Forget `worker`, which was removed; what its deaths showed about bodies is kept."""
        self._lives.pop(worker, None)
        self._culprits.pop(worker, None)

    def life(self, worker: str) -> int:
        """How many deaths of `worker` were reported."""
        return self._lives.get(worker, 0)

    # -- trials

    def send(self, suspect: Suspect, worker: str, now: float) -> Clearance:
        """Say whether `suspect`, which has room at `worker`, may be sent there now; if so it counts as sent."""
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
        """Note that the worker of `suspect` lives: its trial ends, unless it lasts to the end of the answer."""
        if not self.is_on_trial(suspect):
            return
        file = self._files.get(suspect.key)
        if file is None or file.strikes < _STRIKES_FOR_WHOLE_TRIAL:
            del self._on_trial[suspect.worker]

    def leave(self, suspect: Suspect) -> None:
        """Note that `suspect` is no longer at its worker."""
        if self.is_on_trial(suspect):
            del self._on_trial[suspect.worker]
        suspects = self._suspects.get(suspect.worker)
        if suspects is not None:
            suspects.discard(suspect)
            if not suspects:
                del self._suspects[suspect.worker]

    # -- evidence

    def answered(self, suspect: Suspect, now: float) -> None:
        """Note that a worker answered `suspect` to the end."""
        if self.standing(suspect, now) is not Standing.CLEAN:
            self._note(suspect, BodyEvidence.ANSWERED, now)

    def died(self, suspect: Suspect, now: float) -> Blame:
        """Note that the worker of `suspect` died while it was there; called once for each request that was there."""
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
        """The suspect to blame for a death of `worker`; None if nobody can be blamed."""
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
        """Every known body, beginning with the one whose last death is most recent."""
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
