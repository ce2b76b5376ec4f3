"""What a job would cost, and what a budget can buy; reads the data or a sample of it, calls nobody, stores
nothing.

Two figures per tier. The *worst case* is what is reserved: it bounds what can be billed. The *likely*
cost is a guess from the sizes alone (a token per four bytes of text; answers as long as the declared
output suggests), good enough to choose a budget by. Of a sample, both are scaled to the number of rows: the
worst case then is an estimate of a bound, and `submit` is the one to say whether a budget carries it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import orjson

from cascade_batch.domain.job import JobSpec, Output
from cascade_batch.domain.money import Usage
from cascade_batch.domain.row import Record
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.row_bounds import Reader, RowBounds, require_columns

BYTES_PER_TOKEN = 4
"""Typical of English prose; code and other scripts have fewer bytes to a token."""
SAMPLE_MARGIN = 1.05
"""A least budget that is known from a sample has so much to spare, to be enough when all rows are read."""
_LIKELY_SECONDS_PER_CALL = 1.0
_UNUSED_SHARE_OF_LIMIT = 0.5


@dataclass(slots=True)
class TierEstimate:
    """A tier answering every row once; money in nano-dollars, tokens as a guess."""

    name: str
    model: str
    price_source: str
    worst_case_nanousd: int = 0
    likely_nanousd: int = 0
    likely_input_tokens: int = 0
    likely_output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A row that was kept while the data was read.

    Attributes:
        worst_nanousd: Worst case on each tier.
        likely_nanousd: Likely cost on each tier.
        input_bytes: Size of its request to the first tier.
        has_gold: Its right answer is known.
        group: The value that it is grouped by; nothing without groups.
    """

    record: Record
    worst_nanousd: tuple[int, ...]
    likely_nanousd: tuple[int, ...]
    input_bytes: int
    has_gold: bool
    group: bytes


