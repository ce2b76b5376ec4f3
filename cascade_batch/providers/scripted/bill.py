"""What the provider charges: arithmetic and counters of its own, so that it can witness against a ledger.

Nothing here is shared with the code that plans or records what cascade-batch spends. Prices are
integers of pico-dollars per token; a call is summed in pico-dollars and rounded up to nano-dollars.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TypedDict

import orjson

from cascade_batch.errors import UsageError

_PICOUSD_PER_USD = 10**12
_TOKENS_PER_MTOK = 10**6
_LOG_LINES_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as billed and (unless a fault hides them) as reported.

    Attributes:
        input_tokens: All tokens of the prompt, the cached ones among them.
        output_tokens: All tokens generated, the reasoning tokens among them.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0

    def times(self, factor: Decimal) -> Usage:
        """The usage with every count multiplied and rounded up."""
        return Usage(
            math.ceil(self.input_tokens * factor),
            math.ceil(self.output_tokens * factor),
            math.ceil(self.cached_input_tokens * factor),
            math.ceil(self.reasoning_tokens * factor),
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """A model's price in whole pico-dollars: per token of each kind, and per call."""

    input_picousd: int
    output_picousd: int
    cached_input_picousd: int
    call_picousd: int

    @classmethod
    def from_usd(cls, input_: Decimal, output: Decimal, cached: Decimal, call: Decimal) -> Rate:
        """From USD per million tokens (and USD per call), rounded up to a pico-dollar."""
        per_token = _PICOUSD_PER_USD // _TOKENS_PER_MTOK
        return cls(
            math.ceil(input_ * per_token),
            math.ceil(output * per_token),
            math.ceil(cached * per_token),
            math.ceil(call * _PICOUSD_PER_USD),
        )

    def cost_nanousd(self, usage: Usage) -> int:
        """Price of one call, rounded up to a nano-dollar."""
        picousd = (
            (usage.input_tokens - usage.cached_input_tokens) * self.input_picousd
            + usage.cached_input_tokens * self.cached_input_picousd
            + usage.output_tokens * self.output_picousd
            + self.call_picousd
        )
        return -(-picousd // 1000)


class ModelStatement(TypedDict):
    """One model's part of a `Statement`; tokens and money are those billed."""

    calls: int
    billed: int
    answered: int
    duplicates: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    nanousd: int
    in_flight: int
    max_in_flight: int
    faults: dict[str, int]


class Statement(TypedDict):
    """The answer of `GET /bill`; what each number means is told in the package's docstring."""

    calls_total: int
    calls_billed: int
    calls_refused: int
    calls_unreadable: int
    not_routed: int
    duplicates: int
    total_nanousd: int
    models: dict[str, ModelStatement]


class LogEntry(TypedDict):
    """One line of the log: a call at the moment when it was accepted."""

    seq: int
    time: float
    model: str | None
    prompt: str | None
    status: int | None
    billed_nanousd: int
    input_tokens: int
    output_tokens: int
    fault: str | None


@dataclass(slots=True)
class Account:
    """Counters of one model since the start or the last reset.

    A call keeps the account that it began with: one that was in flight at a reset ends on the old one.
    """

    rate: Rate
    calls: int = 0
    billed: int = 0
    answered: int = 0
    duplicates: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    nanousd: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    billed_prompts: set[bytes] = field(default_factory=set)

    def charge(self, usage: Usage, prompt_key: bytes) -> int:
        """Put a call on the bill; returns its price in nano-dollars."""
        nanousd = self.rate.cost_nanousd(usage)
        self.billed += 1
        self.input_tokens += usage.input_tokens
        self.cached_input_tokens += usage.cached_input_tokens
        self.output_tokens += usage.output_tokens
        self.nanousd += nanousd
        if prompt_key in self.billed_prompts:
            self.duplicates += 1
        else:
            self.billed_prompts.add(prompt_key)
        return nanousd

    def begin(self) -> None:
        """A call passed the limits and is being worked on."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def end(self, *, answered: bool) -> None:
        """A call was written out, or its client went away."""
        self.in_flight -= 1
        self.answered += answered

    def statement(self) -> ModelStatement:
        """The account as shown."""
        return {
            "calls": self.calls,
            "billed": self.billed,
            "answered": self.answered,
            "duplicates": self.duplicates,
            "input_tokens": self.input_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "output_tokens": self.output_tokens,
            "nanousd": self.nanousd,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "faults": dict(self.faults),
        }


class CallLog:
    """One JSON line per call: the last ones in memory, all of them in a file where one is given.

    The file is written line by line without a buffer, so that it is complete even if the process
    is killed.
    """

    def __init__(self, path: Path | None) -> None:
        self._lines: deque[bytes] = deque(maxlen=_LOG_LINES_KEPT)
        self._seq = 0
        try:
            self._file = None if path is None else path.open("ab", buffering=0)
        except OSError as error:
            raise UsageError(
                f"The log {path} can't be written: {error.strerror}.",
                hint="Name a file in a folder that exists.",
            ) from None

    def next_seq(self) -> int:
        """The number of the next call, from 1; a reset does not start it again."""
        self._seq += 1
        return self._seq

    def write(
        self,
        *,
        seq: int,
        model: str | None,
        prompt_key: bytes | None,
        status: int | None,
        nanousd: int,
        usage: Usage | None,
        fault: str | None,
    ) -> None:
        """Write down one call; without usage it is not on the bill."""
        entry: LogEntry = {
            "seq": seq,
            "time": round(time.time(), 6),
            "model": model,
            "prompt": None if prompt_key is None else prompt_key.hex(),
            "status": status,
            "billed_nanousd": nanousd,
            "input_tokens": 0 if usage is None else usage.input_tokens,
            "output_tokens": 0 if usage is None else usage.output_tokens,
            "fault": fault,
        }
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        self._lines.append(line)
        if self._file is not None:
            self._file.write(line)

    def lines(self) -> bytes:
        """The last 10,000 calls, a JSON line each."""
        return b"".join(self._lines)

    def forget(self) -> None:
        """Drop the lines in memory; the file keeps its own."""
        self._lines.clear()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
