"""The workers of all pools, of which other replicas of the gateway use the same engines.

One replica tunes the windows (`tune`), the others take over what it found (`limit`). Every replica hears what the
others have at a worker (`others`). The window of sequences is shared out beyond the fleet: the caller says at which
workers this replica may use a place. Prompt tokens and memory are checked here, against what all replicas have. Without
other replicas, use `Fleet`.
"""

from collections.abc import Callable

from gateway.workers.fleet import Fleet
from gateway.workers.placement import Placement
from gateway.workers.shared_limits import Holding, Others, SharedLimits
from gateway.workers.snapshot import Limit
from gateway.workers.worker import Asking, Worker

Allows = Callable[[str], bool]  # whether this replica may use a place at the worker of that name


class SharedFleet(Fleet):
    """A fleet that knows of the other replicas."""

    def _placement(self, pool: str) -> Placement[Worker, Asking]:
        return self._pools.setdefault(pool, Placement(is_shared=True))

    # -- room

    def take_where(self, request: Asking, allows: Allows) -> str | None:
        """As `take`, but only at workers that `allows` names."""

        def has_room(worker: Worker, asking: Asking) -> bool:
            return allows(worker.name) and worker.has_room(asking)

        name = self._place(request, has_room)
        if name is None:
            for worker in self._workers_of(request.pool):
                if worker.serves and worker.tuning.limited_by is Limit.NOTHING:
                    worker.tuning.limited_by = Limit.SEQUENCES  # its places are shared out
        return name

    def affinity_where(self, request: Asking, allows: Allows) -> int:
        """As `affinity`, but only at workers that `allows` names."""

        def has_room(worker: Worker, asking: Asking) -> bool:
            return allows(worker.name) and worker.has_room(asking)

        placement = self._pools.get(request.pool)
        return 0 if placement is None else placement.affinity(request, has_room)

    def kv_demand(self, request: Asking) -> int:
        """How many tokens of a KV cache one more sequence of `request` would be promised; 0 if no worker serves."""
        for worker in self._workers_of(request.pool):
            if worker.serves:
                return worker.tuning.memory.demand(request)
        return 0

    def preferred(self, request: Asking) -> str:
        """The worker where `request` should run, whether it has room or not; "" if any other does as well.

        It has the longest beginning of the prompt cached. If none has any, it is the one that all replicas agree on.
        """
        placement = self._pools.get(request.pool)
        return "" if placement is None else placement.preferred(request)

    # -- what the replicas tell each other

    def holds(self, name: str) -> Holding:
        """What this replica has at a worker; nothing at one that is unknown."""
        worker = self._workers.get(name)
        if worker is None:
            return Holding(0, 0)
        return Holding(worker.window.prefill_tokens_in_flight, round(worker.tuning.memory.count()))

    def others(self, name: str, others: Others) -> None:
        """Take in what all other replicas have at a worker."""
        worker = self._workers.get(name)
        if worker is None:
            return
        worker.tuning.others = others
        worker.tuning.memory.others_tokens = others.kv_tokens
        worker.window.others_sequences = others.sequences
        worker.window.others_prompt_tokens = others.prompt_tokens

    def limits(self, name: str) -> SharedLimits:
        """What this replica found of a worker that it tunes, for the other replicas; the worker must be known."""
        tuning = self._workers[name].tuning
        return tuning.limits._replace(state=tuning.state())

    def limit(self, name: str, limits: SharedLimits) -> None:
        """Take over what another replica found; from now on nothing else moves the limits of this worker.

        Configured limits stay. Limits of which one is below 1 say nothing and are ignored.
        """
        worker = self._workers.get(name)
        if worker is not None:
            worker.tuning.follow(limits)
            worker.apply_limits()

    def tune(self, name: str, state: str) -> None:
        """Tune a worker from now on, and go on where the last tuner stopped.

        The last tuner's `state` is ignored if this replica has it already, or knows a later one, or if it is unknown.
        """
        worker = self._workers.get(name)
        if worker is not None:
            worker.tuning.lead(state)
            worker.apply_limits()
