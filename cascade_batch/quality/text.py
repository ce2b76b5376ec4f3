"""What texts are compared by: normalised in two strengths."""

from __future__ import annotations

import unicodedata

EDGES = " \t\r\n\"'`*_~.,:;!?()[]{}<>«»“”„‘’…。、！？：；（）【】「」"  # noqa: RUF001
"""Punctuation, quotes and markdown that may surround an answer without being part of it."""


def fold(text: str) -> str:
    """The text without differences of case, Unicode form and white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def fold_edges(text: str) -> str:
    """`fold`, without surrounding punctuation; a text of nothing but punctuation is kept whole."""
    folded = fold(text)
    return folded.strip(EDGES) or folded


def shorten(text: object, limit: int = 80) -> str:
    """At most `limit` characters of a text, quoted, for messages."""
    shown = repr(text)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