@dataclass(slots=True)
class Estimate:
    """What `estimate_job` finds.

    Attributes:
        rows: Rows of the data set; of a sample, after `scaled`, about so many.
        rows_read: Rows that were looked at.
        rows_are_exact: Whether `rows` is a count.
        bad_rows: Records that the reader left out; for the caller to fill in.
        tiers: In the order of the job's.
        minimum_budget_nanousd: The least budget that a submission is accepted with: each row's
            worst case on the tier that is cheapest for it.
        affordable_rows: Rows from the start of the data that the budget covers at worst case.
        likely_cheapest_nanousd: Likely cost of answering every row on the tier cheapest for it.
        sample: Rows drawn at random while the data was read, in order.
    """

    rows: int = 0
    rows_read: int = 0
    rows_are_exact: bool = True
    bad_rows: int = 0
    tiers: list[TierEstimate] = field(default_factory=list)
    minimum_budget_nanousd: int = 0
    affordable_rows: int = 0
    likely_cheapest_nanousd: int = 0
    sample: list[SampledRow] = field(default_factory=list)

    @property
    def is_sampled(self) -> bool:
        """Whether only some of the rows were looked at."""
        return self.rows_read < self.rows or not self.rows_are_exact

    def escalations(self, tier_no: int, budget_nanousd: int) -> int:
        """How many rows the rest of a budget would likely buy on a tier, once all are drafted."""
        rest = budget_nanousd - self.likely_cheapest_nanousd
        likely = self.tiers[tier_no].likely_nanousd
        if rest <= 0 or self.rows == 0:
            return 0
        return self.rows if likely <= rest else rest * self.rows // likely

    def scale_to(self, rows: int, budget_nanousd: int, *, exact: bool) -> None:
        """Take what was read for a sample of so many rows."""
        seen, self.rows, self.rows_are_exact = self.rows, rows, exact

        def scaled(amount: int) -> int:
            return -(-amount * rows // seen)

        for tier in self.tiers:
            tier.worst_case_nanousd = scaled(tier.worst_case_nanousd)
            tier.likely_nanousd = scaled(tier.likely_nanousd)
            tier.likely_input_tokens = scaled(tier.likely_input_tokens)
            tier.likely_output_tokens = scaled(tier.likely_output_tokens)
        self.minimum_budget_nanousd = int(scaled(self.minimum_budget_nanousd) * SAMPLE_MARGIN)
        self.likely_cheapest_nanousd = scaled(self.likely_cheapest_nanousd)
        if self.minimum_budget_nanousd:
            share = min(budget_nanousd / self.minimum_budget_nanousd, 1.0)
            self.affordable_rows = int(rows * share)


def estimate_job(spec: JobSpec, read: Reader, *, keep: int = 0, is_whole: bool = True) -> Estimate:
    """Add up what each tier would cost for all rows.

    Args:
        spec: The job; its budget only decides `affordable_rows`.
        read: Reads the data set, or a sample of it.
        keep: How many rows to draw at random and keep.
        is_whole: Whether all of the data set is read, so that a column that is not there is missing.

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
    kept = _Reservoir(spec, keep)
    for record in read(check=bounds.check):
        tokens = [size // BYTES_PER_TOKEN + 1 for size in bounds.body_bytes]
        likely = tuple(
            tier.bound_price.cost_nanousd(
                Usage(input_tokens=asked, output_tokens=said), _LIKELY_SECONDS_PER_CALL
            )
            for tier, asked, said in zip(spec.tiers, tokens, answer_tokens, strict=True)
        )
        for no, tier in enumerate(found.tiers):
            tier.worst_case_nanousd += bounds.worst_nanousd[no]
            tier.likely_nanousd += likely[no]
            tier.likely_input_tokens += tokens[no]
            tier.likely_output_tokens += answer_tokens[no]
        found.minimum_budget_nanousd += min(bounds.worst_nanousd)
        found.likely_cheapest_nanousd += min(likely)
        kept.offer(record, bounds, likely)
        found.rows += 1
        if found.minimum_budget_nanousd <= spec.budget_nanousd:
            found.affordable_rows = found.rows
        columns.update(dict.fromkeys(record.fields))
    if is_whole:
        require_columns(spec, columns)
    found.rows_read = found.rows
    found.sample = kept.rows()
    return found


class _Reservoir:
    """Rows drawn at random from a stream whose length nobody knows (Vitter's algorithm R)."""

    def __init__(self, spec: JobSpec, size: int) -> None:
        self._spec = spec
        self._size = size
        self._rng = random.Random(spec.seed)  # noqa: S311 - no secret
        self._seen = 0
        self._kept: list[tuple[int, SampledRow]] = []

    def offer(self, record: Record, bounds: RowBounds, likely: tuple[int, ...]) -> None:
        place = self._seen
        self._seen += 1
        if place >= self._size:
            at = self._rng.randrange(self._seen)
            if at >= self._size:
                return
        gold = record.fields.get(self._spec.gold) if self._spec.gold else None
        group = record.fields.get(self._spec.strata) if self._spec.strata else None
        row = SampledRow(
            record=record,
            worst_nanousd=bounds.worst_nanousd,
            likely_nanousd=likely,
            input_bytes=bounds.body_bytes[0],
            has_gold=gold is not None and bool(str(gold).strip()),
            group=orjson.dumps(group, option=orjson.OPT_SORT_KEYS) if self._spec.strata else b"",
        )
        if place < self._size:
            self._kept.append((place, row))
        else:
            self._kept[at] = (place, row)

    def rows(self) -> list[SampledRow]:
        """What was kept, in the order of the stream."""
        return [row for _, row in sorted(self._kept, key=lambda one: one[0])]


def likely_answer_tokens(output: Output, tier: Tier) -> int:
    """Length of a typical answer: of the longest choice, else half of what the tier allows."""
    if output.choices is not None:
        longest = max(len(choice.encode()) for choice in output.choices)
        return min(longest // BYTES_PER_TOKEN + 2, tier.max_output_tokens)
    return max(int(tier.max_output_tokens * _UNUSED_SHARE_OF_LIMIT), 1)
