"""What a template may make: limits on the ways in which a short text becomes a long one.

A template may come from a stranger, with a job file. Jinja2's sandbox keeps it from reading what it should
not; this keeps it from filling the memory. Two rules hold at every step of it:

- no value is larger than a prompt may be. What multiplies (`*`, `replace`, `join`, widths in formats,
  lists that hold one long text many times) is worked out before it is made;
- all that is made for one row is counted, and bounded in sum.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from jinja2 import Undefined
from jinja2 import pass_context as wants_context
from jinja2.runtime import Context

from cascade_batch.prompts.errors import PromptError

MAX_PROMPT_CHARS = 16 * 2**20
"""Longest text that a template may give, or make on the way."""

MAX_STEPS = 100_000
"""Rounds of loops and calls that a template may take for one row."""

MAX_MADE_CHARS = 8 * MAX_PROMPT_CHARS
"""Most characters of all texts that a template makes for one row."""

MAX_ITEMS = 1_000_000
"""Longest list that a template may make."""

METER = "what is left"
"""Key of a render's own meter among its variables; no template can spell it."""

_MAX_INT_BITS = 10_000
_MAX_DIGITS = 400
_MAX_MOVES = 2 * 10**9
_CONTAINERS = (list, tuple, dict, set, frozenset)
_SCALARS = frozenset({int, float, bool, type(None)})
_VALUES = (int, float, type(None), Undefined, range, KeysView, ValuesView, ItemsView)
_WIDTH = re.compile(r"\d+")
_NESTED_FORMAT = re.compile(r"\{[^{}]*\{")
_STARRED_FORMAT = re.compile(r"%[^a-zA-Z%]*\*")


class Meter:
    """What one render may still take and make."""

    __slots__ = ("chars", "steps")

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.chars = MAX_MADE_CHARS

    def step(self) -> None:
        """A round of a loop, or a call."""
        self.steps -= 1
        if self.steps < 0:
            raise PromptError(
                f"the template takes more than {MAX_STEPS:,} steps (loop rounds and calls)",
                hint="Shorten its loops.",
            )

    def make(self, chars: int) -> None:
        """So many characters were made."""
        self.chars -= chars
        if self.chars < 0:
            raise PromptError(
                f"the template makes more than {MAX_MADE_CHARS // 2**20} Mi characters on its way",
                hint="Shorten its loops, or cut columns: {{ column[:1000] }}.",
            )


def meter_of(context: Context) -> Meter:
    """The meter of the render that is under way."""
    meter: Meter = context.parent[METER]
    return meter


def too_long() -> PromptError:
    """The error of a text above `MAX_PROMPT_CHARS`."""
    return PromptError(
        f"the template gives a text of more than {MAX_PROMPT_CHARS // 2**20} Mi characters",
        hint="Shorten its loops, or cut columns: {{ column[:1000] }}.",
    )


def weight(value: Any) -> int:
    """About how many characters a value takes when it is written out.

    Raises:
        PromptError: More than a prompt may have. A list that holds one long text many times is small in
            memory until somebody shows it.
        TypeError: It is no value, or holds something that is none, such as a function that was not called:
            that would show as an address in memory, and so differ each time.
    """
    if isinstance(value, (str, bytes)):
        return len(value)
    if not isinstance(value, _CONTAINERS):
        _check_value(value)
        return 1
    total = 0
    open_: list[Any] = [value]
    while open_:
        container = open_.pop()
        total += 1 + len(container)
        parts = (
            (part for pair in container.items() for part in pair)
            if isinstance(container, dict)
            else container
        )
        for part in parts:
            if isinstance(part, (str, bytes)):
                total += len(part)
            elif isinstance(part, _CONTAINERS):
                open_.append(part)
            elif part.__class__ not in _SCALARS:
                _check_value(part)
            if total > MAX_PROMPT_CHARS:
                raise too_long()
    return total


