"""`cascade-batch schema`: the JSON schema of job or tiers files, for editors."""

from __future__ import annotations

from typing import Literal

import click

from cascade_batch.cli.frame import Command


@click.command(cls=Command)
@click.argument("kind", type=click.Choice(["job", "tiers"]))
def schema(kind: Literal["job", "tiers"]) -> None:
    """Print the JSON schema of job files or tiers files.

    An editor that knows it completes keys, shows what they mean, and marks what does not fit.

    \b
    Use it with an editor that has a YAML language server:
      cascade-batch schema job > job.schema.json
      and as the first line of job.yaml:  # yaml-language-server: $schema=job.schema.json
    """
    import json

    from cascade_batch.engine.json_schemas import file_schema

    click.echo(json.dumps(file_schema(kind), indent=2, ensure_ascii=False))
