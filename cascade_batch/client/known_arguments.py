"""Arguments that a function does not have: which one was meant, and what there is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import ParamSpec, TypeVar

from cascade_batch.errors import UnknownArgumentError
from cascade_batch.near_names import did_you_mean

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


def known_arguments(
    *, beside: Iterable[str] = (), meant: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Callable[Given, Returned]], Callable[Given, Returned]]:
    """Have a public function say which argument was meant where one is given that it has not.

    Args:
        beside: What it takes as `**` beside its own arguments.
        meant: Names that others give to what it takes -> what to write instead.
    """

    def decorate(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
        own = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
        ]
        known = [*own, *beside]

        @functools.wraps(function)
        def checked(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
            for name in kwargs:
                if name not in known:
                    raise _unknown(function, name, known, meant.get(name))
            return function(*args, **kwargs)

        return checked

    return decorate


def _unknown(
    function: Callable[..., object], name: str, known: list[str], write: str | None
) -> UnknownArgumentError:
    meant = f"Write {write}." if write else did_you_mean(name, known, likeness=0.6)
    owner = "Job." if "." in function.__qualname__ else ""
    error = UnknownArgumentError(
        f"{function.__name__}() has no argument {name!r}.{f' {meant}' if meant else ''}",
        hint=f"It takes {', '.join(known)}; help(cascade_batch.{owner}{function.__name__}) says more.",
    )
    error.add_note(error.hint or "")
    return error