def _check_value(value: Any) -> None:
    if not isinstance(value, _VALUES):
        raise TypeError(f"what is to be shown is no value but a {type(value).__name__}")


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result would be too large.

    Raises:
        OverflowError: A number would.
        PromptError: A text or a list would.
    """
    if operator in "**" and isinstance(left, int) and isinstance(right, int):
        times = right if operator == "**" else 1
        if left.bit_length() * times + right.bit_length() > _MAX_INT_BITS:
            raise OverflowError("a number becomes too large")
    if operator == "*":
        for one, times in ((left, right), (right, left)):
            if isinstance(one, (str, bytes, list, tuple)) and isinstance(times, int):
                _fit(weight(one) * times)
                _fit_items(0 if isinstance(one, (str, bytes)) else len(one) * times)
    elif (
        operator == "+"
        and isinstance(left, (str, bytes, list, tuple))
        and hasattr(right, "__len__")
    ):
        _fit(len(left) + len(right))
        _fit_items(0 if isinstance(left, (str, bytes)) else len(left) + len(right))
    elif operator == "%" and isinstance(left, str):
        _check_format(left, (right,))


def check_call(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Refuse a call of a value's method whose result would be too large.

    Returns:
        The arguments to call it with: what can be read only once was read.

    Raises:
        PromptError: It would be too large.
    """
    method = getattr(function, "__wrapped__", function)  # the sandbox wraps `format`
    owner = getattr(method, "__self__", None)
    if not isinstance(owner, (str, bytes, int)):
        return args
    name = getattr(method, "__name__", "")
    check = _METHODS.get(name)
    if check is None:
        return args
    if name == "join" and args:
        args = (_as_list(args[0]), *args[1:])
    check(owner, *args, **kwargs)
    return args


