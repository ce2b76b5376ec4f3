"""`cascade-batch provider`: a scripted provider to try jobs on, with a bill to hold against."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("provider")
@click.option(
    "--script",
    "script_path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    show_envvar=True,
    help="Read models, prices, answers and faults from this YAML or JSON file.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    show_envvar=True,
    help="Listen on this address.",
)
@click.option(
    "--port",
    default=0,
    show_default=True,
    show_envvar=True,
    type=click.IntRange(0, 65535),
    help="Listen on this port; 0 takes any that is free.",
)
def provider(script_path: Path, host: str, port: int) -> None:
    """Serve a script as an OpenAI-compatible (and Anthropic) provider.

    Prints one line of JSON when it is ready: `url` is the base_url of a tier, `bill` says what was
    billed. Answers, prices, latencies, limits and faults come from the script; nothing leaves this
    machine and nothing costs money. Stops on SIGTERM and Ctrl-C.

    \b
    Example:
      cascade-batch provider --script provider.yaml --port 8099
    """
    from cascade_batch.providers.scripted import serve

    serve(script_path, host=host, port=port, announce=click.echo)
