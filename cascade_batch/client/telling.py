"""What stands out about a job, in sentences, and the call of Python that does something about it."""

from __future__ import annotations

from cascade_batch.client.progress import Progress, money_text, rows_text, unfit_text, usd_text
from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobState

AGAIN = "submit all of its data again under another name: what it bought is taken over"
"""What to do about a job whose data set was never read to its end."""
_GO_ON = "job.resume() goes on with what is not done"


def advice(progress: Progress) -> list[str]:
    """What is not well with a job that does nothing by itself, and what to call; a clause each."""
    if progress.reading and progress.is_over:
        return [AGAIN]
    if progress.status is JobState.FAILED:
        return ["once that is mended, job.resume() goes on"]
    if progress.status in (JobState.PAUSED, JobState.CANCELLED):
        return [_GO_ON]
    if not progress.is_over:
        return []
    said = []
    if unfunded := progress.rows_unfunded:
        said.append(
            f"the money ran out before {counted(unfunded, 'row')} had an answer: job.add_budget(usd) goes on"
        )
    if failed := progress.rows_failed - progress.rows_unfunded:
        once = "it" if failed == 1 else "them"
        said.append(
            f"{counted(failed, 'row')} failed: job.errors() says why, job.retry() asks {once} once more"
        )
    if progress.rows_unfit:
        said.append(
            f"{unfit_text(progress.rows_unfit)}; job.results() says why in its column error"
        )
    return said


def as_sentence(clause: str) -> str:
    """The clause by itself."""
    return f"{clause[0].upper()}{clause[1:]}."


def job_text(progress: Progress) -> str:
    """A job at a glance, a line for each thing that there is to say."""
    rest = progress.rest
    reason = f" ({progress.reason})" if progress.reason and not rest else ""
    quality = "" if progress.quality is None else f", quality {progress.quality:.3f}"
    lines = [
        ("Job", f"{progress.job}: {progress.status}{reason}"),
        ("Rows", f"{rows_text(progress)}{quality}"),
        ("Money", money_text(progress)),
        *([("Left", rest)] if rest else []),
        *(("Tier", _tier_text(progress, place)) for place in range(len(progress.tiers))),
        *(("Now", text) for text in progress.pace_texts()),
        *(("Next", as_sentence(clause)) for clause in advice(progress)),
    ]
    return "\n".join(f"{title:6} {text}" for title, text in lines)


def _tier_text(progress: Progress, place: int) -> str:
    tier = progress.tiers[place]
    stopped = f"; stopped: {tier.stopped}" if tier.stopped else ""
    return f"{tier.name}: {tier.answers:,} answers for {usd_text(tier.spent_usd)}{stopped}"
