"""What every record has to keep to, whichever format it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from cascade_batch.errors import DataError
from cascade_batch.words import argument

MAX_ROW_BYTES = 16 * 2**20
"""Longest record: a line of JSON, a row of CSV, a Parquet row written as JSON."""

MAX_DEPTH = 100
"""Deepest nesting of a record; JSON writers and Postgres give up not far beyond."""

Report = Callable[[DataError], None]
"""Takes a bad record's error: raises it, or hands it on so that reading goes on without the record."""

_NESTED = frozenset((dict, list))
_NOT_A_NUMBER = re.compile(r"[-+]?(nan|inf)", re.IGNORECASE)
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


class BadRecordError(Exception):
    """A record can't be used. The reader that knows file and line turns it into a `DataError`."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint

    def at(self, source: str, line_no: int, where: str | None = None) -> DataError:
        """The error that a user sees; `where` is as for `DataError`."""
        skip = f"leave bad records out with {argument('skip_bad', True)}."
        hint = f"{self.hint} Or {skip}" if self.hint else f"Mend the record, or {skip}"
        return DataError(self.reason, source=source, line_no=line_no, where=where, hint=hint)


def object_of(text: bytes) -> dict[str, Any]:
    """Parse one record written as JSON.

    Raises:
        BadRecordError: It is not JSON, no object, nested too deep, or holds what Postgres can't keep.
    """
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _broken(text, error) from None
    if type(fields) is not dict:
        raise _no_object(fields)
    # Cheap tests come first: few records get as far as a walk through their values.
    if b"\\" in text and b"\\u0000" in text and _holds_nul(fields):
        raise nul_found()
    if not _NESTED.isdisjoint(map(type, fields.values())) and _is_too_deep(text, fields):
        raise BadRecordError(f"the record is nested more than {MAX_DEPTH} levels deep")
    return fields


def nul_found() -> BadRecordError:
    """The error of a record with a NUL character in a key or value."""
    return BadRecordError(
        "the record holds a NUL character, which Postgres can't store",
        "Remove the NUL (\\u0000) from the text.",
    )


def too_long() -> BadRecordError:
    """The error of a record above `MAX_ROW_BYTES`."""
    return BadRecordError(
        f"the record is longer than {MAX_ROW_BYTES // 2**20} MiB",
        "Split the record; check that the file has line ends.",
    )


def not_utf8(text: bytes, error: UnicodeDecodeError) -> BadRecordError:
    """The error of a line in another encoding."""
    if text.startswith(_UTF16_OR_32):
        return BadRecordError(
            "the text is UTF-16 or UTF-32, not UTF-8",
            "Convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW.",
        )
    return BadRecordError(
        f"the text is not UTF-8: byte 0x{text[error.start]:02x}"
        f" at byte offset {error.start} of the line",
        "Convert it, for example: iconv -f ISO-8859-1 -t UTF-8 OLD > NEW.",
    )


def shown(text: str) -> str:
    """A user's text for an error message: quoted, one line, not endless."""
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}…"


def _broken(text: bytes, error: orjson.JSONDecodeError) -> BadRecordError:
    try:
        line = text.decode()
    except UnicodeDecodeError as wrong:
        return not_utf8(text, wrong)
    if "\0" in line:
        return nul_found()
    if not line.endswith("\n") and not line.rstrip().endswith("}"):
        hint = "The file may be cut off: its last line has no end."
    elif line.lstrip().startswith("["):
        hint = "A JSON array is not JSON Lines; convert it: jq -c '.[]' OLD > NEW."
    elif line.lstrip().startswith("{"):
        hint = "Every line has to be one whole JSON object, such as jq -c writes."
    else:
        hint = 'Every line has to be a JSON object, such as {"prompt": "…"}.'
    reason = error.msg.partition(": line ")[0]
    # The parser points at the value, or behind its sign.
    if _NOT_A_NUMBER.match(line, error.pos) or _NOT_A_NUMBER.match(line, max(error.pos - 1, 0)):
        reason, hint = "NaN and Infinity are not JSON", "Write null instead."
    return BadRecordError(f"broken JSON at character {error.pos + 1}: {reason}", hint)


def _no_object(value: object) -> BadRecordError:
    names = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    hint = 'Every line has to be a JSON object, such as {"prompt": "…"}.'
    if isinstance(value, list):
        hint = "A JSON array is not JSON Lines; convert it: jq -c '.[]' OLD > NEW."
    return BadRecordError(f"the line is {names.get(type(value), 'a number')}, not an object", hint)


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_holds_nul, value))


def _is_too_deep(text: bytes, fields: dict[str, Any]) -> bool:
    if text.count(b"{") + text.count(b"[") <= MAX_DEPTH:
        return False
    level: list[Any] = [fields]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            for item in (value.values() if type(value) is dict else value)
            if type(item) in _NESTED
        ]
        if not level:
            return False
    return True
