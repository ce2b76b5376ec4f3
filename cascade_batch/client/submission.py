"""From a job that was read and checked to one that is stored, with its workers woken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascade_batch.client.services import Services
from cascade_batch.engine.names import unused_name
from cascade_batch.engine.submit import Submission, submit_job
from cascade_batch.errors import JobExistsError

if TYPE_CHECKING:
    from cascade_batch.engine.row_bounds import Reader
    from cascade_batch.engine.spec_files import JobRequest


def store_job(
    service: Services,
    request: JobRequest,
    read: Reader,
    *,
    on_start: Callable[[str], None] | None = None,
) -> Submission:
    """Store a job under its name, or a name like the one made from its data's, and wake its workers.

    Args:
        read: Reads the data set; nothing is read before the job has its name.
        on_start: Called with that name if drafting begins before all is read.

    Raises:
        JobExistsError: The name was chosen by the user, and is taken.
        BudgetError: The budget can't answer every row at worst case on its cheapest tier.
        DataError: A row can't be asked; names its place.
    """
    spec = request.spec
    publisher = service.publisher()
    while True:
        if not request.name_is_explicit:
            with service.engine.connect() as connection:
                spec = spec.model_copy(update={"name": unused_name(connection, request.spec.name)})
        try:
            if request.start_early:
                from cascade_batch.engine.early_start import submit_early

                submission = submit_early(service.engine, spec, read, publisher, on_start=on_start)
            else:
                submission = submit_job(service.engine, spec, read)
        except JobExistsError:
            # The name is looked at before the first record is read, so nothing is lost.
            if request.name_is_explicit:
                raise
            continue
        break
    if submission.notices:
        publisher.publish_chunks(submission.notices)
    else:
        publisher.publish_plan(submission.name)
    return submission
