"""What a row can cost on each tier, found by making its prompts and measuring its requests.

Done for every row before the first call: a template that fails on some row, or content whose tokens
can't be bounded, is found before anything is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobSpec
from cascade_batch.domain.money import MAX_BUDGET_NANOUSD, enough_usd, format_usd
from cascade_batch.domain.row import Prompt, Record
from cascade_batch.engine.request_keys import fingerprint, request_key
from cascade_batch.errors import BudgetError, UsageError
from cascade_batch.prompts import FormGuard, PromptMaker, compile_prompt
from cascade_batch.providers import Providers, worst_case_nanousd
from cascade_batch.words import argument


class Reader(Protocol):
    """Reads a data set; `functools.partial(read_records, path, …)` is one."""

    def __call__(self, *, check: Callable[[Record], None]) -> Iterable[Record]:
        """Records in order, but for those that `check` refuses: it raises, or leaves them out."""


class RowBounds:
    """Worst cases of one row after the other.

    Attributes:
        worst_nanousd: Worst case of the record checked last, per tier.
        body_bytes: Size of its request, per tier.
        request_key: Keys of its requests (see `request_keys`), one after the other; empty where the job wants
            none, or where the record holds what may change behind the same words (a picture's address).
        key_no: Of each tier, the place of its requests' key.
    """

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._providers = Providers()
        # What is asked of each tier for every row, found once.
        self._tiers = [
            (no, tier, maker, tier.prompt is None, self._providers.for_tier(tier).request_body)
            for no, (tier, maker) in enumerate(zip(spec.tiers, prompt_makers(spec), strict=True))
        ]
        self._forms = FormGuard(compile_prompt(system=spec.system, template=spec.prompt))
        # With a template, all records have the same form.
        self._needs_form = spec.prompt is None and any(tier.prompt is None for tier in spec.tiers)
        # Tiers that are asked in the same words and in one family of bodies, by the first of them.
        self._alike: list[int] = []
        first_of: dict[tuple[str | None, str], int] = {}
        for no, tier in enumerate(spec.tiers):
            kind = tier.prompt, self._providers.body_family(tier)
            self._alike.append(first_of.setdefault(kind, no))
        firsts = sorted(set(self._alike))
        self.key_no = [firsts.index(no) for no in self._alike]
        self._end_bytes = [
            len(self._providers.request_end(tier, spec.output)) for tier in spec.tiers
        ]
        self._keys: list[bytes] = []
        self._longer: list[int | None] = [None] * len(spec.tiers)
        self.worst_nanousd: tuple[int, ...] = ()
        self.body_bytes: tuple[int, ...] = ()
        self.request_key = b""

    def fingerprints(self) -> list[bytes | None]:
        """Of each tier, what its answers depend on beside the row; see `request_keys.fingerprint`."""
        return [fingerprint(self._providers, tier, self._spec.output) for tier in self._spec.tiers]

    def check(self, record: Record) -> None:
        """Find the record's bounds; for `Reader`.

        Raises:
            PromptError: Some tier's prompt can't be made of it.
            UnboundedInputError: It holds content whose tokens its bytes don't bound.
            UsageError: A call could cost more than an account can hold.
        """
        shared: Prompt | None = None
        worst: list[int] = []
        sizes: list[int] = []
        text_only = self._spec.cache
        self._keys.clear()
        if self._needs_form:
            self._forms.check(record)
        for no, tier, maker, is_shared, request_body in self._tiers:
            if not is_shared:
                prompt = maker.prompt_for(record.fields)
            else:
                if shared is None:
                    shared = maker.prompt_for(record.fields)
                prompt = shared
            longer = self._longer[no]
            if longer is None:
                size = self._note_body(no, request_body(tier, prompt, self._spec.output), sizes)
            else:
                size = sizes[self._alike[no]] + longer
            bound = worst_case_nanousd(tier, size, text_only=prompt.text_only)
            if bound > MAX_BUDGET_NANOUSD:
                raise UsageError(
                    f"A call of tier {tier.name!r} could cost {format_usd(bound)}, more than any budget.",
                    hint="Its price is in USD per million tokens, per call or per second.",
                )
            text_only = text_only and prompt.text_only
            sizes.append(size)
            worst.append(bound)
        self.worst_nanousd = tuple(worst)
        self.body_bytes = tuple(sizes)
        self.request_key = b"".join(self._keys) if text_only else b""

    def _note_body(self, no: int, body: bytes, sizes: list[int]) -> int:
        """Size of a tier's request, given those of the tiers before it."""
        size = len(body)
        if self._alike[no] != no:
            self._longer[no] = size - sizes[self._alike[no]]
        elif self._spec.cache:
            self._keys.append(request_key(body, self._end_bytes[no]))
        return size


def prompt_makers(spec: JobSpec) -> list[PromptMaker]:
    """A prompt maker per tier; tiers without a prompt of their own share one."""
    shared = compile_prompt(system=spec.system, template=spec.prompt)
    return [
        shared
        if tier.prompt is None
        else compile_prompt(
            system=spec.system, template=tier.prompt, where=f"the prompt of tier {tier.name}"
        )
        for tier in spec.tiers
    ]


def require_columns(spec: JobSpec, columns: Iterable[str]) -> None:
    """Refuse a gold column, or one to group rows by, that no record has.

    Raises:
        UsageError: The hint lists the columns there are.
    """
    names = list(columns)
    for what, column in (("gold column", spec.gold), ("column to group rows by", spec.strata)):
        if column is not None and column not in names:
            raise UsageError(
                f"{spec.data}: no record has the {what} {column!r}.",
                hint=f"Columns are: {', '.join(names[:20])}.",
            )


def require_budget(
    spec: JobSpec, *, rows: int, minimum_nanousd: int, affordable_rows: int, saved_rows: int = 0
) -> None:
    """Refuse a budget that can't answer every row.

    Args:
        minimum_nanousd: Sum of the rows' worst cases, each on the tier that is cheapest for it.
        affordable_rows: Rows from the start of the data that the budget covers; 0: none, or it is not known.
        saved_rows: Rows that cost nothing: an earlier job answered them, a pilot say, or another row asks the
            same.

    Raises:
        BudgetError: It can't; the hint says what would do.
    """
    if minimum_nanousd <= spec.budget_nanousd:
        return
    fewer = (
        f" answer the first {affordable_rows:,} rows with {argument('limit', affordable_rows)},"
        if affordable_rows
        else ""
    )
    # The same figure twice: whichever of them is typed back is enough.
    enough = enough_usd(minimum_nanousd)
    they, without = f"all {rows:,} rows: at worst they", ""
    if saved_rows:
        they = f"all of the {counted(rows - saved_rows, 'row')} still to be asked: at worst they"
        without = (
            f" ({saved_rows:,} of {rows:,} rows have an answer of an earlier job (a pilot, say), or get that"
            " of a row that asks the same, and cost nothing)"
        )
    raise BudgetError(
        f"A budget of {format_usd(spec.budget_nanousd)} can't answer {they} cost ${enough} on the cheapest"
        f" tier{without}.",
        hint=f"Give {argument('budget', enough)} or more,{fewer} or lower the cheapest"
        " tier's max_output_tokens, which the worst case counts in full.",
    )
