"""The rows of the throughput's jobs: their prompts, and which tiers they need.

Standard library only: peers ask the same questions from environments of their own.
"""

from __future__ import annotations

import json
import random
from functools import cache

MODELS = ("small", "medium", "large")
"""One per tier, cheap to dear."""
MAX_OUTPUT_TOKENS = 4
GOOD, UNSURE = "up", "unsure"
"""What a model says; the second fails the job's check."""
UNSURE_ROWS = (r"\AIs row \d+[0-2] ", r"\AIs row \d+0 ")
"""Patterns of the prompts that the first two models are unsure about."""
_LAST_DIGITS = (range(10), range(3), range(1))
_FILLER_BYTES = 1 << 16


def prompt(row: int, size_bytes: int) -> str:
    """The prompt of a row: a question, and text up to its size, different for every row."""
    question = f"Is row {row:06} up or down? "
    start = row * 97 % _FILLER_BYTES
    return question + _filler()[start : start + size_bytes - len(question)]


def calls_needed(rows: int, tiers: int) -> list[int]:
    """How many calls each tier gets for the first rows: one a row, the second three in ten, the third one."""
    return [sum(row % 10 in digits for row in range(rows)) for digits in _LAST_DIGITS[:tiers]]


def body(model: str, row: int, size_bytes: int) -> bytes:
    """The request that asks a model about a row, in OpenAI's format."""
    message = {"role": "user", "content": prompt(row, size_bytes)}
    request = {"model": model, "messages": [message], "max_tokens": MAX_OUTPUT_TOKENS}
    return json.dumps(request).encode()


@cache
def _filler() -> str:
    # Words in random order, so that no part of the machinery saves itself work by packing them.
    draw = random.Random(1)
    lengths = list(range(2, 12)) * 200
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=length)) for length in lengths]
    return " ".join(draw.choices(words, k=_FILLER_BYTES // 2))
