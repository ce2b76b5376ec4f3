"""What a model says to a prompt: by rules, by simulation, or as an echo (recordings: `recording`)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from statistics import NormalDist
from typing import Protocol

from cascade_batch.providers.scripted.said import Said, token_count
from cascade_batch.providers.scripted.script import AnswerRule, Simulation, Spread
from cascade_batch.providers.scripted.wire import Ask

_NORMAL = NormalDist()
_Z95 = _NORMAL.inv_cdf(0.95)


class Unmatched(Exception):  # noqa: N818 - not an error of the program: the script has no answer
    """The script has no answer to this prompt; the message says why."""


class Answers(Protocol):
    """A way of answering."""

    def answer(self, ask: Ask) -> Said:
        """What the model says.

        Raises:
            Unmatched: The script has nothing for this prompt.
        """


class RuledAnswers:
    """The first rule whose pattern is found in the prompt answers."""

    def __init__(self, rules: Sequence[AnswerRule]) -> None:
        self._rules = [(re.compile(rule.match or ""), _said_by(rule)) for rule in rules]

    def answer(self, ask: Ask) -> Said:
        """The rule's answer."""
        for pattern, said in self._rules:
            if pattern.search(ask.prompt):
                return said
        raise Unmatched(f"No rule in answers matches the prompt {ask.prompt[:80]!r}.")


class EchoedAnswers:
    """The prompt itself, said with certainty."""

    def answer(self, ask: Ask) -> Said:
        """The last user message."""
        return Said(ask.prompt, token_count(len(ask.prompt.encode())), logprob=0.0)


class SimulatedAnswers:
    """A chooser of a given accuracy; see `Simulation`."""

    def __init__(self, simulation: Simulation, model: str, seed: int) -> None:
        self._simulation = simulation
        self._gold = None if simulation.gold is None else re.compile(simulation.gold)
        self._model = model
        self._seed = str(seed)

    def answer(self, ask: Ask) -> Said:
        """The choice, with its log-probability and the other choices' as alternatives."""
        simulation, prompt = self._simulation, ask.prompt
        right = self._right_choice(prompt)
        is_right = self._difficulty(prompt) < simulation.accuracy
        others = [choice for choice in simulation.choices if choice != right]
        choice = right if is_right else others[int(self._draw("which", prompt) * len(others))]
        probability = self._sureness(prompt, is_right=is_right)
        text = simulation.text.replace("{choice}", choice)
        rest = (1.0 - probability) / len(others)
        return Said(
            text,
            self._output_tokens(prompt, text),
            logprob=math.log(probability),
            alternatives=tuple(
                (simulation.text.replace("{choice}", other), math.log(rest))
                for other in simulation.choices
                if other != choice and rest > 0
            ),
        )

    def _right_choice(self, prompt: str) -> str:
        if self._gold is None:
            return right_choice(prompt, self._simulation.choices)
        found = self._gold.search(prompt)
        if found is None:
            raise Unmatched(f"simulate.gold is not found in the prompt {prompt[:80]!r}.")
        if found.group(1) not in self._simulation.choices:
            raise Unmatched(f"simulate.gold found {found.group(1)!r}, which is no choice.")
        return found.group(1)

    def _difficulty(self, prompt: str) -> float:
        # Either draw is uniform, so the accuracy is the same whichever is taken; the shared one makes
        # whatever a weaker model gets right easy for the stronger one too.
        if self._draw("mix", prompt) < self._simulation.correlation:
            return _unit(self._seed, "shared difficulty", prompt)
        return self._draw("difficulty", prompt)

    def _sureness(self, prompt: str, *, is_right: bool) -> float:
        evidence = _NORMAL.inv_cdf(self._draw("evidence", prompt))
        if is_right:
            evidence += self._simulation.separation
        floor = 1.0 / len(self._simulation.choices)
        return floor + (1.0 - floor) / (1.0 + math.exp(-evidence))

    def _output_tokens(self, prompt: str, text: str) -> int:
        given = self._simulation.output_tokens
        if isinstance(given, Spread):
            z = _NORMAL.inv_cdf(self._draw("length", prompt))
            return max(1, round(given.p50 * math.exp(z * sigma_of(given))))
        return given or token_count(len(text.encode()))

    def _draw(self, what: str, prompt: str) -> float:
        return _unit(self._seed, self._model, what, prompt)


def right_choice(prompt: str, choices: Sequence[str]) -> str:
    """The choice that is right for a prompt without a marker: a hash of its text.

    Args:
        prompt: The last user message, as the server sees it.
        choices: In the script's order.
    """
    return choices[int(_unit("right", prompt) * len(choices))]


def sigma_of(spread: Spread) -> float:
    """Standard deviation of the logarithm of a lognormal spread."""
    return math.log(spread.p95 / spread.p50) / _Z95


def _said_by(rule: AnswerRule) -> Said:
    tokens = rule.output_tokens
    return Said(
        rule.text,
        token_count(len(rule.text.encode())) if tokens is None else tokens,
        input_tokens=rule.input_tokens,
        logprob=rule.logprob,
        alternatives=tuple(rule.top_logprobs.items()),
    )


def _unit(*parts: str) -> float:
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    # Never 0 and never 1: the inverse of a distribution function takes neither.
    return (int.from_bytes(digest) // 2**12 + 0.5) / 2**52
