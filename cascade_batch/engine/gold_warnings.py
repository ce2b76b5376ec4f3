"""Right answers that no answer can be: a slip in the gold column, told before a job is without its labels."""

from __future__ import annotations

from collections.abc import Mapping

from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobSpec
from cascade_batch.quality import make_judge

MOST_KINDS = 1000
"""Different right answers that are kept to be looked at; more are no labels of a few choices."""
_SHOWN = 3
_COMPARE_ANOTHER_WAY = ("exact", "normalised", "numeric", "json", "contains", "python")


def gold_warnings(spec: JobSpec, seen: Mapping[bytes, int]) -> tuple[str, ...]:
    """Warn of right answers that are none of the declared choices, a complete sentence each.

    Args:
        seen: Right answers of the rows, as text in UTF-8 -> how many rows have it.
    """
    choices = spec.output.choices
    if choices is None or (spec.check or "").partition(":")[0].strip() in _COMPARE_ANOTHER_WAY:
        return ()
    judge = make_judge(spec.output, None)
    given = {gold: rows for raw, rows in seen.items() if (gold := raw.decode()).strip()}
    unfit = {
        gold: rows
        for gold, rows in given.items()
        if judge.judge(choices[0], gold).matches_gold is None
    }
    if not unfit:
        return ()
    shown = [repr(gold[:60]) for gold in sorted(unfit, key=lambda gold: -unfit[gold])[:_SHOWN]]
    more = ", …" if len(unfit) > _SHOWN else ""
    rows, of = sum(unfit.values()), sum(given.values())
    text = (
        f"The gold column {spec.gold!r} holds {rows:,} of {counted(of, 'right answer')} that are none of the"
        f" choices of the output ({', '.join(shown)}{more}): nothing is learnt from them."
    )
    return (text,)
