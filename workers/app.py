"""Celery's entry point, for those who start workers by `celery -A workers.app worker`.

Needs CASCADE_DATABASE_URL and CASCADE_REDIS_URL; `cascade-batch worker` is the shorter way.
"""

from cascade_batch.dispatch.app import make_app
from cascade_batch.errors import UsageError
from cascade_batch.settings import settings

if settings().redis_url is None:
    raise UsageError(
        "CASCADE_REDIS_URL is not set.",
        hint="Set it and CASCADE_DATABASE_URL, or use `cascade-batch up` for the embedded stack.",
    )
app = make_app(settings().redis_url or "")