def metered_filter(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose argument is weighed before, and what it makes after."""
    wanted = getattr(plain, "jinja_pass_arg", None)
    check = _FILTERS.get(name)
    takes_items = name in _TAKING_ITEMS

    @wants_context
    def metered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        meter = meter_of(context)
        if name == "join":
            value = _as_list(value)
        if not isinstance(value, str) and not (takes_items and _is_read_once(value)):
            meter.make(weight(value))
        if check is not None:
            check(value, *args, **kwargs)
        if wanted is None:
            made = plain(value, *args, **kwargs)
        else:
            made = plain(_wanted(wanted.name, context), value, *args, **kwargs)
        if isinstance(made, Iterator):
            return _metered_items(meter, made, is_new=name not in _CHOOSING)
        if made is not value:
            meter.make(weight(made))
        return made

    return metered


def _wanted(name: str, context: Context) -> Any:
    if name == "context":
        return context
    return context.eval_ctx if name == "eval_context" else context.environment


def _metered_items(meter: Meter, items: Iterator[Any], *, is_new: bool) -> Iterator[Any]:
    for item in items:
        meter.make(1 + weight(item) if is_new else 1)
        yield item


@wants_context
def concatenated(context: Context, parts: list[Any]) -> str:
    """The operator `~`."""
    texts = [part if isinstance(part, str) else (weight(part), str(part))[1] for part in parts]
    chars = sum(map(len, texts))
    _fit(chars)
    meter_of(context).make(chars)
    return "".join(texts)


@wants_context
def copied(context: Context, value: Any) -> Any:
    """A slice of a value, which was made just now, or a text that is about to be searched."""
    if hasattr(value, "__len__"):
        meter_of(context).make(len(value) // 8)
    return value


def _fit(chars: int) -> None:
    if chars > MAX_PROMPT_CHARS:
        raise too_long()


def _fit_items(items: int) -> None:
    if items > MAX_ITEMS:
        raise PromptError(f"the template makes a list of more than {MAX_ITEMS:,} items")


def _is_read_once(items: Any) -> bool:
    # Loops, cyclers and the like are none: they are objects of Jinja2's own, and no values.
    return isinstance(items, Iterator) and not hasattr(items, "__dict__")


def _as_list(items: Any) -> Any:
    """What can be read once only as a list; whoever makes the items bounds them."""
    return list(items) if _is_read_once(items) else items


def _check_format(form: str, args: tuple[Any, ...]) -> None:
    if _NESTED_FORMAT.search(form) or _STARRED_FORMAT.search(form):
        raise PromptError("a format may not take its width from a value")
    width = max((int(digits[:9]) for digits in _WIDTH.findall(form)), default=0)
    fields = form.count("{") + form.count("%")
    _fit(len(form) + fields * (width + max(map(weight, args), default=0)))


def _width(value: Any, width: Any = 80, *_: Any, **__: Any) -> None:  # noqa: ARG001
    if isinstance(width, int):
        _fit(max(width, 0))


def _tabs(value: Any, tabsize: Any = 8) -> None:
    tabs = value.count("\t" if isinstance(value, str) else b"\t")
    _fit(len(value) + tabs * max(tabsize, 0))


def _indent(value: Any, width: Any = 4, *_: Any, **__: Any) -> None:
    text = str(value)
    _fit(len(text) + (1 + text.count("\n")) * (width if isinstance(width, int) else len(width)))


def _replace(value: Any, old: Any, new: Any, count: Any = -1) -> None:
    if not isinstance(value, bytes):
        value, old, new = str(value), str(old), str(new)
    times = value.count(old)
    _fit(len(value) + (min(times, count) if count is not None and count >= 0 else times) * len(new))


def _join_method(glue: Any, items: Any) -> None:
    _fit(weight(items) + len(items) * len(glue))


def _join_filter(items: Any, d: Any = "", attribute: Any = None) -> None:  # noqa: ARG001
    _fit(weight(items) + (len(items) if hasattr(items, "__len__") else 1) * len(str(d)))


def _translate(value: Any, table: Any) -> None:
    if isinstance(table, dict):
        _fit(len(value) * max((weight(part) for part in table.values()), default=1))


def _format(form: Any, *args: Any, **kwargs: Any) -> None:
    if isinstance(form, str):
        _check_format(form, (*args, *kwargs.values()))


def _to_bytes(value: Any, length: Any = 1, *_: Any, **__: Any) -> None:  # noqa: ARG001
    _fit(length)


def _batch(value: Any, linecount: Any, fill_with: Any = None) -> None:  # noqa: ARG001
    _fit_items(linecount)
    _fit(linecount * (1 if fill_with is None else weight(fill_with)))


def _round(value: Any, precision: Any = 0, method: Any = "common") -> None:  # noqa: ARG001
    if abs(precision) > _MAX_DIGITS:
        raise OverflowError("a number is rounded to too many digits")


def _sum(value: Any, attribute: Any = None, start: Any = 0) -> None:  # noqa: ARG001
    # Lists are added up by copying, again and again.
    if isinstance(start, (list, tuple)) and hasattr(value, "__len__"):
        _fit(len(value) * weight(value) // 64)


def _wrap(
    value: Any,
    width: Any = 79,
    break_long_words: Any = True,
    wrapstring: Any = None,
    *_: Any,
    **__: Any,
) -> None:
    text = str(value)
    longest = max(map(len, text.split()), default=0)
    if break_long_words and longest * longest > max(width, 1) * _MAX_MOVES:
        raise PromptError("a word is too long to be wrapped")
    _fit(
        len(text) + (len(text) if wrapstring and len(wrapstring) > 8 else 0) * len(wrapstring or "")
    )


_METHODS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _width),
    **dict.fromkeys(("format", "format_map"), _format),
    "expandtabs": _tabs,
    "replace": _replace,
    "join": _join_method,
    "translate": _translate,
    "to_bytes": _to_bytes,
}
"""Methods that can make much of little, and what refuses that."""

_FILTERS: dict[str, Callable[..., None]] = {
    "center": _width,
    "indent": _indent,
    "replace": _replace,
    "join": _join_filter,
    "format": _format,
    "batch": _batch,
    "slice": _batch,
    "round": _round,
    "sum": _sum,
    "wordwrap": _wrap,
}
_TAKING_ITEMS = frozenset(
    {"list", "first", "last", "map", "select", "reject", "selectattr", "rejectattr", "sum", "sort"}
    | {"unique", "groupby", "batch", "slice", "min", "max", "reverse", "default", "d"}
)
"""Filters that read what can be read once only; others would show what it is, not what it gives."""

_CHOOSING = frozenset({"select", "reject", "selectattr", "rejectattr", "reverse", "unique"})
"""Filters that hand on the items they are given, and make none."""
