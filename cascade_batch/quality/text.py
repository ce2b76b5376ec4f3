"""What texts are compared by: normalised in three strengths."""

from __future__ import annotations

import re
import unicodedata

EDGES = " \t\r\n\"'`*_~.,:;!?()[]{}<>«»“”„‘’…。、！？：；（）【】「」"  # noqa: RUF001
"""Punctuation, quotes and markdown that may surround an answer without being part of it."""

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER = re.compile(
    r"((?:(?<![\w.,])[-+−])?(?:(?<!\d)\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?)"  # noqa: RUF001
)
_DIGIT = re.compile(r"\d")


def fold(text: str) -> str:
    """The text without differences of case, Unicode form and white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def fold_edges(text: str) -> str:
    """`fold`, without surrounding punctuation; a text of nothing but punctuation is kept whole."""
    folded = fold(text)
    return folded.strip(EDGES) or folded


def normalise(text: str) -> str:
    """The text as question answering compares it: `fold`, without punctuation and English articles.

    More careful than usual with what carries meaning: numbers keep sign and decimal point and lose the
    separators of thousands and noughts at their end ("-1,234.50" is "-1234.5"); hyphens, slashes and colons
    part words, so that "10-12" is not "1012"; `%`, `#` in "C#", and symbols such as `+` and `$` stay; an
    article at the very end stays ("vitamin A"). A text of nothing else is folded only.
    """
    folded = fold(text).lstrip("# ")
    if _DIGIT.search(folded):
        # Every other piece is a number, with its own punctuation.
        pieces = _NUMBER.split(folded)
        pieces[::2] = [piece.translate(_PUNCTUATION) for piece in pieces[::2]]
        pieces[1::2] = [canonical_number(piece) for piece in pieces[1::2]]
        words = "".join(pieces).split()
    else:
        words = folded.translate(_PUNCTUATION).split()
    last = words[-1:]
    return " ".join([w for w in words[:-1] if w not in _ARTICLES] + last) or fold(text)


def canonical_number(number: str) -> str:
    """A number's digits in the one way to write them that counts: "1,000.50", "+1000.5" are "1000.5".

    Args:
        number: Digits with, perhaps, a sign, commas between thousands, and a decimal point.
    """
    number = number.lstrip("+").replace(",", "").replace("−", "-")  # noqa: RUF001
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return "0" if number == "-0" else number


def shorten(text: object, limit: int = 80) -> str:
    """At most `limit` characters of a text, quoted, for messages."""
    shown = repr(text)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


class _Punctuation(dict[int, int | str | None]):
    """Code point -> what becomes of it, for `str.translate`; worked out when first met."""

    def __missing__(self, code: int) -> int | str | None:
        self[code] = found = self._without_punctuation(code)
        return found

    @staticmethod
    def _without_punctuation(code: int) -> int | str | None:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Pd" or character in "/\\:":
            return " "
        if character in "%#":
            return code
        # Modifiers (`^) and what is invisible go as well; combining marks are part of their letter.
        return None if category[0] == "P" or category in ("Sk", "Cf") else code


_PUNCTUATION = _Punctuation()
