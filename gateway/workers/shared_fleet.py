"""The workers of all pools, of which other replicas of the gateway use the same engines.

One replica tunes the windows (`tune`), the others take over what it found (`limit`). Every replica hears what the
others have at a worker (`others`). The window of sequences is shared out beyond the fleet: the caller says at which
workers this replica may use a place. Prompt tokens and memory are checked here, against what all replicas have. Without
other replicas, use `Fleet`.

Of each express lane every replica has a part (`set_express_part`). There only the requests count that it sent in the
lane itself, whatever else is in flight: what the window has free is the store's to give.
"""

from collections.abc import Callable

from gateway.workers.fleet import Fleet, HasRoom
from gateway.workers.placement import Placement
from gateway.workers.sample import EngineSample
from gateway.workers.snapshot import Limit
from gateway.workers.tuned_limits import Holding, Others, TunedLimits
from gateway.workers.worker import Asking, Worker

Allows = Callable[[str], bool]  # whether this replica may use a place at the worker of that name


class SharedFleet(Fleet):
    """A fleet that knows of the other replicas."""

    def __init__(self) -> None:
        """Start without workers, and without a part of any express lane."""
        super().__init__()
        self._ranks: dict[str, tuple[int, int]] = {}  # by pool: replicas, and which of them this one is
        self._in_lane: set[Asking] = set()

    def _placement(self, pool: str) -> Placement[Worker, Asking]:
        return self._pools.setdefault(pool, Placement(is_shared=True))

    # -- room

    def take_where(self, request: Asking, allows: Allows) -> str | None:
        """As `take`, but only at workers that `allows` names."""

        def has_room(worker: Worker, asking: Asking) -> bool:
            return allows(worker.name) and worker.has_room(asking)

        return self._place(request, has_room)

    def _place(self, request: Asking, has_room: HasRoom) -> str | None:
        name = super()._place(request, has_room)
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

    def is_open(self, name: str) -> bool:
        """True if this replica can send requests to a worker: it serves here, and is neither paused nor on trial."""
        worker = self._workers.get(name)
        return worker is not None and worker.serves and not worker.is_paused and worker.trial is None

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

    # -- the express lane

    def set_express_part(self, pool: str, replicas: int, rank: int) -> None:
        """In `pool`, use the part of each lane that replica number `rank` (from 0) has; all parts add up to the lane.

        With 0 `replicas` it uses none.
        """
        if replicas:
            self._ranks[pool] = replicas, rank
        else:
            self._ranks.pop(pool, None)

    def _part(self, worker: Worker) -> int:
        express, (replicas, rank) = worker.spec.window.express, self._ranks.get(worker.spec.pool, (0, 0))
        if not replicas:
            return 0
        return express // replicas + (1 if rank < express % replicas else 0)

    def has_express(self, pool: str) -> bool:
        """True if this replica has a part of an express lane in `pool`."""
        return any(self._part(worker) > 0 for worker in self._workers_of(pool))

    def take_express(self, request: Asking, /) -> str | None:
        """As `take`, but in this replica's parts of the express lanes."""
        name = self._place(request, self._has_express_room)
        if name is not None:
            self._in_lane.add(request)
            self._workers[name].window.lane_sequences += request.sequences
        return name

    def _has_express_room(self, worker: Worker, request: Asking) -> bool:
        if worker.is_paused or worker.is_tried:
            return False
        window = worker.window
        has_place = window.lane_sequences + request.sequences <= self._part(worker)
        fits = has_place and window.fits_express_prefill(request.prompt_tokens)
        return fits and worker.tuning.fits_memory(request)

    def is_express(self, request: Asking) -> bool:
        """True if a request that is in flight was sent in the express lane, so it takes no place of the window."""
        return request in self._in_lane

    def give(self, request: Asking, /) -> None:
        """Give back the sequences of a request that ended, in the window or in the lane."""
        if request in self._in_lane:
            self._in_lane.remove(request)
            self._workers[request.worker].window.lane_sequences -= request.sequences
        super().give(request)

    def check_invariants(self) -> None:
        """Assert that what is known of the workers' caches adds up, and what is in the express lanes."""
        super().check_invariants()
        in_lanes = sum(request.sequences for request in self._in_lane)
        assert in_lanes == sum(worker.window.lane_sequences for worker in self._workers.values())

    # -- what the replicas report to each other

    def observe(self, name: str, sample: EngineSample, now: float) -> bool:
        """As `Fleet.observe`; what is promised of the memory is counted anew, for the other replicas."""
        if name in self._workers:
            self._workers[name].tuning.memory.count()
        return super().observe(name, sample, now)

    def holds(self, name: str) -> Holding:
        """What this replica has at a worker, its memory as counted at the last reading; nothing at an unknown one."""
        worker = self._workers.get(name)
        if worker is None:
            return Holding(0, 0)
        return Holding(worker.window.prefill_tokens_in_flight, worker.tuning.memory.demand_tokens)

    def others(self, name: str, others: Others) -> None:
        """Take in what all other replicas have at a worker."""
        worker = self._workers.get(name)
        if worker is None:
            return
        others_lane = worker.spec.window.express - self._part(worker)  # may be in use, and nobody reports it
        worker.tuning.others = others._replace(idle_sequences=others.idle_sequences + others_lane)
        worker.tuning.memory.others_tokens = others.kv_tokens
        worker.window.others_sequences = others.sequences + others.silent_sequences
        worker.window.others_prompt_tokens = others.prompt_tokens

    def limits(self, name: str) -> TunedLimits:
        """What this replica found of a worker that it tunes, for the other replicas; the worker must be known."""
        return self.plain_limits(name)._replace(state=self._workers[name].tuning.state())

    def plain_limits(self, name: str) -> TunedLimits:
        """The same without the state, which takes time to write."""
        return self._workers[name].tuning.limits

    def limit(self, name: str, limits: TunedLimits) -> None:
        """Take over what another replica found; from now on nothing else moves these limits.

        How much memory a request is promised each replica finds for its own requests, by the same readings.
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
