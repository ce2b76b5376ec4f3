"""Ids of records, and whether two are the same.

A record without an id goes by its row number as text, so those count as ids, too. To keep a hundred
million ids apart within memory, only fingerprints are held: 64 bits of Python's keyed string hash in
a table of 12 bytes a slot, and 8 independent bits that choose the table. With 72 bits in all, the
chance that any two of 10^8 different ids are taken for one is about one in a million (of 10^6: one in
10^10), so a hit needs no second look at the file, and standard input no copy of itself.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from typing import Any
from zlib import crc32

import numpy as np

from cascade_batch.datasets.records import BadRecordError, shown

MAX_ID_CHARS = 500
"""Longest id: Postgres refuses to index texts of more than about 2,700 bytes."""

_EXACT_FLOAT = 2.0**53
_TABLES = 256
_FIRST_SLOTS = 256


def custom_id_of(fields: dict[str, Any]) -> str | None:
    """The record's own id: `custom_id`, else `id`, a number as text; None if both are missing or null.

    Raises:
        BadRecordError: It is empty, too long, or neither text nor number.
    """
    key = "custom_id"
    value = fields.get(key)
    if value is None:
        key = "id"
        value = fields.get(key)
        if value is None:
            return None
    if type(value) is str:
        if 0 < len(value) <= MAX_ID_CHARS:
            return value
        what = "empty" if not value else f"longer than {MAX_ID_CHARS} characters"
        raise BadRecordError(f"{key} is {what}", "Give the record a short id, or none.")
    if type(value) is int:
        return str(value)
    if type(value) is float:
        if abs(value) >= _EXACT_FLOAT:
            raise BadRecordError(f"{key} is a number too large to be exact", "Write it as text.")
        return str(int(value)) if value.is_integer() else str(value)
    raise BadRecordError(f"{key} is neither text nor a number", "Give the record a text as id.")


class IdsTaken:
    """The ids of a data set's rows so far.

    Args:
        called: What messages call the place of a `line_no`: `line 3`.
    """

    def __init__(self, called: Callable[[int], str]) -> None:
        self._called = called
        self._fingerprints = _Fingerprints()
        # Until a record brings an id, row numbers can't clash, and only their lines are kept: the
        # begin of every stretch in which line and row number go up together.
        self._all_numbered = True
        self._numbered_rows = 0
        self._stretch_row_nos = array("Q")
        self._stretch_line_nos = array("Q")

    def take(self, custom_id: str | None, row_no: int, line_no: int) -> None:
        """Take the id of a row that is about to be added, or its number where it has none.

        Raises:
            BadRecordError: An earlier row has the id; the message names its line.
        """
        if custom_id is None and self._all_numbered:
            self._note_line(row_no, line_no)
            return
        self._all_numbered = False
        text = str(row_no) if custom_id is None else custom_id
        earlier = (self._numbered_rows and self._line_of_numbered(text)) or (
            self._fingerprints.claim(text, line_no)
        )
        if not earlier:
            return
        place = self._called(earlier)
        if custom_id is None:
            raise BadRecordError(
                f"the record has no id, and its row number {text!r} is the id of {place}",
                "Give every record an id, or none.",
            )
        raise BadRecordError(
            f"the id {shown(text)} is that of {place} already",
            "Ids have to differ (a record without one goes by its row number).",
        )

    def _note_line(self, row_no: int, line_no: int) -> None:
        self._numbered_rows = row_no + 1
        if self._stretch_row_nos:
            expected = self._stretch_line_nos[-1] + row_no - self._stretch_row_nos[-1]
            if line_no == expected:
                return
        self._stretch_row_nos.append(row_no)
        self._stretch_line_nos.append(line_no)

    def _line_of_numbered(self, text: str) -> int:
        if not text.isdecimal() or not text.isascii():
            return 0
        row_no = int(text)
        if row_no >= self._numbered_rows or str(row_no) != text:
            return 0
        place = bisect_right(self._stretch_row_nos, row_no) - 1
        return self._stretch_line_nos[place] + row_no - self._stretch_row_nos[place]


class _Fingerprints:
    """Open-addressed tables from an id's fingerprint to the line that it came from.

    Many small tables instead of one: a table that grows needs old and new side by side.
    """

    def __init__(self) -> None:
        self._hashes: list[array[int]] = []
        self._line_nos: list[array[int]] = []
        self._used = [0] * _TABLES

    def claim(self, text: str, line_no: int) -> int:
        """Line of the earlier holder, or 0 and the text is held by `line_no` from now on."""
        if not self._hashes:
            self._hashes = [array("q", bytes(8 * _FIRST_SLOTS)) for _ in range(_TABLES)]
            self._line_nos = [array("I", bytes(4 * _FIRST_SLOTS)) for _ in range(_TABLES)]
        table_no = crc32(text.encode()) % _TABLES
        hashes = self._hashes[table_no]
        fingerprint = hash(text) or 1  # 0 marks an empty slot
        slots = len(hashes)
        slot = fingerprint % slots
        while held := hashes[slot]:
            if held == fingerprint:
                return self._line_nos[table_no][slot]
            slot += 1
            if slot == slots:
                slot = 0
        hashes[slot] = fingerprint
        self._line_nos[table_no][slot] = line_no
        self._used[table_no] += 1
        if self._used[table_no] * 4 > slots * 3:
            self._grow(table_no)
        return 0

    def _grow(self, table_no: int) -> None:
        """Move a table's ids into one half as large again: all at once, as one by one took 1 us a row."""
        taken = np.frombuffer(self._hashes[table_no], dtype=np.int64)
        slots = taken.size * 3 // 2
        used = np.flatnonzero(taken)
        wanted = taken[used] % slots
        order = np.argsort(wanted, kind="stable")
        used = used[order]
        # Each takes the slot it wants, or the first one behind all that want the same or an earlier one.
        number = np.arange(used.size)
        slot = np.maximum.accumulate(wanted[order] - number) + number
        # Who finds none before the table's end begins again at its start, where some are free.
        beyond = slot >= slots
        is_free = np.ones(slots, np.bool_)
        is_free[slot[~beyond]] = False
        slot[beyond] = np.flatnonzero(is_free)[: np.count_nonzero(beyond)]
        hashes, line_nos = array("q", bytes(8 * slots)), array("I", bytes(4 * slots))
        np.frombuffer(hashes, dtype=np.int64)[slot] = taken[used]
        old_line_nos = np.frombuffer(self._line_nos[table_no], dtype=np.uint32)
        np.frombuffer(line_nos, dtype=np.uint32)[slot] = old_line_nos[used]
        self._hashes[table_no], self._line_nos[table_no] = hashes, line_nos
