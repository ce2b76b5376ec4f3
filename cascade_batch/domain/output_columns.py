"""Answers as columns: which ones a declared output makes, what each is called and what it holds.

One rule for all tables of results (the views in SQL, Arrow and Parquet, DataFrames): the value itself, then
each field of the schema, and after a field that is an object the leaves below it. Names are given in an order
that depends on the schema alone: to the fields first, then to the leaves, which are called by their path
(`address_city`). Columns stand in the order of the schema's properties, and so do the keys of a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

Kind = Literal["text", "choice", "integer", "number", "boolean", "json"]

MAX_DEPTH = 5
"""Objects below each other whose leaves become columns; what lies deeper stays in the JSON above it."""
MAX_OUTPUT_COLUMNS = 500
"""A wider answer is whole in its `value` all the same."""
_SCALARS: dict[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A column that holds the parsed value, or a part of it.

    Attributes:
        name: What the table calls it.
        path: The fields that lead to it; empty: the value itself.
        kind: What it holds, or what its list holds. `json`: whatever has no column type of its own.
        is_list: Whether it is a list of such things.
        choices: All that it can be, where `kind` is `choice`.
    """

    name: str
    path: tuple[str, ...]
    kind: Kind
    is_list: bool = False
    choices: tuple[str, ...] = ()


def output_columns(
    schema: Mapping[str, Any] | None,
    taken: Iterable[str],
    *,
    choices: tuple[str, ...] = (),
    most_bytes: int | None = None,
) -> list[OutputColumn]:
    """The columns for an output: `value`, then its fields and their leaves.

    Args:
        schema: The JSON schema; None: values are texts.
        taken: Names that the table has already. A field of such a name gets `answer_` put before it.
        choices: The texts that a value can be; none: any.
        most_bytes: Names are cut to so many bytes of UTF-8.
    """
    if schema is None:
        return [OutputColumn("value", (), "choice" if choices else "text", choices=choices)]
    root = _Root(schema)
    names = {*taken, "value"}
    fields = [(path, inner) for path, inner in root.fields(schema, ()) if _is_told(path[-1])][
        :MAX_OUTPUT_COLUMNS
    ]
    labels = {path: unique_name(path[0], names, "answer_", most_bytes) for path, _ in fields}
    # Objects that hold objects of their own kind have more leaves than anybody wants.
    leaves = {p: list(islice(root.leaves(i, p), MAX_OUTPUT_COLUMNS)) for p, i in fields}
    room = MAX_OUTPUT_COLUMNS - len(fields)
    columns = [root.column("value", (), schema)]
    for path, inner in fields:
        columns.append(root.column(labels[path], path, inner))
        for leaf, leaf_schema in leaves[path][:room]:
            label = unique_name("_".join(leaf), names, "answer_", most_bytes)
            columns.append(root.column(label, leaf, leaf_schema))
        room -= len(leaves[path][:room])
    return columns


class KeyOrder:
    """Puts the keys of a value where its schema has them; keys that it does not know stay behind those."""

    __slots__ = ("_inner", "_items", "_names")

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._inner: dict[str, KeyOrder] = {}
        self._items: KeyOrder | None = None

    @classmethod
    def of(cls, schema: Mapping[str, Any] | None) -> KeyOrder | None:
        """The order of a schema; None where it says nothing of any key."""
        return None if schema is None else cls._of(schema, _Root(schema), {})

    @classmethod
    def _of(cls, schema: object, root: _Root, known: dict[int, KeyOrder]) -> KeyOrder | None:
        plain = root.plain(schema)
        properties, items = plain.get("properties"), plain.get("items")
        if not isinstance(properties, Mapping) and not isinstance(items, Mapping):
            return None
        if id(plain) in known:  # it is part of itself
            return known[id(plain)]
        order = known[id(plain)] = cls()
        if isinstance(properties, Mapping):
            order._names = tuple(properties)
            inner = {name: cls._of(one, root, known) for name, one in properties.items()}
            order._inner = {name: one for name, one in inner.items() if one is not None}
        order._items = cls._of(items, root, known)
        return order if order._names or order._items else None

    def sorted(self, value: Any) -> Any:
        """The value, with its keys in order; whatever else it is."""
        if isinstance(value, list):
            return value if self._items is None else [self._items.sorted(one) for one in value]
        if not isinstance(value, dict):
            return value
        found = {name: value[name] for name in self._names if name in value}
        if len(found) < len(value):
            found |= value  # those that are there keep their places
        for name, order in self._inner.items():
            if name in found:
                found[name] = order.sorted(found[name])
        return found


