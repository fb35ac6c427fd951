"""Fair scheduling of requests across tenants: the Virtual Token Counter of "Fairness in Serving Large Language Models"
(Sheng et al., OSDI '24, arXiv 2401.00588), made exact at a gateway. Pure: no clock, no I/O.

Theory. Each tenant i of a pool has a counter c_i of the service it received, divided by its weight. A tenant is
*waiting* while it has an eligible request queued.
- Arrival of a request of tenant u. If u waits already, nothing happens. Else u is lifted: if nobody waits,
  c_u = max(c_u, c_l), where l is the tenant that left the queue last; otherwise c_u = max(c_u, min of c_i over the
  waiting tenants). So credit from idle time is never spent against others.
- Dispatch, at the moment room appears. The waiting tenant with the least counter is next, ties by arrival, with its
  oldest request. If that request does not fit, the dispatch stops: nobody is bypassed. The request is charged
  h(input, 0) and the predicted output. Two departures from the least counter are allowed, each bounded and accounted
  for: a locality quantum and an express lane (`turns`).
- Progress and end. Each token beyond the prediction is charged its marginal cost. At the end what was not used is
  refunded, so that a request costs exactly h(input, output) / weight. A refund never lowers a counter below the level
  of a lift that came after the charge.
The counters of waiting tenants then never lie further apart than the largest exposure plus the largest refundable
amount of what one tenant has in flight (`bound`), however long they wait: the window in front of the workers decides
the fairness bound. A tenant's keys share what the tenant gets by the same rule, one level down.

Modules. `cost`: what a request costs. `flow`: the counter. `policies`: who goes next. `predictor`: how much output is
reserved (`gateway.learned` has the other estimates). `key_queue`, `queues`, `limits`, `buckets`, `tenants`, `census`,
`deadlines`, `waiting_room`: who waits. `refusals`: who is refused. `turns`: whose turn it is. `preview`: whose turns
are next. `ticket`: one request's right to run. `running`, `cadence`, `reckoning`: who runs, and how far an answer is
that reports nothing. `open_charge`, `bound`: charges and the computed bound. `pool`: one pool's account. `admission`:
the decisions (`decisions`). `invariants`: what must hold after each of them. `capacity`: the port to the workers' room.
`holdings`: whose bodies are in memory. `snapshot`: views for people. The same objects run in the gateway, in
simulations and in the property tests.
"""

from gateway.fairness.admission import Admission
from gateway.fairness.buckets import RateLevel, Rates
from gateway.fairness.capacity import Capacity
from gateway.fairness.cost import CostFunction, Expression, KvTime, Linear, Profiled
from gateway.fairness.decisions import Decision, Grant, Refuse
from gateway.fairness.holdings import Holding, Holdings
from gateway.fairness.invariants import check_invariants
from gateway.fairness.limits import TenantLimits
from gateway.fairness.policies import POLICIES
from gateway.fairness.pool import PoolAccount, PoolSpec, Rules
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
    "PoolAccount",
    "PoolSnapshot",
    "PoolSpec",
    "Profiled",
    "RateLevel",
    "Rates",
    "Refuse",
    "Rules",
    "TenantLimits",
    "TenantSnapshot",
    "Ticket",
    "TicketSnapshot",
    "TicketState",
    "check_invariants",
]
