"""YAML that knows where everything stands, so that an error can name line and column.

The scalars are those of YAML 1.2: `yes`, `no`, `on` and `off` are words, `1:30` and `2024-01-01`
are texts and `010` is ten. (Under YAML 1.1, which PyYAML follows, the choices `[yes, no]` would be
read as booleans.) A key given twice is an error, as is a value that holds itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from cascade_batch.errors import UsageError

Steps = Sequence[str | int]

_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"
    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_TAG = "tag:yaml.org,2002:"

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # the base is chosen at run time: libyaml where there is one
    """A safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_Loader.add_implicit_resolver(f"{_TAG}bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAG}int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}null", _NULL, ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"<<\Z"), ["<"])


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    for prefix, base in (("0o", 8), ("0x", 16)):
        if text.startswith(prefix):
            return int(text, base)
    return int(text)


_Loader.add_constructor(f"{_TAG}int", _construct_int)


class YamlSource:
    """A parsed YAML text that can be asked where a value stands.

    Attributes:
        name: What messages call it: a file's name as the user gave it, or an option.
        value: The plain Python value; None for an empty text.
    """

    def __init__(self, text: str, name: str) -> None:
        """Parse a text.

        Raises:
            UsageError: The text is no YAML, holds a key twice, or a value that holds itself.
        """
        self.name = name
        loader = _Loader(text)
        try:
            self._root: yaml.Node | None = loader.get_single_node()
            if self._root is not None:
                self._check(self._root, set(), set())
            self.value: Any = None if self._root is None else loader.construct_document(self._root)
        except yaml.MarkedYAMLError as error:
            # Only the problem is told, never the line itself: it may hold a key by mistake.
            mark = error.problem_mark or error.context_mark
            raise UsageError(
                f"{self._at(mark)}: this is not valid YAML: {error.problem or error.context}.",
                hint="Indent with spaces, and quote texts that hold ': ', '#' or braces.",
            ) from None
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise UsageError(f"{name}: this is not valid YAML: {error}.") from None
        finally:
            loader.dispose()

    @classmethod
    def read(cls, path: Path) -> YamlSource:
        """Read and parse a file.

        Raises:
            UsageError: It can't be read, is not UTF-8, or is no YAML.
        """
        try:
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError(f"{short_path(path)}: the file is not UTF-8 text.") from None
        except OSError as error:
            raise UsageError(
                f"{short_path(path)}: the file can't be read: {error.strerror}."
            ) from None
        return cls(text, str(short_path(path)))

    def where(self, path: Steps = (), *, key: bool = False) -> str:
        """`name:line:column` of a value, or of the nearest parent that is there.

        Args:
            path: Keys and list positions from the top.
            key: Point at the last key itself, not at its value.
        """
        if self._root is None:
            return self.name
        node = self._root
        for depth, step in enumerate(path):
            found = _child(node, step)
            if found is None:
                break
            node = found[0] if key and depth == len(path) - 1 else found[1]
        return self._at(node.start_mark)

    def as_written(self, path: Steps) -> str | None:
        """A scalar's text as it is written, quotes taken off; None where no scalar stands."""
        node = self._root
        for step in path:
            found = None if node is None else _child(node, step)
            if found is None:
                return None
            node = found[1]
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def _at(self, mark: Any) -> str:
        return self.name if mark is None else f"{self.name}:{mark.line + 1}:{mark.column + 1}"

    def _check(self, node: yaml.Node, done: set[int], open_: set[int]) -> None:
        if id(node) in open_:
            raise UsageError(f"{self._at(node.start_mark)}: the value holds itself (an alias).")
        if id(node) in done:
            return
        open_.add(id(node))
        if isinstance(node, yaml.MappingNode):
            first: dict[str, Any] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise UsageError(f"{self._at(key.start_mark)}: a key must be a plain text.")
                if key.value in first and key.value != "<<":
                    raise UsageError(
                        f"{self._at(key.start_mark)}: the key {key.value!r} is given twice;"
                        f" the first is on line {first[key.value].line + 1}.",
                        hint="Keep one of the two.",
                    )
                first[key.value] = key.start_mark
        for child in _children(node):
            self._check(child, done, open_)
        open_.discard(id(node))
        done.add(id(node))


def short_path(path: Path) -> Path:
    """The path as short as a user in the working folder would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode):
        if isinstance(step, int) and step < len(node.value):
            return node.value[step], node.value[step]
        return None
    if isinstance(node, yaml.MappingNode):
        # Construction puts merged keys (`<<`) in front of a mapping's own: the last one wins.
        for key, value in reversed(node.value):
            if key.value == str(step):
                return key, value
    return None
