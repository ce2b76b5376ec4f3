"""Templates: Jinja2 in a sandbox, compiled once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

import orjson
from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2 import pass_context as wants_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from cascade_batch.errors import UsageError
from cascade_batch.prompts.bounds import (
    MAX_PROMPT_CHARS,
    METER,
    Meter,
    check_call,
    check_operation,
    concatenated,
    copied,
    meter_of,
    metered_filter,
    too_long,
    weight,
)
from cascade_batch.prompts.errors import PromptError, columns_shown

_MAX_TAGS = 20_000
"""Most tags and expressions of a template: what it becomes takes a millisecond each to compile."""
_MAX_SHOWN = 300
_LONG = 4096
_FILE = "<prompt>"
_JINJA_NAMES = frozenset({"row", "self", "super", "loop", "caller", "varargs", "kwargs"})
"""Names that may stand for more than a column."""


class TextTemplate:
    """A compiled template: columns in, text out.

    Args:
        text: The template.
        where: What it is, for messages: `the prompt`.

    Attributes:
        reads_columns: Whether it names anything of a record; else its text is the same for all of them.

    Raises:
        UsageError: It is no template; the message names the line.
    """

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        environment = _environment()
        if text.count("{{") + text.count("{%") > _MAX_TAGS:
            raise UsageError(f"In {where}: there are more than {_MAX_TAGS:,} tags.")
        try:
            tree = environment.parse(text)
            _refuse_what_needs_files(tree)
            _refuse_unsendable_text(tree)
            self.reads_columns = any(node.ctx == "load" for node in tree.find_all(nodes.Name))
            self._is_metered = _meter(tree)
            self._plain = _plain_parts(tree)
            self._reads_row = any(
                node.name == "row" for node in tree.find_all(nodes.Name) if node.ctx == "load"
            )
            code: CodeType = environment.compile(tree, filename=_FILE)
        except TemplateSyntaxError as error:
            raise UsageError(
                f"In {where}, line {error.lineno}: {(error.message or '').rstrip('.')}.",
                hint="Templates are Jinja2: {{ column }}, {% if column %} … {% endif %}.",
            ) from None
        except (RecursionError, SyntaxError, MemoryError):
            # Python's own limits on the code that the template becomes.
            raise UsageError(f"In {where}: it is nested too deep.") from None
        # A plain dict of globals: the chained one that Jinja2 makes costs 3 us for every row.
        self._template = Template.from_code(environment, code, dict(environment.globals))
        self._render = self._template.root_render_func

    def text_for(self, fields: dict[str, Any]) -> str:
        """The template's text for a record.

        Raises:
            PromptError: A column is missing, the template fails, or it goes beyond a limit.
        """
        if self._plain is not None:
            text = _plain_text(self._plain, fields)
            if text is not None:
                return text
        variables = fields
        if self._reads_row:
            variables = {"row": fields, **variables}
        if self._is_metered:
            variables = {**variables, METER: Meter()}
        pieces = []
        chars = 0
        try:
            for piece in self._render(self._template.new_context(variables)):
                chars += len(piece)
                if chars > MAX_PROMPT_CHARS:
                    raise too_long()
                pieces.append(piece)
        except PromptError as error:
            where = self._where_of(error)
            raise PromptError(f"{where}: {error.reason}", hint=error.hint) from None
        except UndefinedError as error:
            raise PromptError(
                f"{self._where_of(error)}: {_said(error)}; the record has {columns_shown(fields)}",
                hint="Mend the template, or give a default: {{ column | default('') }}."
                " A name with spaces is reached by {{ row['a name'] }}.",
            ) from None
        except RecursionError:
            raise PromptError(f"{self._where} calls itself without end") from None
        except Exception as error:  # whatever the template's author made happen
            raise PromptError(f"{self._where_of(error)} fails: {_said(error)}") from None
        return "".join(pieces)

    def _where_of(self, error: Exception) -> str:
        line_no = None
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == _FILE:
                line_no = self._template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return self._where if line_no is None else f"{self._where}, line {line_no}"


def _plain_parts(tree: nodes.Template) -> tuple[tuple[str, str | None], ...] | None:
    """Texts, each with the column that is shown behind it, of a template that holds nothing else: most do.

    Such a template is filled in without Jinja2, whose context and generator take 2 us a row, where 0.3 will
    do.
    """
    parts: list[tuple[str, str | None]] = []
    text = ""
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                text += node.data
            elif isinstance(node, nodes.Name) and node.name not in _JINJA_NAMES:
                parts.append((text, node.name))
                text = ""
            else:
                return None
    return (*parts, (text, None))


def _plain_text(parts: tuple[tuple[str, str | None], ...], fields: dict[str, Any]) -> str | None:
    """The text of a plain template; None where Jinja2 has to say what becomes of a value, or of its lack."""
    pieces = []
    for text, column in parts:
        pieces.append(text)
        if column is None:
            break
        value = fields.get(column, missing)
        if value.__class__ is str:
            pieces.append(value)
        elif value.__class__ is int or value.__class__ is float:
            pieces.append(str(value))
        elif value is not None:
            return None
    made = "".join(pieces)
    return made if len(made) <= MAX_PROMPT_CHARS else None


def _said(error: Exception) -> str:
    """What an error says, on one line; it may quote a value of any length."""
    return " ".join((str(error)[:_MAX_SHOWN] or type(error).__name__).split())


class _Missing(StrictUndefined):
    """A column that the record does not have."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint or self._undefined_obj is not missing:
            return super()._undefined_message
        return f"there is no column {self._undefined_name!r}"


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key comes before a method of the same name: `meta.items` is data, if there is any."""
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """A call is a step, so that macros can't call each other without end."""
        meter = meter_of(__context)
        meter.step()
        args = check_call(__obj, args, kwargs)
        made = super().call(__context, __obj, *args, **kwargs)
        if isinstance(made, (str, bytes)):
            meter.make(len(made))
        return made

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse the short ways to fill memory."""
        check_operation(operator, left, right)
        made = super().call_binop(context, operator, left, right)
        if isinstance(made, (str, bytes, list, tuple)):
            meter_of(context).make(len(made))
        return made


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    environment = _Environment(
        undefined=_Missing,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown_value,
    )
    environment.filters["tojson"] = _json_text
    # The same row has to give the same prompt on every tier and after every restart.
    del environment.filters["random"], environment.globals["lipsum"]
    environment.filters = {
        name: metered_filter(name, plain) for name, plain in environment.filters.items()
    }
    for ours in (_counted, concatenated, copied):
        environment.filters[ours.__name__] = ours
    return environment


@wants_context
def _shown_value(context: Context, value: Any) -> Any:
    if value.__class__ is str:
        if len(value) > _LONG and METER in context.parent:
            # It may be shown within a macro or a block, to be kept.
            meter_of(context).make(len(value))
        return value
    if value is None:
        return ""
    if isinstance(value, (bool, dict, list, tuple)):
        return _json_text(value)
    if isinstance(value, (str, int, float, Undefined)):
        return value
    # A function that was not called, or a generator, would show as an address in memory.
    raise TypeError(f"what is to be shown is no value but a {type(value).__name__}")


def _json_text(value: Any, indent: int | None = None) -> str:
    if isinstance(value, Undefined):
        str(value)  # raises, and says which column is missing
    weight(value)
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, option=option, default=_listed).decode()


def _listed(value: Any) -> list[Any]:
    # What `groupby` gives, keys of a dictionary, a range; `weight` let nothing else through.
    return list(value)


@wants_context
def _counted(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    step = meter_of(context).step
    for item in items:
        step()
        yield item


class _Metering(NodeTransformer):
    """Has every loop count its rounds, and what copies texts tell how long they are."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _counted.__name__)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return _filtered(parts, concatenated.__name__)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        is_slice = isinstance(node.arg, nodes.Slice)
        return _filtered(node, copied.__name__) if is_slice else node

    def visit_Operand(self, node: nodes.Operand) -> nodes.Operand:  # noqa: N802
        self.generic_visit(node)
        if node.op in ("in", "notin"):
            node.expr = _filtered(node.expr, copied.__name__)
        return node


_WITHOUT_METER = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.If,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Test,
)
"""What takes and makes nothing by itself; most templates consist of this alone, and need no meter."""


def _filtered(node: nodes.Node, name: str) -> nodes.Expr:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _meter(tree: nodes.Template) -> bool:
    """Prepare the template's tree; False if nothing in it needs a meter."""
    _Metering().visit(tree)
    return any(not isinstance(node, _WITHOUT_METER) for node in tree.find_all(nodes.Node))


def _refuse_what_needs_files(tree: nodes.Template) -> None:
    kinds = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    for node in tree.find_all(kinds):
        raise TemplateSyntaxError("a template can't use other files", node.lineno)


def _refuse_unsendable_text(tree: nodes.Template) -> None:
    for node in tree.find_all((nodes.TemplateData, nodes.Const)):
        text = getattr(node, "data", None) or getattr(node, "value", None)
        if not isinstance(text, str):
            continue
        if "\0" in text:
            raise TemplateSyntaxError("it holds a NUL character", node.lineno)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise TemplateSyntaxError("it is not UTF-8 text", node.lineno) from None
