"""Docstrings as Markdown, and the pages that consist of them: the Python interface, the provider's script."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any

import cascade_batch
from cascade_batch.providers import scripted

_LINE = 88
_ITEM = re.compile(r"^(?P<name>\w+): (?P<text>.+)$")
_CONSTANT = re.compile(r"^(?P<name>[A-Z][A-Z_0-9]+): (?P<text>.+)$")
_UNDERLINE = re.compile(r"^={4,}$")
_NO_KEYS = ("folder",)
"""Fields of a script that its file does not have."""
_PYTHON_HEAD = """\
# Python API

Everything that `cascade_batch` offers, made of its docstrings. A guide with examples:
[From Python and notebooks](../python.md).
"""
_PYTHON_PARTS = {
    "Jobs": ("submit", "estimate", "job", "jobs", "Job"),
    "What a job says": (
        "Progress",
        "TierProgress",
        "JobState",
        "Audit",
        "AtRisk",
        "AddedBudget",
        "RetriedRows",
    ),
    "What a job is given": ("Output", "Tier"),
    "What goes wrong": ("CascadeError", "JobWarning"),
}
_GIVEN = (
    "Both may be given as dicts, with the keys of the [job file](job-file.md#output) and the"
    " [tiers file](tiers-file.md).\n"
)
_SCRIPT_HEAD = """\
# The provider's script

What `cascade-batch provider --script FILE` does is said in a YAML file: prices, latencies, limits, answers,
faults. It is a provider to try jobs on, without a key and without spending anything; the
[quickstart](../quickstart.md) uses one.
"""


def python_page() -> str:
    """Everything public, with its signature and what its docstring says."""
    lines = [_PYTHON_HEAD]
    for part, names in _PYTHON_PARTS.items():
        lines.append(f"## {part}\n")
        if part == "What a job is given":
            lines.append(_GIVEN)
        for name in names:
            lines += _public(name, getattr(cascade_batch, name))
    return "\n".join(lines)


def script_page() -> str:
    """What a script can say, its keys, and its faults."""
    from cascade_batch.providers.scripted import faults, script

    text = inspect.getdoc(scripted) or ""
    # The first paragraph is for readers of the code; the page has a head of its own.
    lines = [_SCRIPT_HEAD, markdown(text.partition("\n\n")[2])]
    lines.append("## All keys\n")
    for name, model in (
        ("The script", script.Script),
        ("A model", script.ModelScript),
        ("`price`", script.ScriptPrice),
        ("`limits`", script.ScriptLimits),
        ("An entry of `answers`", script.AnswerRule),
        ("`simulate`", script.Simulation),
    ):
        lines += [f"### {name}\n", markdown(inspect.getdoc(model) or ""), *_fields(model)]
    lines += ["## Faults\n", markdown(inspect.getdoc(faults.FaultKind) or "")]
    lines += ["### Which calls meet a fault\n", markdown(inspect.getdoc(faults.FaultRule) or "")]
    lines += _fields(faults.FaultRule)
    return "\n".join(lines)


def _public(name: str, thing: Any) -> Iterator[str]:
    yield f"### `{name}`\n"
    if inspect.isfunction(thing):
        yield _signature(name, thing)
    yield markdown(inspect.getdoc(thing) or "")
    if name == "Job":
        # Its own first, then what it takes from its base, each in the order of the code.
        for owner in thing.__mro__[:-1]:
            for member, value in vars(owner).items():
                if not member.startswith("_"):
                    yield from _member(member, value)


def _member(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, property):
        yield f"#### `Job.{name}`\n"
    else:
        yield f"#### `Job.{name}()`\n"
        yield _signature(name, value)
    yield markdown(inspect.getdoc(value) or "")


def _signature(name: str, function: Callable[..., Any]) -> str:
    """How it is called, as code; in lines where one is too long."""
    signature = inspect.signature(function)
    shown = [p for p in signature.parameters.values() if p.name != "self"]
    start = "async def" if inspect.iscoroutinefunction(function) else "def"
    end = f") -> {signature.return_annotation}: ..."
    whole = signature.replace(parameters=shown)
    parts = [part.replace("'", "") for part in map(str, shown)]
    marks = [p.kind is inspect.Parameter.KEYWORD_ONLY for p in shown]
    if True in marks:
        parts.insert(marks.index(True), "*")
    line = f"{start} {name}({', '.join(parts)}{end}"
    if len(line) > _LINE and whole.parameters:
        line = f"{start} {name}(\n" + "".join(f"    {part},\n" for part in parts) + end
    return f"```python\n{line}\n```\n"


def _fields(model: Any) -> Iterator[str]:
    """A model's fields, by the texts that stand below them in the code."""
    yield "| key | |\n|---|---|"
    source = inspect.getsource(model)
    for name, field in model.model_fields.items():
        if name not in _NO_KEYS:
            found = re.search(rf'^    {name}: [^\n]+\n    """(.+?)"""', source, re.M | re.S)
            text = " ".join(found[1].split()) if found else ""
            yield f"| `{field.alias or name}` | {text} |"
    yield ""


def markdown(text: str) -> str:
    """A docstring as Markdown: sections (`Args:` and their like) as lists, what is indented as code."""
    lines = text.splitlines()
    done: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        block, after = _indented(lines, place + 1)
        if place + 1 < len(lines) and _UNDERLINE.match(lines[place + 1]):
            done.append(f"## {line}")
            place += 2
        elif line.endswith(":") and not line.startswith(" ") and block:
            done += ["", f"**{line}**", "", *_section(block)]
            place = after
        elif line.startswith("    "):
            block, place = _indented(lines, place)
            done += _code(block)
        elif (found := _CONSTANT.match(line)) is not None:
            said = " ".join([found["text"], *(one.strip() for one in block)])
            done += [
                *([""] if done and not done[-1].startswith("-") else []),
                _item(found["name"], said),
            ]
            place = after
        else:
            done.append(line)
            place += 1
    return re.sub(r"\n{3,}", "\n\n", "\n".join(done)).strip() + "\n"


def _indented(lines: list[str], place: int) -> tuple[list[str], int]:
    """The indented lines from a place on, without their margin, and where they end."""
    end = place
    while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
        end += 1
    while end > place and not lines[end - 1].strip():
        end -= 1
    return dedent("\n".join(lines[place:end])).splitlines(), end


def _section(block: list[str]) -> list[str]:
    if block[0].startswith(">>>"):
        return ["```pycon", *block, "```"]
    if not _ITEM.match(block[0]):
        return block
    items: list[str] = []
    for line in block:
        if (found := _ITEM.match(line)) is not None:
            items.append(_item(found["name"], found["text"]))
        elif line.strip():
            items[-1] += f" {line.strip()}"
    return items


def _item(name: str, text: str) -> str:
    shown = name.lower() if _CONSTANT.match(f"{name}: x") else name
    return f"- `{shown}`: {text}"


def _code(block: list[str]) -> list[str]:
    language = "console" if block[0].startswith("cascade-batch ") else "yaml"
    return ["", f"```{language}", *block, "```", ""]
