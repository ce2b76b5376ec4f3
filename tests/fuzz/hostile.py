"""What bad input is made of: values nobody expects, and ways to spoil what is good.

`CASCADE_FUZZ_EXAMPLES` is how many examples each property gets. Without it they are few and always the same,
so that the whole folder takes under a minute; with it, they are drawn anew each time.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_GIVEN = os.environ.get("CASCADE_FUZZ_EXAMPLES")
FUZZ = settings(
    max_examples=int(_GIVEN or 200),
    derandomize=_GIVEN is None,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""Put above `@given`. Nothing is said about how long an example takes but by the test's own time-out."""

DEEP_LIST: list[Any] = []
for _ in range(90):
    DEEP_LIST = [DEEP_LIST]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(
        [-1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**300, 10**400, -(10**400), 1e308, -1e308]
    ),
    st.sampled_from([0.5, -0.0, 1e-320, float("nan"), float("inf"), float("-inf")]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            "",
            " ",
            "\0",
            "\ud800",
            "\udfff x",
            "a" * 5000,
            "NaN",
            "1e999",
            "../x",
            "~nobody/x",
            "[" * 2000,
        ]
    ),
)

VALUES = st.recursive(
    SCALARS | st.just(DEEP_LIST),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)

BYTES = [
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\x00\x00\xfe\xff",
        b"\0",
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
    ),
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"\x1a",
        b"\x85",
        b"\xe2\x80\xa8",
        b",",
        b";",
        b'"',
        b"'",
        b"\\",
        b":",
    ),
    *(b"{", b"}", b"[", b"]", b"{}", b"[]", b"[" * 3000, b'{"a":' * 3000, b"null", b"true"),
    *(b"NaN", b"-Infinity", b"1e999", b"-", b"9" * 400, b"9" * 5000, b'"\\ud800"', b'"\\u0000"'),
    *(
        b'"id": 1, "id": 2,',
        b'"id": []',
        b"%",
        b"&a ",
        b"*a ",
        b"<<: ",
        b"!!binary ",
        b"!!bool ",
        b"? ",
    ),
]
"""Fragments that readers trip over."""


@st.composite
def spoilt_bytes(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file after some accidents: cut off, bytes changed, dropped, doubled, put in between."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 12)))
        how = draw(st.sampled_from(["cut", "insert", "replace", "drop", "double", "noise"]))
        if how == "cut":
            del content[at:]
        elif how == "drop":
            del content[at:end]
        elif how == "double":
            content[at:at] = content[at:end]
        elif how == "noise":
            content[at:end] = draw(st.binary(max_size=8))
        else:
            content[at : at if how == "insert" else end] = draw(st.sampled_from(BYTES))
    return bytes(content)


@st.composite
def spoilt_tree(draw: st.DrawFn, good: Any, values: st.SearchStrategy[Any] = VALUES) -> Any:
    """A good document in which some values, of any place, are missing, doubled or something else."""
    tree = good
    for _ in range(draw(st.integers(1, 3))):
        tree = _spoilt_at(draw, tree, draw(st.sampled_from(list(places(tree)))), values)
    return tree


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within a document, its own first."""
    found = [path]
    if isinstance(tree, dict):
        for key, part in tree.items():
            found += places(part, (*path, key))
    elif isinstance(tree, list) and tree is not DEEP_LIST:
        for place, part in enumerate(tree):
            found += places(part, (*path, place))
    return found[:500]


def _spoilt_at(
    draw: st.DrawFn, tree: Any, path: tuple[Any, ...], values: st.SearchStrategy[Any]
) -> Any:
    if not path:
        return draw(values)
    step, rest = path[0], path[1:]
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if rest:
        copy[step] = _spoilt_at(draw, copy[step], rest, values)
        return copy
    how = draw(st.sampled_from(["other", "other", "drop", "more", "wrap"]))
    if how == "other":
        copy[step] = draw(values)
    elif how == "drop":
        del copy[step]
    elif how == "wrap":
        copy[step] = draw(st.sampled_from([[copy[step]], {"x": copy[step]}, str(copy[step])]))
    elif isinstance(copy, dict):
        copy[draw(st.text(max_size=5))] = draw(values)
    else:
        copy.append(draw(values))
    return copy
