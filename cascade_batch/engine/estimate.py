"""What a job would cost, and what a budget can buy; reads the data, calls nobody, stores nothing.

Two figures per tier. The *worst case* is what is reserved: it bounds what can be billed. The *likely*
cost is a guess from the sizes alone (a token per four bytes of text; answers as long as the declared
output suggests), good enough to choose a budget by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cascade_batch.domain.job import JobSpec, Output
from cascade_batch.domain.money import Usage, format_usd
from cascade_batch.domain.row import Record
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.submit import prompt_makers
from cascade_batch.errors import BudgetError, DataError, UsageError
from cascade_batch.prompts import FormGuard, PromptError
from cascade_batch.providers import Providers, UnboundedInputError, worst_case_nanousd

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


def estimate_job(
    spec: JobSpec,
    records: Iterable[Record],
    *,
    on_bad: Callable[[DataError], None] | None = None,
) -> Estimate:
    """Add up what each tier would cost for all rows.

    Args:
        spec: The job; its budget only decides `affordable_rows`.
        records: The data set.
        on_bad: Told of each row that can't be asked; such rows are left out. None: raise.

    Raises:
        DataError: A row can't be asked; names file and line.
        UsageError: No record has the gold column.
    """
    found = Estimate(
        tiers=[TierEstimate(t.name, t.model, t.bound_price.source) for t in spec.tiers]
    )
    meter = _Meter(spec)
    gold_seen = spec.gold is None
    columns: dict[str, None] = {}
    for record in records:
        try:
            costs = meter.costs(record)
        except (PromptError, UnboundedInputError) as error:
            bad = DataError(
                error.message, source=spec.data, line_no=record.line_no, hint=error.hint
            )
            if on_bad is None:
                raise bad from None
            on_bad(bad)
            found.bad_rows += 1
            continue
        for tier, (worst, likely) in zip(found.tiers, costs, strict=True):
            tier.worst_case_nanousd += worst
            tier.likely_nanousd += likely
        found.minimum_budget_nanousd += min(worst for worst, _ in costs)
        found.likely_cheapest_nanousd += min(likely for _, likely in costs)
        found.rows += 1
        if found.minimum_budget_nanousd <= spec.budget_nanousd:
            found.affordable_rows = found.rows
        if not gold_seen:
            gold_seen = spec.gold in record.fields
            columns.update(dict.fromkeys(record.fields))
    if not gold_seen:
        raise UsageError(
            f"{spec.data}: no record has the gold column {spec.gold!r}.",
            hint=f"Columns are: {', '.join(list(columns)[:20])}.",
        )
    return found


def require_budget(spec: JobSpec, estimate: Estimate) -> None:
    """Refuse a budget that can't answer every row, as a submission would.

    Raises:
        BudgetError: It can't; the hint says what would do.
    """
    minimum = estimate.minimum_budget_nanousd
    if spec.budget_nanousd < minimum:
        raise BudgetError(
            f"A budget of {format_usd(spec.budget_nanousd)} can't answer all {estimate.rows:,} rows:"
            f" at worst they cost {format_usd(minimum)} on the cheapest tier.",
            hint=f"Give --budget {minimum / 1e9:.6g} or more, or take only the first"
            f" {estimate.affordable_rows:,} rows with --limit.",
        )


class _Meter:
    """Worst case and likely cost of a row on each tier."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._providers = Providers()
        self._makers = prompt_makers(spec)
        self._forms = [FormGuard(maker) for maker in self._makers]
        self._answer_tokens = [likely_answer_tokens(spec.output, tier) for tier in spec.tiers]

    def costs(self, record: Record) -> list[tuple[int, int]]:
        costs = []
        for tier, maker, form, answer_tokens in zip(
            self._spec.tiers, self._makers, self._forms, self._answer_tokens, strict=True
        ):
            form.check(record)
            prompt = maker.prompt_for(record.fields)
            body = self._providers.request_body(tier, prompt, self._spec.output)
            usage = Usage(
                input_tokens=len(body) // BYTES_PER_TOKEN + 1, output_tokens=answer_tokens
            )
            costs.append(
                (
                    worst_case_nanousd(tier, len(body), text_only=prompt.text_only),
                    tier.bound_price.cost_nanousd(usage, _LIKELY_SECONDS_PER_CALL),
                )
            )
        return costs


def likely_answer_tokens(output: Output, tier: Tier) -> int:
    """Length of a typical answer: of the longest choice, else half of what the tier allows."""
    if output.choices is not None:
        longest = max(len(choice.encode()) for choice in output.choices)
        return min(longest // BYTES_PER_TOKEN + 2, tier.max_output_tokens)
    return max(int(tier.max_output_tokens * _UNUSED_SHARE_OF_LIMIT), 1)
