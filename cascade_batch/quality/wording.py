"""What an answer's words give away: that it hedges, or that it refuses. English only.

Signals, never verdicts: "I can't" may be the right answer to a question about a song. A model that hedges
is wrong more often, and by how much is for each job's own evidence to say.
"""

from __future__ import annotations

REFUSALS = (
    "i cannot",
    "i can't",
    "i am unable",
    "i'm unable",
    "i am not able",
    "i'm not able",
    "i won't",
    "i will not",
    "i must decline",
    "i have to decline",
    "as an ai language",
    "as an ai model",
    "as an ai,",
    "as a language model",
    "against my guidelines",
    "i'm sorry, but",
    "i am sorry, but",
    "i apologize, but",
)
"""Beginnings of a refusal, in lower case."""

HEDGES = (
    "not sure",
    "unsure",
    "not certain",
    "uncertain",
    "i don't know",
    "i do not know",
    "don't have enough",
    "do not have enough",
    "not enough information",
    "insufficient information",
    "hard to say",
    "difficult to say",
    "difficult to determine",
    "cannot be determined",
    "can't be determined",
    "i think",
    "i believe",
    "i guess",
    "my best guess",
    "it is unclear",
    "it's unclear",
    "possibly",
    "perhaps",
    "probably",
)
"""Words of doubt, in lower case."""

_SHORTEST = min(map(len, REFUSALS + HEDGES))
_REFUSAL_WITHIN = 200
"""Characters at the start that hold a refusal, if there is one: later on, "I cannot" is about the matter."""
_HEDGE_WITHIN = 500
"""Characters at the start and at the end that are searched for doubt."""


def refuses(text: str) -> bool:
    """Whether the text begins by declining to answer."""
    return _holds(text[:_REFUSAL_WITHIN], REFUSALS)


def hedges(text: str) -> bool:
    """Whether the text says, near its start or end, that it may be wrong."""
    if len(text) > 2 * _HEDGE_WITHIN:
        text = f"{text[:_HEDGE_WITHIN]}\n{text[-_HEDGE_WITHIN:]}"
    return _holds(text, HEDGES)


def _holds(text: str, phrases: tuple[str, ...]) -> bool:
    if len(text) < _SHORTEST:
        return False
    text = text.lower()
    if "’" in text:  # noqa: RUF001
        text = text.replace("’", "'")  # noqa: RUF001
    return any(phrase in text for phrase in phrases)
