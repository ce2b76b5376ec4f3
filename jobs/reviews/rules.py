"""The bottom rung: English words that praise and words that blame, counted; nearly free, and instant.

It knows that "not" turns a word around and that what follows "but" counts more. It knows no irony and no
other language, which is what the rungs above are for. What makes it useful in a cascade is that it knows
when it knows nothing: its confidence is low where no known word occurs, and where words stand on both sides.
"""

from __future__ import annotations

import math
import re
from typing import Any

PRAISE = re.compile(
    r"ador|amaz|beaut|best\b|brillian|charm|clever|delight|enjoy|entertain|excellen|excit|fantasti|fresh|fun"
    r"|gem\b|glori|good|gorgeous|great|gripp|happ|honest|joy|laugh|lov|magnific|masterpiece|moving\b|perfect"
    r"|powerful|smart|smil|splendid|strong|stunn|superb|sweet|tender|terrific|thrill|touching|treat\b|triumph"
    r"|unforgettab|warm|win|witty|wonder|worth"
)
BLAME = re.compile(
    r"annoy|asham|awful|bad|bland|bor(?:e|ed|ing)\b|cheap|chore|clich|clumsy|cold\b|disappoint|disast|dread|dull"
    r"|empty|fail|fake|flat\b|foolish|forgettab|hat(?:e|ed)\b|horribl|laughab|lazy|lifeless|mess|nonsens|pain"
    r"|pointless|poor|predictab|regret|ridicul|ruin|sad\b|shallow|shame|silly|slow|stale|stupid|tedi|terribl"
    r"|tired|ugly|waste|weak|wooden|wors|wreck|wrong"
)
"""Beginnings of words."""

_NEGATIONS = frozenset(
    {"cannot", "hardly", "neither", "never", "no", "nobody", "nor", "not", "nothing", "without"}
)
_REACH_WORDS = 3
"""How many words a negation reaches ahead."""
_BUT = re.compile(r"\b(?:but|yet|still)\b")
_WORD = re.compile(r"[^\W\d_]+(?:'[a-z]+)?")

_SURE = 0.72
_ONE_SIDED_AFTER_BUT = 0.65
_UNSURE = 0.55
_GUESS = 0.5


def label_review(request: dict[str, Any]) -> dict[str, Any]:
    """Label one review.

    Args:
        request: `prompt` holds the review and nothing else.

    Returns:
        `text`, `positive` or `negative`, with its log-probability and that of the other label.
    """
    review = request["prompt"].lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    *before, after = _BUT.split(review)
    praise, blame = _count(after)
    if before and praise == blame:
        praise, blame = (a + b for a, b in zip(_count(review), (praise, blame), strict=True))
    label, other = ("positive", "negative") if praise > blame else ("negative", "positive")
    if praise == blame:
        confidence = _GUESS
    elif praise and blame:
        confidence = _UNSURE
    else:
        confidence = _ONE_SIDED_AFTER_BUT if before else _SURE
    return {
        "text": label,
        "logprobs": [math.log(confidence)],
        "top_logprobs": {label: math.log(confidence), other: math.log(1.0 - confidence)},
    }


# Some microseconds of counting: a thread per review would cost more than the review.
label_review.runs_inline = True  # type: ignore[attr-defined]


def _count(text: str) -> tuple[int, int]:
    """Words of praise and of blame, those after a negation counted on the other side."""
    praise = blame = 0
    negated_until = -1
    for place, word in enumerate(_WORD.findall(text)):
        if word in _NEGATIONS or word.endswith("n't"):
            negated_until = place + _REACH_WORDS
            continue
        is_praise, is_blame = bool(PRAISE.match(word)), bool(BLAME.match(word))
        if place <= negated_until:
            is_praise, is_blame = is_blame, is_praise
        praise += is_praise
        blame += is_blame
    return praise, blame
