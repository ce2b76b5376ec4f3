"""`cascade-batch worker`: work on the chunks of some tiers."""

from __future__ import annotations

import click

from cascade_batch.cli.frame import Command
from cascade_batch.client.services import own_settings
from cascade_batch.errors import UsageError


@click.command(cls=Command)
@click.option("--tiers", metavar="NAME,NAME", default="", help="Serve these tiers.")
@click.option("--control", is_flag=True, help="Serve the planner's queue.")
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Run so many processes; each keeps as many calls in flight as the tiers' limits allow.",
)
@click.option("--name", metavar="NAME@%h", help="Go by this name in Flower; %h is the host's.")
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
    default="INFO",
    show_default=True,
    help="Log what is at least so important.",
)
def worker(tiers: str, control: bool, concurrency: int, name: str | None, log_level: str) -> None:
    """Work on chunks of the named tiers, until stopped.

    A first SIGTERM lets calls in flight settle. The tiers' keys are read from the environment here.

    \b
    Examples:
      cascade-batch worker --tiers small,large
      cascade-batch worker --control
    """
    served = [part.strip() for part in tiers.split(",") if part.strip()]
    if not served and not control:
        raise UsageError(
            "A worker needs something to serve.",
            hint="Name tiers, as in `--tiers small,large`, or --control for the planner.",
        )
    ready = own_settings()
    from cascade_batch.dispatch.app import make_app
    from cascade_batch.dispatch.worker import run_worker

    run_worker(
        make_app(ready.redis_url or ""),
        tiers=served,
        control=control,
        concurrency=concurrency,
        name=name,
        log_level=log_level.upper(),
    )
