"""What comes next for a job, in a line."""

from __future__ import annotations

import shlex

from cascade_batch.domain.job import JobState


def next_step(name: str, state: JobState) -> str:
    """What to do about a job in this state, and the command that does it."""
    quoted = shlex.quote(name)
    if state in (JobState.QUEUED, JobState.RUNNING):
        return f"Follow it:  cascade-batch watch {quoted}"
    if state is JobState.FINISHED:
        return f"See the answers:  cascade-batch results {quoted}"
    return f"It is {state}; go on with it:  cascade-batch resume {quoted}"
