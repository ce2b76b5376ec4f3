"""The blocks of code in the documentation, for the tests that hold them against the program."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("jobs/**/*.md")))

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?: title=(?P<quote>[\"']?)(?P<title>\S+?)(?P=quote))?\n"
    r"(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_INDENTED = re.compile(r"(?:^    .*\S.*\n)+", re.MULTILINE)
_INLINE = re.compile(r"`(cascade-batch [^`\n]+)`")
PROGRAM = "cascade-batch"
_TOKEN = re.compile(
    r"[^\S\n]*(?:(?P<other>(?:^|(?<=\s))\#[^\n]*|\n|[|&;()<>]+)"
    r"|(?P<word>(?:'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|[^\s'\"|&;()<>])+))"
)
"""A word of a shell, quotes and all; or what ends a command."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it says it is (`title`), and where it stands."""

    language: str
    title: str | None
    body: str
    where: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text("utf-8")
    for found in _BLOCK.finditer(text):
        line_no = text.count("\n", 0, found.start()) + 1
        where = f"{page.relative_to(ROOT)}:{line_no}"
        yield Block(found["language"], found["title"], dedent(found["body"]), where)


def command_lines(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Where a page tells to type `cascade-batch`, and the arguments that it tells to give."""
    for block in blocks(page):
        if block.language in ("bash", "console"):
            for arguments in _calls(block.body):
                yield block.where, arguments
    text = page.read_text("utf-8")
    prose = _BLOCK.sub("", text)
    for found in _INDENTED.finditer(prose):
        for arguments in _calls(dedent(found[0])):
            yield str(page.relative_to(ROOT)), arguments
    for found in _INLINE.finditer(prose):
        for arguments in _calls(found[1].replace("…", "")):
            yield str(page.relative_to(ROOT)), arguments


def _calls(script: str) -> Iterator[list[str]]:
    # What stands in "$(…)" is a command, too.
    for inner in re.findall(r"\"\$\(([^)\"]+)\)\"", script):
        yield from _calls(inner)
    arguments: list[str] | None = None
    may_begin = True
    for token in _TOKEN.finditer(script.replace("\\\n", " ")):
        word = token["word"]
        if word is None:  # a comment, an operator, the line's end
            if arguments is not None:
                yield arguments
            arguments, may_begin = None, True
        elif arguments is not None:
            arguments += shlex.split(word)
        elif may_begin and word == PROGRAM:
            arguments = []
        else:
            may_begin = may_begin and re.match(r"\w+=|\$\Z", word) is not None
    if arguments is not None:
        yield arguments
