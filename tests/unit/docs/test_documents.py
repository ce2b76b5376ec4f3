"""What the documentation tells to write and to type is what the program takes."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

import cascade_batch
from cascade_batch.cli.main import cli
from cascade_batch.engine.json_schemas import SchemaName, file_schema
from cascade_batch.engine.yaml_source import YamlSource
from cascade_batch.providers.scripted import script_from
from tests.documents import PAGES, ROOT, Block, blocks, command_lines

_PAGES = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
_OF_OTHERS = frozenset({"services", "apiVersion", "scrape_configs", "groups", "receivers"})
"""Keys of YAML files that belong to other programs."""


def parse(arguments: list[str]) -> None:
    """Have a command's parser look at its arguments; nothing is run."""
    command: click.Command = cli
    context = click.Context(cli, info_name="cascade-batch")
    while isinstance(command, click.Group):
        _, rest, _ = command.make_parser(context).parse_args(list(arguments))
        if not rest:
            return
        name, *arguments = rest
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"there is no command {name}")
        command, context = found, click.Context(found, context, info_name=name)
    options, rest, _ = command.make_parser(context).parse_args(list(arguments))
    if rest:
        raise click.UsageError(f"too many arguments: {rest}")
    for parameter in command.params:
        given = options.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and isinstance(given, str) and given.islower():
            parameter.type.convert(given, parameter, context)


@_PAGES
def test_commands_exist_with_their_options(page: Any) -> None:
    wrong = []
    for where, arguments in command_lines(page):
        if arguments and arguments[0].isupper():  # as in "cascade-batch COMMAND --help"
            continue
        try:
            parse([argument for argument in arguments if argument != "…"])
        except click.exceptions.NoArgsIsHelpError:
            pass
        except click.ClickException as error:
            wrong.append(f"{where}: cascade-batch {' '.join(arguments)}: {error.format_message()}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "arguments",
    [["submit", "--budgett", "5"], ["tiers", "chek"], ["nothing"], ["status", "a", "b"]],
)
def test_commands_that_do_not_exist_are_found(arguments: list[str]) -> None:
    with pytest.raises(click.ClickException):
        parse(arguments)


def faults_of(block: Block) -> list[str]:
    """What is wrong with a YAML block as the kind of file that it is, by its keys."""
    value = YamlSource(block.body, block.where).value
    if isinstance(value, list):
        value = {"tiers": value}
    assert isinstance(value, dict), block.where
    if _OF_OTHERS & set(value):
        return []
    if "models" in value:
        script_from(value)
        return []
    is_tiers = len(value) == 1 and isinstance(value.get("tiers"), list)
    kind: SchemaName = "tiers" if is_tiers else "job"
    schema = file_schema(kind)
    if not set(value) & set(schema["properties"]):  # some keys of a tier
        schema = {
            **schema["$defs"]["Tier"],
            "$defs": schema["$defs"],
            "required": [],
            "anyOf": [{}],
        }
    errors = jsonschema.Draft7Validator(schema).iter_errors(value)
    return [f"{block.where}: {'.'.join(map(str, error.path))}: {error.message}" for error in errors]


@_PAGES
def test_yaml_is_what_the_readers_of_files_take(page: Any) -> None:
    wrong: list[str] = []
    for block in blocks(page):
        if block.language == "yaml":
            try:
                wrong += faults_of(block)
            except (yaml.YAMLError, ValueError) as error:
                wrong.append(f"{block.where}: {error}")
    assert not wrong, "\n".join(wrong)


@_PAGES
def test_python_compiles(page: Any) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(block.body, block.where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_blocks_are_found_with_their_language_and_title() -> None:
    found = [block for page in PAGES for block in blocks(page)]
    assert sum(block.language == "bash" for block in found) > 10
    assert sum(block.language == "yaml" for block in found) > 15
    assert {"tiers.yaml", "job.yaml"} <= {block.title for block in found}
    assert sum(len(list(command_lines(page))) for page in PAGES) > 80


def test_the_reference_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    pages = importlib.import_module("reference").reference_pages()
    stale = [
        name
        for name, text in pages.items()
        if (ROOT / "docs" / "reference" / name).read_text("utf-8") != text
    ]
    assert not stale, f"write docs/reference anew by `make docs-reference`, and commit it: {stale}"


def test_the_python_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text("utf-8")
    missing = [name for name in cascade_batch.__all__ if f"\n### `{name}`\n" not in page]
    assert missing == ["__version__"]


def anchors_of(page: Path) -> set[str]:
    """What can stand after `#` in a link to a page, for GitHub and for the site."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", prose, re.M)
    return {re.sub(r"[^\w -]", "", one.lower()).strip().replace(" ", "-") for one in headings}


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere_in_a_checkout(page: Path) -> None:
    dead = []
    prose = re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors_of(found)):
            dead.append(target)
    assert not dead


@_PAGES
def test_tables_have_their_columns_on_github(page: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    for table in re.findall(r"(?:^\|.*\n)+", prose, re.M):
        # A bar ends a cell there also between backquotes.
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        wrong = [line for line, n in zip(table.splitlines(), cells, strict=True) if n != cells[0]]
        assert not wrong


def pages_of(navigation: Any) -> list[str]:
    """The pages that a part of the navigation names, in its order."""
    if isinstance(navigation, str):
        return [navigation]
    parts = navigation.values() if isinstance(navigation, dict) else navigation
    return [page for part in parts for page in pages_of(part)]


def test_every_page_is_in_the_navigation_once() -> None:
    listed = pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")]
    pages += [path.relative_to(ROOT).as_posix() for path in ROOT.glob("jobs/**/README.md")]
    assert [page for page in pages if page not in listed] == []
    assert len(set(listed)) == len(listed)


def test_pictures_are_small_are_described_and_load_nothing() -> None:
    shown = []
    for page in PAGES:
        for text, target in re.findall(r"!\[(.*?)\]\((.*?)\)", page.read_text("utf-8")):
            assert len(text) > 40, f"{page}: {target} has no description"
            shown.append((page.parent / target).resolve())
    assets = ROOT / "docs" / "assets"
    assert {path for path in assets.iterdir() if path.suffix in (".svg", ".png")} == set(shown)
    for picture in shown:
        assert picture.stat().st_size < 200_000
        if picture.suffix == ".svg":
            assert not re.search(r"url\([\"']?http|href=[\"']http", picture.read_text("utf-8"))


def test_the_search_works_in_a_folder_and_takes_nothing_from_elsewhere() -> None:
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert "offline" in configuration["plugins"]
    # Where there is none whose name says so, the plugin has pages load one from elsewhere.
    (worker,) = [path for path in configuration["extra"]["polyfills"] if "iframe-worker" in path]
    assert (ROOT / "docs" / worker).is_file()
