"""Other people's planners, written from their papers, to be compared with: in benchmarks only.

Each is driven by a replay in place of the product's planner, sees exactly what that sees, pays for all that
it buys, its training data included, and has to answer every row within the budget.

* `frugalgpt`: a cascade with learned scorers; chain and thresholds from a training sample.
* `routellm`: a router that decides before any call.
* `cascade_routing`: at every step the best set of further models, by estimates before and after answers.
* `confidence_per_dollar`: escalation by the draft's own confidence, without any training purchase.

What they share: `sample` buys training data, `signals` makes features of answers, `regression` learns,
`buying` speaks the planner's language.
"""

from __future__ import annotations

from benchmarks.baselines import cascade_routing, confidence_per_dollar, frugalgpt, routellm
from cascade_batch.replay.run import MakePlanner

BASELINES: dict[str, MakePlanner] = {
    "frugalgpt": frugalgpt.make,
    "routellm": routellm.make,
    "cascade_routing": cascade_routing.make,
    "confidence_per_dollar": confidence_per_dollar.make,
}
