"""Answers from a file of recorded outcomes.

A line per question, gzipped or not: `{"id", "prompt", "outcomes": {TIER: {"text", "input_tokens",
"output_tokens", "logprob"}}}`; other keys are ignored. A question is found by the request's custom id
(`metadata.custom_id` or `user`) or else by its prompt, which is the last user message but for blanks
around it. Of lines with the same prompt the first answers.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from cascade_batch.errors import DataError
from cascade_batch.providers.scripted.answers import Unmatched
from cascade_batch.providers.scripted.said import Said
from cascade_batch.providers.scripted.wire import Ask

_ALTERNATIVES_KEPT = 20


class RecordedAnswers:
    """One tier's outcomes of a recording."""

    def __init__(self, source: str, tier: str) -> None:
        self._source = source
        self._tier = tier
        self._by_prompt: dict[str, Said] = {}
        self._by_id: dict[str, Said] = {}
        self._one_token_texts: Counter[str] = Counter()

    def add(self, custom_id: str | None, prompt: str, said: Said) -> None:
        """Take up an outcome."""
        self._by_prompt.setdefault(prompt.strip(), said)
        if custom_id is not None:
            self._by_id.setdefault(custom_id, said)
        if said.output_tokens == 1:
            self._one_token_texts[said.text] += 1

    def answer(self, ask: Ask) -> Said:
        """The recorded outcome."""
        said = self._by_id.get(ask.custom_id) if ask.custom_id is not None else None
        if said is None:
            said = self._by_prompt.get(ask.prompt.strip())
        if said is None:
            raise Unmatched(
                f"{self._source} holds no outcome of {self._tier} for the prompt {ask.prompt[:80]!r}."
            )
        if ask.top_logprobs and said.output_tokens == 1 and said.logprob is not None:
            return replace(said, alternatives=self._alternatives(said.text, said.logprob))
        return said

    def _alternatives(self, text: str, logprob: float) -> tuple[tuple[str, float], ...]:
        # The recording tells only how sure the answer was. What is left of the probability goes to
        # the other one-token answers, by how often each occurs.
        others = [
            pair
            for pair in self._one_token_texts.most_common(_ALTERNATIVES_KEPT + 1)
            if pair[0] != text
        ]
        total = sum(count for _, count in others)
        rest = -math.expm1(logprob)
        if rest <= 0:
            return ()
        return tuple((other, math.log(rest * count / total)) for other, count in others)


def load_recording(path: Path, tiers: Collection[str]) -> dict[str, RecordedAnswers]:
    """Read the outcomes of some tiers.

    Raises:
        DataError: The file can't be read, a line is no recorded question, or a tier does not occur.
    """
    source = str(path)
    recorded = {tier: RecordedAnswers(source, tier) for tier in tiers}
    seen: set[str] = set()
    for line_no, line in _lines(path):
        try:
            record = orjson.loads(line)
            for tier in recorded.keys() & record["outcomes"].keys():
                said = _said(record["outcomes"][tier])
                recorded[tier].add(record.get("id"), record["prompt"], said)
            seen.update(record["outcomes"])
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise DataError(
                f"not a recorded question: {type(error).__name__}: {error}.",
                source=source,
                line_no=line_no,
                hint="A line holds id, prompt and outcomes: {TIER: {text, input_tokens,"
                " output_tokens, logprob}}.",
            ) from None
    for tier in recorded:
        if tier not in seen:
            raise DataError(
                f"no outcome of a tier {tier!r}.",
                source=source,
                hint=f"Name one of them as the model's tier: {', '.join(sorted(seen))}.",
            )
    return recorded


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for line_no, line in enumerate(lines, start=1):
                if line.strip():
                    yield line_no, line
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"the recording can't be read: {error}.", source=str(path), hint="Check the path."
        ) from None


def _said(outcome: dict[str, Any]) -> Said:
    logprob = outcome.get("logprob")
    if not isinstance(outcome["text"], str):
        raise TypeError("text is no text")
    return Said(
        text=outcome["text"],
        output_tokens=int(outcome["output_tokens"]),
        input_tokens=int(outcome["input_tokens"]),
        logprob=None if logprob is None else min(0.0, float(logprob)),
    )
