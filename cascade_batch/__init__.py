"""cascade-batch: run language models over data sets inside a hard budget.

From Python, pandas in and pandas out:

    job = cascade_batch.submit(df, prompt="… {{ headline }}", tiers="tiers.yaml", budget=5)
    answers = df.join(job.wait().results())

`submit` stores a job, whose rows workers answer by themselves; `job` and `jobs` find it again from any
process. Importing the package is quick: what a name needs is imported when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade_batch.client.audit import AtRisk, Audit
    from cascade_batch.client.changes import AddedBudget, RetriedRows
    from cascade_batch.client.estimate import estimate
    from cascade_batch.client.finding import job, jobs
    from cascade_batch.client.job import Job
    from cascade_batch.client.progress import Progress, TierProgress
    from cascade_batch.client.submit import submit
    from cascade_batch.domain.job import JobState, Output
    from cascade_batch.domain.tier import Tier
    from cascade_batch.errors import CascadeError, JobWarning

__version__ = "0.1.0"

__all__ = [
    "AddedBudget",
    "AtRisk",
    "Audit",
    "CascadeError",
    "Job",
    "JobState",
    "JobWarning",
    "Output",
    "Progress",
    "RetriedRows",
    "Tier",
    "TierProgress",
    "__version__",
    "estimate",
    "job",
    "jobs",
    "submit",
]

_PLACES = {
    "AddedBudget": "client.changes",
    "AtRisk": "client.audit",
    "Audit": "client.audit",
    "CascadeError": "errors",
    "Job": "client.job",
    "JobState": "domain.job",
    "JobWarning": "errors",
    "Output": "domain.job",
    "Progress": "client.progress",
    "RetriedRows": "client.changes",
    "Tier": "domain.tier",
    "TierProgress": "client.progress",
    "estimate": "client.estimate",
    "job": "client.finding",
    "jobs": "client.finding",
    "submit": "client.submit",
}


def __getattr__(name: str) -> object:
    """Import what a name needs, once."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What there is, whether it was used already or not."""
    return sorted({*globals(), *_PLACES})
