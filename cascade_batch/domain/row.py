"""A row: one input record of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


# Neither is frozen, as others of this package are: one of each is made for every row, and that would take
# three times as long.
@dataclass(slots=True)
class Record:
    """A record as read from a data set, before a job numbers it.

    Attributes:
        custom_id: The user's id, or None where the record has none.
        line_no: Line of the file, from 1 (Parquet: number of the record, from 1).
        fields: The record's columns (JSON values), all that is stored of it; what a template sees.
    """

    custom_id: str | None
    line_no: int
    fields: dict[str, Any]


@dataclass(slots=True)
class Prompt:
    """What a tier is asked: chat messages, and whether every token of them is bounded by its bytes."""

    messages: list[dict[str, Any]]
    text_only: bool = True
