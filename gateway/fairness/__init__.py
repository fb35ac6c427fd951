"""Fair scheduling of requests across tenants: the Virtual Token Counter of "Fairness in Serving Large Language Models"
(Sheng et al., OSDI '24, arXiv 2401.00588), made exact at a gateway. Pure: no clock, no I/O.

Theory. Each tenant i of a pool has a counter c_i of the service it received, divided by its weight. A tenant is
*waiting* while it has an eligible request queued.
- Arrival of a request of u: if u waits already, nothing. Else if nobody waits, c_u = max(c_u, c_l), l being the tenant
  that left the queue last; else c_u = max(c_u, min of c_i over the waiting). Idle credit is never spent against others.
- Dispatch, at the moment room appears: the waiting tenant with the least counter, ties by arrival; its oldest request.
  One that does not fit stops the dispatch: nobody is bypassed. It is charged h(input, 0) and the predicted output.
  Two departures from the least counter, each bounded and accounted: a locality quantum and an express lane (`turns`).
- Each token beyond the prediction charges its marginal cost; at the end what was not used is refunded, so that a
  request comes to exactly h(input, output) / weight. A refund never goes below the level of a lift that came since.
Counters of waiting tenants then never lie further apart than the largest exposure plus the largest refundable amount
of what one tenant has in flight (`bound`), however long they wait: the window in front of the workers is the fairness
bound. A tenant's keys share what it gets by the same rule, one level down.

Modules: `cost` what a request costs; `flow` the counter; `policies` who goes next; `predictor` what is reserved
(`gateway.learned` guesses the rest); `queues`, `limits`, `tenants`, `deadlines`, `waiting_room` who waits; `turns`
whose turn it is; `running` who runs; `bound` charges and the computed bound; `pool` one pool's account; `admission` the
decisions; `invariants` what must hold after each of them; `holdings` whose bodies are in memory. The same objects run
in the gateway, in simulations and in the property tests.
"""

from gateway.fairness.admission import Admission
from gateway.fairness.capacity import Capacity
from gateway.fairness.cost import CostFunction, Expression, KvTime, Linear, Profiled, Usage
from gateway.fairness.decisions import Decision, Grant, Refuse
from gateway.fairness.holdings import Holding, Holdings
from gateway.fairness.invariants import check_invariants
from gateway.fairness.limits import TenantLimits
from gateway.fairness.policies import POLICIES
from gateway.fairness.pool import PoolSpec, Rules
from gateway.fairness.predictor import PREDICTORS
from gateway.fairness.snapshot import PoolSnapshot, TenantSnapshot, TicketSnapshot
from gateway.fairness.ticket import Ticket, TicketState

__all__ = [
    "POLICIES",
    "PREDICTORS",
    "Admission",
    "Capacity",
    "CostFunction",
    "Decision",
    "Expression",
    "Grant",
    "Holding",
    "Holdings",
    "KvTime",
    "Linear",
    "PoolSnapshot",
    "PoolSpec",
    "Profiled",
    "Refuse",
    "Rules",
    "TenantLimits",
    "TenantSnapshot",
    "Ticket",
    "TicketSnapshot",
    "TicketState",
    "Usage",
    "check_invariants",
]
