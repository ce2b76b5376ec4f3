"""What to buy next: the planner. Numbers in, numbers out; no I/O, no state.

**What it does.** The engine shows the planner a job as it stands (`JobView`) and gets back a wave: pairs of
row and tier in the order in which they should be bought (`plan_wave`). The engine buys in that order for as
long as worst cases can be reserved, waits until the wave is settled, looks again, and asks for the next
wave. An empty wave means that nothing is left to buy and the job is done. Where each row starts is decided
before the first call (`start_tiers`), and which of a row's answers counts after the last
(`choose_answers`).

**Why in this order.** First come rows that have no answer: every row answered is the promise, and the money
for it is ring-fenced, so these rows alone may draw on the fence. Each is asked on the tier, of those that
have not answered it, where its worst case is lowest. Only then does money go to escalations. A row can be
escalated to the next tier up that is expected to improve it; among all rows those come first where the most
can be wrong per dollar: `(1 - p) / expected cost`, with `p` the quality of the best answer held. That is
the optimal order where a dearer tier is equally likely to mend any wrong answer, and it needs no labels. A
tier that is dearer and no better is passed over. Where no tier promises to improve a row that is still in
doubt, it comes after all the others and is bought while money is left: the estimates have seen a dear tier
only on rows that were hard enough to reach it, and are too modest about it. Nothing more is bought for a
row whose answer passed a check.

**Expected cost plans, worst case admits.** A wave is as long as its *expected* costs fill the free money,
because most calls cost far less than their worst case and a wave planned by worst case would end when a
tenth of the money is spent. But nothing is in it whose worst case alone exceeds the free money. What could
not be admitted while others were in flight is planned again in the next wave, with what they left over. The
first purchase of a wave can always be admitted, and what was asked is never asked again: so waves come to
an end, and at that end no row with something to gain could be afforded.

**Policies.** `auto` and `confidence` are the order above (one and the same so far). `random` escalates rows
to their next tier in random order without looking at the answers: what a signal has to beat. `dearest` buys
the dearest tier for row after row while the money lasts; `cheapest` never escalates. The last three are
there to be compared with.

**What it knowingly does not do yet.** It climbs ladders and does not choose paths: no row starts on or goes
straight to a dear tier because that is the better buy, and a mix of tiers asked once each (the hull) can
beat it where the cheapest tier is weak and nearly as dear as the next. It looks one step ahead and does not
reduce a row's steps to their concave hull. It draws nothing at random in order to learn, so that it can't
tell how good a tier is on rows that it never sends there. It draws no frontier.
"""

from cascade_batch.policy.costs import estimate_costs
from cascade_batch.policy.planner import (
    JobView,
    Purchases,
    choose_answers,
    plan_wave,
)
from cascade_batch.policy.starting import fence_tier, start_tiers

__all__ = [
    "JobView",
    "Purchases",
    "choose_answers",
    "estimate_costs",
    "fence_tier",
    "plan_wave",
    "start_tiers",
]
