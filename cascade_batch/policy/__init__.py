"""What to buy next: the planner. Numbers in, numbers out; no I/O, no state.

**What it does.** Whoever runs a job shows the planner how it stands (`JobView`) and gets back a wave: which
rows to ask on which tier now (`plan_wave`). Each wave is planned from nothing but the view, so that a planner
that crashed is replaced by any other, and the same view gives the same wave. An empty wave with nothing in
flight ends the job; then `choose_answers` says which of a row's answers counts.

**Paths, not ladders.** Each row asked once, on random mixes of tiers, is a strong rival (the hull of
single tiers): on recorded data, drafting everything on the cheapest tier and climbing from there loses to it
wherever that tier is weak and nearly as dear as the next. So no tier has a role of its own. A row that holds
nothing is a state like any other, from which every tier may be bought.

**How a wave comes about** (`outlook`, `waves`):

1. *Beliefs*: `evidence` brings signals to ranks; `fitting` fits the joint model of who is right (`model`)
   to the answers whose truth is known, from an informed prior (`prior`); the model gives, for every row and
   tier, the probability that the tier is right given all that the row holds. `expense` does the same for
   costs.
2. *Prospects*: `population` imagines rows, `worth` works out on them, backwards from full knowledge, what
   each state is worth and what each purchase leads to, at a given price of money.
3. *Price of money*: one number, found by bisection so that the expected total of everything still to be
   bought meets the money that is left. At that price every row decides for itself; that this is optimal
   for a budget that is met on average is Lagrangian duality, and with many rows one of them at most is
   fractional. Between the two prices where a whole class of rows changes its mind, rows are drawn at
   random: which is the hull's mix, where nothing tells rows apart.
4. *Release*: early waves start few rows, because their plan rests on the prior; then all that pays. A few
   rows are asked on every tier, whatever the plan, for at most a few per cent of the budget.

**Why learning does no harm.** The prior is a plan of its own: abler tiers are dearer, confidence means what
it means elsewhere. Labels move it only as far as their number allows, features of rows hardest of all.
Abilities that turn out alike make all paths alike, and then the price of money does the choosing, which is
the hull. A row leaves the start that suits most rows only for more than a point (`outlook`): the best of many
uncertain values is overrated, and at budgets where the hull puts all rows on one tier, leaving it for less
cost half a point. Where nobody labels anything, a row only ever goes up, and its dearest answer counts.

**Expected costs plan, worst cases admit.** Prices are weighed against expected costs, since most calls cost
far less than their worst case; the ledger admits by worst case whatever is asked of it. First answers on a
row's cheapest tier come first in a wave, because they free the ring fence; then dearer first answers as far
as free money carries the difference; then escalations, most gain per dollar first. What could not be admitted
is planned again.

**What is no answer.** A second sample is only evidence (`resampling`): it is bought where its value, looked
at one step ahead, exceeds its price. Starts are planned as if there were none. A judge's word is bought on
every answer, as part of its cost.

**What bounds it**, knowingly: one dimension of ease for all tiers; values of pairs compared as if
independent; a row's own text is known by its size and stratum alone. Without labels the dearest tier is the
yardstick, also where it is no better (demoting tiers that lose where third tiers take sides was tried: rows
asked on both are those on which the model expected them to differ, and the few probes settle nothing), and
expected costs are trusted less (`expense.evened`), since what is cheap to ask may be what gains least.
"""

from cascade_batch.policy.answers import Choice, choose_answers
from cascade_batch.policy.planning import plan_wave
from cascade_batch.policy.view import Action, JobView, Labels, Reason, Wave

__all__ = [
    "Action",
    "Choice",
    "JobView",
    "Labels",
    "Reason",
    "Wave",
    "choose_answers",
    "plan_wave",
]
