"""What a chunk buys for its rows: a tier's answer, another one of it, or a judge's verdict on one.

A purchase knows the question, the most that asking it can cost, and what to store of the reply. Everything
else (leases, reservations, retries, losses) is the same for all.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from cascade_batch.domain.answer import Answer, Judgement, Reply, Signals, Verdict
from cascade_batch.domain.job import Output
from cascade_batch.domain.money import MAX_BUDGET_NANOUSD
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.text import clean_text
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.chunk_rows import RowTask
from cascade_batch.engine.context import JobContext
from cascade_batch.errors import CascadeError
from cascade_batch.ledger import Lease
from cascade_batch.prompts import judge_prompt
from cascade_batch.providers import Providers, worst_case_nanousd
from cascade_batch.quality import YES_NO, read_word, signals_of, value_key, with_stated_confidence

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Bound:
    """Rows whose worst case is known, and those that can't be asked: row number and reason."""

    tasks: deque[RowTask]
    refusals: list[tuple[int, str]] = field(default_factory=list)


class Purchase(Protocol):
    """See the module."""

    def bound(self, tasks: deque[RowTask], providers: Providers) -> Bound:
        """Find the rows' worst cases, where they are not known yet."""
        ...

    def question(self, task: RowTask) -> tuple[Prompt, Output]:
        """What the tier is asked, and what its reply has to look like.

        Raises:
            PromptError: The prompt can't be made.
        """
        ...

    def bought(self, task: RowTask, reply: Reply) -> Answer | Verdict:
        """What is stored of a reply. Never fails: it is paid for."""
        ...


def make_purchase(context: JobContext, lease: Lease) -> Purchase:
    """What the chunk under this lease buys."""
    if lease.judged_tier_no is not None:
        return _Verdicts(context, lease.tier_no, lease.judged_tier_no)
    return _Answers(context, lease.tier_no, lease.sample_no)


@dataclass(frozen=True, slots=True)
class _Answers:
    """A tier's answers: the first ones, or what it says when it is asked again."""

    context: JobContext
    tier_no: int
    sample_no: int

    def bound(self, tasks: deque[RowTask], providers: Providers) -> Bound:  # noqa: ARG002
        """They are stored with the rows."""
        return Bound(tasks)

    def question(self, task: RowTask) -> tuple[Prompt, Output]:
        """The row's prompt."""
        return self.context.makers[self.tier_no].prompt_for(task.fields), self.context.spec.output

    def bought(self, task: RowTask, reply: Reply) -> Answer:
        """The answer, judged as far as that can be done here."""
        text = clean_text(reply.text)
        judgement, signals, key = self._judged(task, text, reply)
        return Answer(
            row_no=task.row_no,
            tier_no=self.tier_no,
            text=text,
            value=judgement.value,
            passed=judgement.passed,
            error=judgement.error,
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            cost_nanousd=_cost(self.context.spec.tiers[self.tier_no], task, reply),
            latency_ms=reply.latency_ms,
            signals=signals,
            matches_gold=judgement.matches_gold,
            value_key=key,
            sample_no=self.sample_no,
        )

    def _judged(self, task: RowTask, text: str, reply: Reply) -> tuple[Judgement, Signals, int]:
        context = self.context
        output = context.spec.output
        try:
            judgement = context.judge.judge(
                text, task.gold, finish_reason=reply.finish_reason, refusal=reply.refusal
            )
            key = value_key(judgement.value, text, output) if judgement.has_value else 0
            signals = with_stated_confidence(signals_of(reply, output), judgement.value, output)
            return judgement, signals, key
        except (Exception, SystemExit) as error:
            # Whatever is wrong with the judge, the text is kept.
            logger.exception("an answer to row %s of %s can't be judged", task.row_no, context.name)
            reason = f"the answer can't be judged: {type(error).__name__}: {error}"
            return Judgement(None, None, clean_text(reason), has_value=False), Signals(), 0


@dataclass(frozen=True, slots=True)
class _Verdicts:
    """A judge's verdicts on the answers of another tier, or of its own."""

    context: JobContext
    tier_no: int
    judged_tier_no: int

    def bound(self, tasks: deque[RowTask], providers: Providers) -> Bound:
        """From the requests, whose bytes are known now that the answers are."""
        bound = Bound(deque())
        for task in tasks:
            try:
                task.want.worst_nanousd = self._worst_nanousd(task, providers)
            except Exception as error:
                said = error.message if isinstance(error, CascadeError) else str(error)
                bound.refusals.append((task.row_no, f"the judge can't be asked: {said}"))
            else:
                bound.tasks.append(task)
        return bound

    def question(self, task: RowTask) -> tuple[Prompt, Output]:
        """Whether the answer is right for what its tier was asked."""
        asked = self.context.makers[self.judged_tier_no].prompt_for(task.fields)
        return judge_prompt(asked, task.judged_text or ""), YES_NO

    def bought(self, task: RowTask, reply: Reply) -> Verdict:
        """The judge's word."""
        word = read_word(reply)
        return Verdict(
            row_no=task.row_no,
            tier_no=self.judged_tier_no,
            judge_tier_no=self.tier_no,
            passed=word.passed,
            probability=word.probability,
            text=clean_text(reply.text),
            error=None if word.error is None else clean_text(word.error),
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            cost_nanousd=_cost(self.context.spec.tiers[self.tier_no], task, reply),
            latency_ms=reply.latency_ms,
        )

    def _worst_nanousd(self, task: RowTask, providers: Providers) -> int:
        tier = self.context.spec.tiers[self.tier_no]
        prompt, output = self.question(task)
        size = len(providers.request_body(tier, prompt, output))
        worst = worst_case_nanousd(tier, size, text_only=prompt.text_only)
        if worst > MAX_BUDGET_NANOUSD:
            raise CascadeError("it could cost more than any budget.")
        return worst


def _cost(tier: Tier, task: RowTask, reply: Reply) -> int:
    """What the call cost; its worst case where the server does not say."""
    if reply.usage is None:
        return task.want.worst_nanousd
    return tier.bound_price.cost_nanousd(reply.usage, reply.latency_ms / 1000)


def least_tried_first(
    tasks: Iterable[RowTask], context: JobContext, lease: Lease
) -> deque[RowTask]:
    """Rows that a server at fault sent back come after the others: the few calls that an outage lets
    through should not always be theirs."""
    if not context.tries:
        return deque(tasks)
    ordered = list(tasks)
    for task in ordered:
        task.tries = context.tries.get((task.row_no, lease.buys), 0)
    return deque(sorted(ordered, key=lambda task: task.tries))
