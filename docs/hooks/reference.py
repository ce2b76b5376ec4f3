"""The pages of the reference that are made of the code.

They are committed, so that they can be read in a checkout. A test says when one is stale, and
`make docs-reference` writes them anew.
"""

from __future__ import annotations

import dataclasses
import html
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from docstrings import python_page, script_page

from cascade_batch.cli.main import COMMANDS, cli
from cascade_batch.engine.json_schemas import SchemaName, file_schema
from cascade_batch.settings import Settings

ROOT = Path(__file__).parents[2]

_OTHER_VARIABLES = {
    "CASCADE_DEBUG": "Tracebacks, and everything is logged; as the option `--debug`.",
    "CASCADE_NOTIFY_SECRET": "The secret that messages are signed with, where a job names no other.",
    "CASCADE_NOTIFY_ALLOW": """Hosts that messages may go to although they are not public or not
        reached over https, see [Notifications](../notifications.md). Needed where you submit and where
        the sweeper runs.""",
    "OTEL_EXPORTER_OTLP_ENDPOINT, …": """Where traces go, see [Monitoring](../monitoring.md). Needed where
        workers run.""",
    "CASCADE_GGUF_THREADS": "Threads of a local model. Not set: half of the machine's cores.",
    "NO_COLOR": "Set to anything: no colours.",
    "OPENAI_API_KEY, ANTHROPIC_API_KEY, …": """The providers' keys, by the names that tiers give in
        `api_key_env`. Needed where workers run.""",
}
_COMMANDS_HEAD = """\
# Commands

All commands with their options, as `cascade-batch COMMAND --help` has them. Data goes to standard output,
everything else to standard error.
Every option has an environment variable; an option wins over its variable.
"""
_SETTINGS_HEAD = """\
# Settings

What is set by environment variables. Without any of them, the embedded stack serves, in `CASCADE_HOME`.
Options of commands have variables, too: [Commands](commands.md).

| variable | | default |
|---|---|---|"""
_FILE_HEAD = """\
{about} Have an editor complete and check it: [Editors](../editors.md). As JSON schema:
[{kind}.json](../../cascade_batch/schemas/{kind}.json), or `cascade-batch schema {kind}`.
"""


def reference_pages() -> dict[str, str]:
    """All of them, by their names in docs/reference."""
    return {
        "commands.md": commands_page(),
        "job-file.md": schema_page("job"),
        "tiers-file.md": schema_page("tiers"),
        "settings.md": settings_page(),
        "provider-script.md": script_page(),
        "python.md": python_page(),
    }


def commands_page() -> str:
    """All commands with their options, as their help says it."""
    lines = [_COMMANDS_HEAD]
    context = click.Context(cli, info_name="cascade-batch")
    for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
        lines.append(f"## {section}\n")
        for name, entry in COMMANDS.items():
            if entry.section == section:
                lines += _command(_called(cli, context, name), context, name)
    return "\n".join(lines)


def _called(group: click.Group, context: click.Context, name: str) -> click.Command:
    command = group.get_command(context, name)
    if command is None:
        raise LookupError(f"there is no command {name}")
    return command


def _command(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, parent, name)
    yield f"### `{context.command_path.removeprefix('cascade-batch ')}`\n"
    yield f"```text\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield _prose(command.help or command.short_help or "")
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        yield "| option | | variable |\n|---|---|---|"
        for option in options:
            yield _option_line(option, context)
        yield ""
    if isinstance(command, click.Group):
        for part in command.list_commands(context):
            yield from _command(_called(command, context, part), context, part)


def _option_line(option: click.Option, context: click.Context) -> str:
    shown, text = option.get_help_record(context) or ("", "")
    text = re.sub(r"\s*\[(?:[^\]]*env var: ?)([\w, ]+?)(; [^\]]*)?\]", r"", text)
    variable = option.envvar
    if not isinstance(variable, str):
        path = "_".join([*context.command_path.split()[1:], option.name or ""])
        variable = "CASCADE_" + path.replace("-", "_").upper()
    return f"| {_option(shown)} | {_cell(text)} | `{variable}` |"


