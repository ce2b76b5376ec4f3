"""YAML that knows where everything stands, so that an error can name line and column.

The scalars are those of YAML 1.2: `yes`, `no`, `on` and `off` are words, `1:30` and `2024-01-01`
are texts and `010` is ten. (Under YAML 1.1, which PyYAML follows, the choices `[yes, no]` would be
read as booleans.) A key given twice is an error, as is a value that holds itself.

Values are what JSON has: tags for dates, bytes and the like are refused, and so is what no database keeps.
A file may come from a stranger: its length, its depth and what its aliases unfold to are limited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from cascade_batch.errors import UsageError
from cascade_batch.near_names import file_beside

Steps = Sequence[str | int]

MAX_CHARS = 4 * 2**20
"""Longest text. What a file holds in bulk (a prompt, rows) belongs into files of its own."""
MAX_DEPTH = 64
"""Deepest nesting. The parser's own end is an error a thousand levels down, and with an older libyaml a
crash of the process."""
MAX_VALUES = 200_000
"""Most values, each as often as aliases (`*name`) repeat it."""

_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"
    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_TAG = "tag:yaml.org,2002:"
_SCALARS = {"int": _INT, "float": _FLOAT, "bool": _BOOL, "null": _NULL}
_PLAIN_TAGS = frozenset(f"{_TAG}{kind}" for kind in (*_SCALARS, "str", "seq", "map", "merge"))
_MAX_WHOLE = 2**63

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # the base is chosen at run time: libyaml where there is one
    """A safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_Loader.add_implicit_resolver(f"{_TAG}bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAG}int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}null", _NULL, ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"<<\Z"), ["<"])


def _whole(digits: str) -> int:
    for prefix, base in (("0o", 8), ("0x", 16)):
        if digits.startswith(prefix):
            return int(digits, base)
    return int(digits)


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    return _whole(loader.construct_scalar(node))


_Loader.add_constructor(f"{_TAG}int", _construct_int)


class Source(Protocol):
    """What values were taken from, and what messages call their places."""

    def where(self, path: Steps = (), *, key: bool = False) -> str:
        """Where a value stands, or its key."""


