"""Following a job until it is over, and the exit code that says how it ended."""

from __future__ import annotations

import shlex

from cascade_batch.cli.frame import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OUT_OF_MONEY, say, warn
from cascade_batch.cli.progress import follow
from cascade_batch.client.looking import glancer, looker
from cascade_batch.client.pace import Status
from cascade_batch.client.services import Services
from cascade_batch.domain.counting import counted
from cascade_batch.domain.job import JobState


def follow_job(service: Services, name: str) -> tuple[int, Status | None]:
    """Show the job's progress on standard error until it is over, or Ctrl-C is pressed.

    Returns:
        The exit code, and the last status (None if interrupted).

    Raises:
        JobNotFoundError: There is no such job.
    """
    from sqlalchemy.exc import OperationalError

    from cascade_batch.store.engine import make_engine

    quoted = shlex.quote(name)
    # Two connections a second are work for the server, too.
    engine = make_engine(service.settings.database_url or "", pooled=True, after_pauses=True)
    try:
        last = follow(looker(engine, name), is_unchanged=glancer(engine))
    except KeyboardInterrupt:
        say(
            f"\nJob {name!r} goes on without this command."
            f"\nFollow it:  cascade-batch watch {quoted}"
            f"\nStop it:    cascade-batch cancel {quoted}"
        )
        return EXIT_INTERRUPTED, None
    except OperationalError:
        say(f"Nothing is lost. When it is back, follow the job:  cascade-batch watch {quoted}")
        raise
    finally:
        engine.dispose()
    return exit_code(last), last


def exit_code(status: Status) -> int:
    """0 done, 1 failed or cancelled, 3 out of money; says on standard error what is not well."""
    name, state, rows = status["name"], status["status"], status["rows"]
    quoted = shlex.quote(name)
    if state != JobState.FINISHED:
        because = f": {status['reason']}" if status["reason"] else ""
        warn(f"Job {name!r} is {state}{because}")
        if status["reading"]:
            say(f"See what was answered:  cascade-batch results {quoted}")
        else:
            say(f"Go on with it:  cascade-batch resume {quoted}")
        return EXIT_FAILED
    if rows["failed"]:
        say(f"{counted(rows['failed'], 'row')} failed; see why:  cascade-batch errors {quoted}")
    if rows["unfunded"]:
        warn(f"The money ran out before {counted(rows['unfunded'], 'row')} had an answer.")
        say(f"Go on with more:  cascade-batch budget {quoted} --add USD")
        return EXIT_OUT_OF_MONEY
    return 0