def _option(shown: str) -> str:
    """An option's names and its values; a list of these in words, for narrow columns to break between."""
    names, _, values = shown.partition(" [")
    if not values:
        return _code(shown)
    return f"`{names}` " + ", ".join(f"`{value}`" for value in values.removesuffix("]").split("|"))


def _code(text: str) -> str:
    """Code in a table. GitHub takes a bar for the end of a cell, also in code between backquotes."""
    return (
        f"<code>{html.escape(text).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"
    )


def _prose(text: str) -> str:
    """Help as Markdown: examples, which stand behind a mark, as code."""
    parts = []
    for part in inspect.cleandoc(text).split("\n\n"):
        if part.startswith("\b"):
            heading, _, code = part.lstrip("\b\n").partition("\n")
            parts.append(f"{heading}\n\n```text\n{textwrap.dedent(code)}\n```")
        else:
            parts.append(part)
    return "\n\n".join(parts) + "\n"


def schema_page(kind: SchemaName) -> str:
    """The keys of a kind of file."""
    schema = file_schema(kind)
    title = "The job file" if kind == "job" else "The tiers file"
    other = "tiers-file.md" if kind == "job" else "job-file.md"
    head = _FILE_HEAD.format(about=schema["description"], kind=kind)
    lines = [f"# {title}\n", head]
    if kind == "job":
        lines += [f"Tiers have [a page of their own]({other}).\n", *_keys("", schema)]
        shown = [name for name in schema["$defs"] if name in ("Output", "NotifyTarget")]
    else:
        shown = ["Tier", *(name for name in schema["$defs"] if name != "Tier")]
    headings = {
        "Output": "`output`",
        "NotifyTarget": "`notify`",
        "Tier": "An entry of `tiers`",
        "TierPrice": "`price`",
        "Limits": "`limits`",
    }
    for name in sorted(shown, key=list(headings).index):
        lines += _keys(headings[name], schema["$defs"][name])
    return "\n".join(lines)


def _keys(heading: str, schema: dict[str, Any]) -> Iterator[str]:
    if heading:
        yield f"## {heading}\n"
        yield f"{schema['description']}\n"
    yield "| key | | values | default |\n|---|---|---|---|"
    for key, field in schema["properties"].items():
        default = f"`{json.dumps(field['default'])}`" if field.get("default", "") != "" else ""
        text = field["description"] + (
            " **Required.**" if key in schema.get("required", ()) else ""
        )
        yield f"| `{key}` | {_cell(text)} | {_cell(_values(field))} | {_cell(default)} |"
    yield ""


def _values(field: dict[str, Any]) -> str:
    """What a field takes, in a few words."""
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        said = [_values(part) for part in field["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(said))
    if "$ref" in field:
        return "a list of tiers" if field["$ref"].endswith("/Tiers") else "a mapping, see below"
    kinds = field.get("type", "anything")
    words = {"object": "a mapping", "array": "a list", "string": "text", "boolean": "true, false"}
    words |= {"integer": "a whole number", "number": "a number"}
    return " or ".join(
        words.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)
    )


def settings_page() -> str:
    """The environment variables that are no options."""
    doc = inspect.getdoc(Settings) or ""
    texts = dict(
        re.findall(r"^    (\w+): (.+(?:\n        .+)*)", doc.partition("Attributes:")[2], re.M)
    )
    lines = [_SETTINGS_HEAD]
    for field in dataclasses.fields(Settings):
        is_given = field.default is not dataclasses.MISSING and field.default not in (None, ())
        default = f"`{field.default}`" if is_given else ""
        if field.name == "home":
            default = "the platform's folder for a user's data"
        text = " ".join(texts[field.name].split()).replace("None:", "not set:")
        lines.append(f"| `CASCADE_{field.name.upper()}` | {_cell(text)} | {default} |")
    for name, text in _OTHER_VARIABLES.items():
        shown = ", ".join(f"`{part}`" if part != "…" else part for part in name.split(", "))
        lines.append(f"| {shown} | {_cell(text)} | |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A text that can stand in a table: on one line, and without bars."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
    parts[1::2] = [_code(part) for part in parts[1::2]]
    return "".join(parts)


if __name__ == "__main__":
    for page, content in reference_pages().items():
        (ROOT / "docs" / "reference" / page).write_text(content, "utf-8")