class GivenInCode:
    """Values that a program gave; their names (`tiers[0].price`) are place enough."""

    def where(self, path: Steps = (), *, key: bool = False) -> str:  # noqa: ARG002  # as of `Source`
        """Whom the values were given to."""
        return "submit()"


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
        if len(text) > MAX_CHARS:
            raise UsageError(
                f"{name}: the file is longer than {MAX_CHARS // 2**20} Mi characters.",
                hint="Put long texts into files of their own: prompt: '@prompt.txt'.",
            )
        self._root: yaml.Node | None = None
        loader: Any = None
        try:
            self._measure(text)
            loader = _Loader(text)
            self._root = loader.get_single_node()
            if self._root is not None:
                self._check(self._root, {}, set())
            self.value: Any = None if self._root is None else loader.construct_document(self._root)
        except yaml.MarkedYAMLError as error:
            # Only the problem is told, never the line itself: it may hold a key by mistake.
            mark = error.problem_mark or error.context_mark
            raise UsageError(
                f"{self._at(mark)}: this is not valid YAML: {error.problem or error.context}.",
                hint="Indent with spaces, and quote texts that hold ': ', '#' or braces.",
            ) from None
        except (yaml.YAMLError, ValueError, TypeError) as error:
            what = " ".join(str(error).split())
            raise UsageError(f"{name}: this is not valid YAML: {what}.") from None
        finally:
            if loader is not None:
                loader.dispose()

    @classmethod
    def read(cls, path: Path) -> YamlSource:
        """Read and parse a file.

        Raises:
            UsageError: It can't be read, is not UTF-8, or is no YAML.
        """
        # A byte order mark and four bytes a character are what the longest text can take.
        where = str(short_path(path))
        return cls(read_text(path, where, "the file", MAX_CHARS * 4 + 4), where)

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

    def _measure(self, text: str) -> None:
        """Refuse what is nested too deep, by the parser's events alone: those it makes without recursion."""
        too_deep = f"the value is nested more than {MAX_DEPTH} levels deep"
        depth = 0
        try:
            for event in yaml.parse(text, Loader=_Loader):
                if isinstance(event, yaml.CollectionStartEvent):
                    depth += 1
                    if depth > MAX_DEPTH:
                        raise self._error(event.start_mark, too_deep)
                elif isinstance(event, yaml.CollectionEndEvent):
                    depth -= 1
        except yaml.MarkedYAMLError as error:
            # The parser looks ahead, and may meet its own limit before it has told of a level beyond ours.
            if "nesting depth" in (error.problem or ""):
                raise self._error(error.problem_mark, too_deep) from None
            raise

    def _check(self, node: yaml.Node, sizes: dict[int, int], open_: set[int]) -> int:
        """Refuse what is no plain value. Returns how many values there are, aliases unfolded."""
        if id(node) in open_:
            raise self._error(node.start_mark, "the value holds itself (an alias)")
        if id(node) in sizes:
            return sizes[id(node)]
        open_.add(id(node))
        self._check_plain(node)
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        size = 1 + sum(self._check(child, sizes, open_) for child in _children(node))
        if size > MAX_VALUES:
            raise self._error(
                node.start_mark,
                f"the file holds more than {MAX_VALUES:,} values, aliases counted as often as they stand",
            )
        open_.discard(id(node))
        sizes[id(node)] = size
        return size

    def _check_keys(self, mapping: yaml.MappingNode) -> None:
        first: dict[str, Any] = {}
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key.start_mark, "a key must be a plain text")
            self._check_plain(key)
            if key.value in first and key.value != "<<":
                raise self._error(
                    key.start_mark,
                    f"the key {key.value!r} is given twice;"
                    f" the first is on line {first[key.value].line + 1}",
                    hint="Keep one of the two.",
                )
            first[key.value] = key.start_mark

    def _check_plain(self, node: yaml.Node) -> None:
        kind = node.tag.removeprefix(_TAG)
        if node.tag not in _PLAIN_TAGS:
            raise self._error(
                node.start_mark,
                f"there is no such kind of value here as {_shown_tag(node.tag)}",
                hint="Values are texts, numbers, true, false, null, lists and mappings.",
            )
        if not isinstance(node, yaml.ScalarNode):
            return
        form = _SCALARS.get(kind)
        if form is not None and not form.match(node.value):
            raise self._error(node.start_mark, f"this is no {kind}")
        if kind == "int" and _is_too_large(node.value):
            raise self._error(
                node.start_mark,
                "the whole number takes more than 64 bits",
                hint="Quote it, if it is a text.",
            )
        if "\0" in node.value:
            raise self._error(
                node.start_mark, "the text holds a NUL character, which can't be stored"
            )

    def _error(self, mark: Any, what: str, *, hint: str | None = None) -> UsageError:
        return UsageError(f"{self._at(mark)}: {what}.", hint=hint)


def read_text(path: Path, where: str, what: str, max_bytes: int) -> str:
    """A text file that a user named.

    Args:
        path: The file.
        where: Place or name that an error begins with.
        what: What an error calls the file.
        max_bytes: Longest file that is taken; a device has no end.

    Raises:
        UsageError: It can't be read, is too long, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        # What is not there has another name, maybe.
        hint = file_beside(path) if isinstance(error, FileNotFoundError) else None
        raise UsageError(f"{where}: {what} can't be read: {why}.", hint=hint) from None
    if len(content) > max_bytes:
        raise UsageError(f"{where}: {what} is longer than {max_bytes // 2**20} MiB.")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise UsageError(f"{where}: {what} is not UTF-8 text.") from None


def user_path(folder: Path, given: str, where: str) -> Path:
    """A path as a user wrote it: `~` is their home, what is relative is so to `folder`.

    Raises:
        UsageError: There is no such home; the message begins with `where`.
    """
    try:
        return folder / Path(given).expanduser()
    except RuntimeError:
        raise UsageError(f"{where}: there is no home folder as in {given!r}.") from None


def short_path(path: Path) -> Path:
    """The path as short as a user in the working folder would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _shown_tag(tag: str) -> str:
    """A tag as it is written in a file."""
    return tag.replace(_TAG, "!!", 1)


def _is_too_large(digits: str) -> bool:
    # Long ones are not even converted: Python refuses to, or takes its time.
    return len(digits) > 30 or not -_MAX_WHOLE <= _whole(digits) < 2 * _MAX_WHOLE


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
