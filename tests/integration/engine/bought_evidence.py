"""Chunks that buy evidence, put into the table as the planner would."""

from __future__ import annotations

from typing import Any

from tests.integration.engine.bench import Bench

SAID = r"<<<ANSWER \w+>>>\n(?:{})\n<<<END OF ANSWER"
"""What a judge finds in its prompt, to be filled with a pattern of the answer."""


def judge(**more: Any) -> dict[str, Any]:
    """A scripted judge, at 10 and 20 USD per million tokens, that likes even numbers at the end of an answer,
    and is quite sure. Asked about a row, it says "sure"."""
    even, odd = SAID.format("[^\n]*[02468]"), SAID.format("[^\n]*[13579]")
    sure = {"logprob": -0.1, "output_tokens": 1}
    return {
        "answers": [
            {"match": even, "text": "yes", "top_logprobs": {"no": -2.4}, **sure},
            {"match": odd, "text": "no", "top_logprobs": {"yes": -2.4}, **sure},
            {"match": "ANSWER", "text": "perhaps"},
            {"text": "sure"},
        ],
        "price": {"input": "10", "output": "20"},
        **more,
    }


def release(
    bench: Bench,
    job: str,
    tier_no: int,
    rows: list[int],
    *,
    sample_no: int = 0,
    judged_tier_no: int | None = None,
) -> None:
    """Insert a chunk: a second sample, or a judge's, or (with neither) one of answers."""
    action = 2 if judged_tier_no is not None else 1 if sample_no else 0
    bench.execute(
        "INSERT INTO cascade_store.chunk (job_id, tier_no, tier_name, wave, row_from, row_to, row_nos,"
        " row_count, action, sample_no, judged_tier_no)"
        " SELECT t.job_id, t.tier_no, t.name, 1, :low, :high, :rows, :count, :action, :sample, :judged"
        "   FROM cascade_store.job_tier t WHERE t.job_id = :job AND t.tier_no = :tier",
        job=bench.job_id(job),
        tier=tier_no,
        low=min(rows),
        high=max(rows) + 1,
        rows=rows,
        count=len(rows),
        action=action,
        sample=sample_no,
        judged=judged_tier_no,
    )


def verdicts(bench: Bench, job: str) -> list[tuple[Any, ...]]:
    """(row_no, judged tier, judge, passed, probability, what the judge said, error) in order."""
    return bench.all(
        "SELECT row_no, tier, judge, passed, probability, verdict, error FROM cascade.verdicts"
        " WHERE job = :job ORDER BY row_no, tier",
        job=job,
    )