def unique_name(name: str, taken: set[str], prefix: str, most_bytes: int | None = None) -> str:
    """A name that is not taken yet, and is now: the name itself, with the prefix, or numbered as well."""
    label = cut_name(name.replace("\0", ""), most_bytes) or "column"
    if label in taken:
        label = cut_name(prefix + label, most_bytes)
    number = 2
    while label in taken:
        ending = f"_{number}"
        room = None if most_bytes is None else most_bytes - len(ending)
        label = cut_name(prefix + name.replace("\0", ""), room) + ending
        number += 1
    taken.add(label)
    return label


def cut_name(name: str, most_bytes: int | None) -> str:
    """The name, cut to so many bytes of UTF-8, between characters."""
    return name if most_bytes is None else name.encode()[:most_bytes].decode(errors="ignore")


def _is_told(field: str) -> bool:
    return "\0" not in field


class _Root:
    """A schema, within which others are referred to."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema

    def fields(
        self, schema: object, path: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], object]]:
        properties = self.plain(schema).get("properties")
        if isinstance(properties, Mapping):
            for name, inner in properties.items():
                yield (*path, str(name)), inner

    def leaves(
        self, schema: object, path: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], object]]:
        """What lies below an object and is none itself, in the schema's order."""
        for inner_path, inner in self.fields(schema, path):
            is_object = "properties" in self.plain(inner)
            if is_object and len(inner_path) <= MAX_DEPTH:
                yield from self.leaves(inner, inner_path)
            elif _is_told(inner_path[-1]):
                yield inner_path, inner

    def column(self, name: str, path: tuple[str, ...], schema: object) -> OutputColumn:
        kind, choices = self._kind(schema)
        plain = self.plain(schema)
        if kind == "json" and _type_name(plain) == "array" and "prefixItems" not in plain:
            items, choices = self._kind(plain.get("items"))
            if items != "json":
                return OutputColumn(name, path, items, is_list=True, choices=choices)
        return OutputColumn(name, path, kind, choices=choices)

    def _kind(self, schema: object) -> tuple[Kind, tuple[str, ...]]:
        plain = self.plain(schema)
        listed = [plain["const"]] if "const" in plain else plain.get("enum")
        if isinstance(listed, list):
            said = [one for one in listed if one is not None]
            if said and all(isinstance(one, str) for one in said):
                return "choice", tuple(said)
            kinds = {_kind_of_value(one) for one in said}
            if kinds == {"integer", "number"}:
                return "number", ()
            return (kinds.pop() if len(kinds) == 1 else "json"), ()
        return _SCALARS.get(_type_name(plain) or "", "json"), ()

    def plain(self, schema: object) -> Mapping[str, Any]:
        """The schema that is meant: behind references, and without the `null` that it may be instead."""
        seen: set[str] = set()
        while isinstance(schema, Mapping):
            reference = schema.get("$ref")
            if isinstance(reference, str):
                if reference in seen:
                    return {}
                seen.add(reference)
                schema = self._at(reference)
                continue
            options = next((schema[k] for k in ("anyOf", "oneOf", "allOf") if k in schema), None)
            if not isinstance(options, list) or "properties" in schema:
                return schema
            meant = [one for one in options if not _is_null(one)]
            if len(meant) != 1:
                return {}
            schema = meant[0]
        return {}

    def _at(self, reference: str) -> object:
        found: object = self._schema
        if reference != "#" and not reference.startswith("#/"):
            return None
        for step in reference.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None
        return found


def _is_null(schema: object) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _type_name(schema: Mapping[str, Any]) -> str | None:
    kinds = schema.get("type")
    named = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    return str(named[0]) if len(named) == 1 and named[0] is not None else None


def _kind_of_value(value: object) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "json"
