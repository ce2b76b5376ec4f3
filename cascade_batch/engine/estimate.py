"""What a job would cost, and what a budget can buy; reads the data, calls nobody, stores nothing.

Two figures per tier. The *worst case* is what is reserved: it bounds what can be billed. The *likely*
cost is a guess from the sizes alone (a token per four bytes of text; answers as long as the declared
output suggests), good enough to choose a budget by.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cascade_batch.domain.job import JobSpec, Output
from cascade_batch.domain.money import Usage
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.row_bounds import Reader, RowBounds, require_columns

BYTES_PER_TOKEN = 4
"""Typical of English prose; code and other scripts have fewer bytes to a token."""
_LIKELY_SECONDS_PER_CALL = 1.0
_UNUSED_SHARE_OF_LIMIT = 0.5


@dataclass(slots=True)
class TierEstimate:
    """A tier answering every row once, in nano-dollars."""

    name: str
    model: str
    price_source: str
    worst_case_nanousd: int = 0
    likely_nanousd: int = 0


@dataclass(slots=True)
class Estimate:
    """What `estimate_job` finds.

    Attributes:
        bad_rows: Records that the reader left out; for the caller to fill in.
        tiers: In the order of the job's.
        minimum_budget_nanousd: The least budget that a submission is accepted with: each row's
            worst case on the tier that is cheapest for it.
        affordable_rows: Rows from the start of the data that the budget covers at worst case.
        likely_cheapest_nanousd: Likely cost of answering every row on the tier cheapest for it.
    """

    rows: int = 0
    bad_rows: int = 0
    tiers: list[TierEstimate] = field(default_factory=list)
    minimum_budget_nanousd: int = 0
    affordable_rows: int = 0
    likely_cheapest_nanousd: int = 0

    def escalations(self, tier_no: int, budget_nanousd: int) -> int:
        """How many rows the rest of a budget would likely buy on a tier, once all are drafted."""
        rest = budget_nanousd - self.likely_cheapest_nanousd
        likely = self.tiers[tier_no].likely_nanousd
        if rest <= 0 or self.rows == 0:
            return 0
        return self.rows if likely <= rest else rest * self.rows // likely


def estimate_job(spec: JobSpec, read: Reader) -> Estimate:
    """Add up what each tier would cost for all rows.

    Args:
        spec: The job; its budget only decides `affordable_rows`.
        read: Reads the data set.

    Raises:
        DataError: A row can't be asked; names file and line.
        UsageError: No record has the gold column.
    """
    found = Estimate(
        tiers=[TierEstimate(t.name, t.model, t.bound_price.source) for t in spec.tiers]
    )
    bounds = RowBounds(spec)
    answer_tokens = [likely_answer_tokens(spec.output, tier) for tier in spec.tiers]
    columns: dict[str, None] = {}
    for record in read(check=bounds.check):
        likely = [
            tier.bound_price.cost_nanousd(
                Usage(input_tokens=size // BYTES_PER_TOKEN + 1, output_tokens=tokens),
                _LIKELY_SECONDS_PER_CALL,
            )
            for tier, size, tokens in zip(spec.tiers, bounds.body_bytes, answer_tokens, strict=True)
        ]
        for tier, worst, guess in zip(found.tiers, bounds.worst_nanousd, likely, strict=True):
            tier.worst_case_nanousd += worst
            tier.likely_nanousd += guess
        found.minimum_budget_nanousd += min(bounds.worst_nanousd)
        found.likely_cheapest_nanousd += min(likely)
        found.rows += 1
        if found.minimum_budget_nanousd <= spec.budget_nanousd:
            found.affordable_rows = found.rows
        columns.update(dict.fromkeys(record.fields))
    require_columns(spec, columns)
    return found


def likely_answer_tokens(output: Output, tier: Tier) -> int:
    """Length of a typical answer: of the longest choice, else half of what the tier allows."""
    if output.choices is not None:
        longest = max(len(choice.encode()) for choice in output.choices)
        return min(longest // BYTES_PER_TOKEN + 2, tier.max_output_tokens)
    return max(int(tier.max_output_tokens * _UNUSED_SHARE_OF_LIMIT), 1)
