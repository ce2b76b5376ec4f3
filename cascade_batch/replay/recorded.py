"""Recorded sets: what several tiers answered to the same rows, whether it was right, and what it cost.

A set is a file `NAME.jsonl.gz` (or `NAME.jsonl`), a line per row,

    {"id", "task", "system": str|null, "prompt": str,
     "outcomes": {TIER: {"text", "score": 0..1, "input_tokens", "output_tokens", "logprob": float|null}}}

and beside it `NAME.json` with the tiers, cheap to dear:

    {"name": NAME, "tiers": [{"name", "input_usd_per_mtok", "output_usd_per_mtok"}, ...]}

Further keys of either are ignored.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from cascade_batch.domain.money import PICOUSD_PER_NANOUSD
from cascade_batch.errors import DataError, UsageError
from cascade_batch.near_names import file_beside
from cascade_batch.policy.view import Amounts, Bools, Floats, Keys, Signals
from cascade_batch.replay.prices import TierPrice, read_prices, tier_names
from cascade_batch.replay.values import read_values

MOST_TOKENS = 10**7
"""The most tokens of a call: with the highest price, what a 64-bit sum of pico-dollars holds."""


@dataclass(frozen=True, slots=True)
class RecordedSet:
    """Outcomes of N rows on T tiers, cheap to dear.

    Attributes:
        name: Name of the set; of a mix, the names joined by `+`.
        tiers: Names of the tiers; of a mix whose names differ, joined by `+` place by place.
        score: [N, T] how right the answer is, 0 to 1.
        cost_nanousd: [N, T] what the call costs at the recorded tokens, rounded up per call.
        worst_nanousd: [N, T] worst case of the call: its input, and the longest output that the tier
            recorded anywhere in its set.
        confidence: [N, T] recorded log-probability, at most 0; NaN where the source has none.
        length: [N, T] output tokens.
        input_size: [N] bytes of system message and prompt.
        value_key: [N, T] equal within a row where two answers have the same normalised value; 0 for none.
        fits: [N, T] there is an answer, and a value in it where the set asks for one.
        stratum: [N] place of the row's group in `stratum_names`.
        stratum_names: Groups, from `task`; of a mix, with the set's name before it.
    """

    name: str
    tiers: tuple[str, ...]
    score: Floats
    cost_nanousd: Amounts
    worst_nanousd: Amounts
    confidence: Signals
    length: Signals
    input_size: Signals
    value_key: Keys
    fits: Bools
    stratum: NDArray[np.int32]
    stratum_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.input_size)

    def take(self, row_nos: NDArray[np.intp]) -> RecordedSet:
        """These rows, in this order."""
        taken: dict[str, Any] = {name: getattr(self, name)[row_nos] for name in _ARRAYS}
        return replace(self, **taken)

    def total_nanousd(self) -> Amounts:
        """[T] cost of all rows on one tier."""
        return np.asarray(self.cost_nanousd.sum(axis=0), np.int64)


_NAMES = ("name", "tiers", "stratum_names")
_ARRAYS = tuple(f.name for f in fields(RecordedSet) if f.name not in _NAMES)


def read_set(path: Path | str, tiers: Sequence[str] | None = None) -> RecordedSet:
    """Read a recorded set.

    Args:
        path: Its file; the prices are read from the `.json` beside it.
        tiers: The tiers to keep, cheap to dear; all, in the order of the prices, if None.

    Raises:
        UsageError: A file is missing, the prices can't be used, or a tier has none.
        DataError: A line can't be used, or has no outcome for a tier; names file and line.
    """
    path = Path(path)
    name, prices = read_prices(path, tiers)
    reader = _Reader(path, tuple(price.name for price in prices))
    for line_no, line in enumerate(_lines(path), start=1):
        if line.strip():
            reader.add(line_no, line)
    if not reader.input_size:
        raise DataError("the set has no row", source=str(path))
    return reader.finish(name, prices)


def draw_rows(set_: RecordedSet, n_rows: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Places of so many rows drawn at random without replacement, in random order; of all, if there are
    no more."""
    return rng.permutation(len(set_))[:n_rows]


def sample_rows(set_: RecordedSet, n_rows: int, rng: np.random.Generator) -> RecordedSet:
    """The rows that `draw_rows` draws."""
    return set_.take(draw_rows(set_, n_rows, rng))


def read_mix(paths: Sequence[Path | str], tiers: Sequence[Sequence[str]]) -> RecordedSet:
    """Read several sets as one, see `mix`.

    Args:
        paths: The files; the first set names the tiers.
        tiers: The tiers to keep: none, for all; one list for all sets, of which a further set whose tiers
            are called otherwise keeps all its own; or a list for each set.

    Raises:
        UsageError: As `read_set` and `mix`, or the number of lists is neither.
        DataError: As `read_set`.
    """
    if len(tiers) > 1 and len(tiers) != len(paths):
        raise UsageError(
            f"There are {len(paths)} sets, and tiers for {len(tiers)}.",
            hint="Name the tiers of all sets at once, or of each, joined by +: a,b,c+d,e,f.",
        )
    sets = []
    for place, path in enumerate(paths):
        wanted = tiers[min(place, len(tiers) - 1)] if tiers else None
        if place and len(tiers) == 1 and not set(tiers[0]) <= set(tier_names(Path(path))):
            wanted = None
        sets.append(read_set(path, wanted))
    return mix(sets)


def mix(sets: Sequence[RecordedSet]) -> RecordedSet:
    """One set of the rows of several, which keep apart as strata. Tiers are matched by place, cheap to dear.

    Raises:
        UsageError: The sets differ in the number of their tiers.
    """
    if len(sets) == 1:
        return sets[0]
    if len({len(s.tiers) for s in sets}) > 1:
        counts = ", ".join(f"{s.name} has {len(s.tiers)}" for s in sets)
        raise UsageError(
            f"The sets differ in the number of their tiers: {counts}.",
            hint="Name as many of each, joined by +: --tiers a,b,c+d,e,f.",
        )
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(s, name) for s in sets]) for name in _ARRAYS
    }
    starts = np.cumsum([0, *(len(s.stratum_names) for s in sets[:-1])])
    joined["stratum"] = np.concatenate(
        [s.stratum + np.int32(start) for s, start in zip(sets, starts, strict=True)]
    )
    return RecordedSet(
        name="+".join(s.name for s in sets),
        tiers=tuple(
            "+".join(dict.fromkeys(names)) for names in zip(*(s.tiers for s in sets), strict=True)
        ),
        stratum_names=tuple(f"{s.name}/{name}" for s in sets for name in s.stratum_names),
        **joined,
    )


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            yield from lines
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}.", hint=file_beside(path)) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} can't be read: {error}.") from None


class _Reader:
    """Gathers the columns of a set, line by line."""

    def __init__(self, path: Path, tiers: tuple[str, ...]) -> None:
        self._source = str(path)
        self._tiers = tiers
        self._strata: dict[str, int] = {}
        self._stratum: list[int] = []
        self.input_size: list[int] = []
        # Of each, the tiers of a row follow one another.
        self._input: list[int] = []
        self._output: list[int] = []
        self._score: list[float] = []
        self._confidence: list[float] = []
        self._texts: list[str] = []

    def add(self, line_no: int, line: bytes) -> None:
        try:
            row = orjson.loads(line)
            outcomes = row["outcomes"]
            system, prompt = row.get("system") or "", row["prompt"]
            self.input_size.append(len(system.encode()) + len(prompt.encode()))
            stratum = self._strata.setdefault(str(row.get("task") or ""), len(self._strata))
            self._stratum.append(stratum)
        except orjson.JSONDecodeError as error:
            raise self._error(line_no, f"broken JSON: {error}") from None
        except KeyError as error:
            raise self._error(line_no, f"the key {error.args[0]!r} is missing") from None
        except (AttributeError, TypeError):
            raise self._error(
                line_no, "a line is an object with texts `prompt` and `system`, and `outcomes`"
            ) from None
        for tier in self._tiers:
            self._add_outcome(line_no, tier, outcomes)

    def _add_outcome(self, line_no: int, tier: str, outcomes: Any) -> None:
        if not isinstance(outcomes, dict) or tier not in outcomes:
            raise self._error(line_no, f"there is no outcome for the tier {tier!r}")
        try:
            outcome = outcomes[tier]
            score, logprob = float(outcome["score"]), outcome.get("logprob")
            given, made = outcome["input_tokens"], outcome["output_tokens"]
            confidence = math.nan if logprob is None else max(min(float(logprob), 0.0), -1e30)
            text = outcome["text"] or ""
            bad = not isinstance(text, str) or not 0 <= score <= 1
            bad = bad or not all(_is_count(tokens) for tokens in (given, made))
        except (KeyError, TypeError, ValueError, AttributeError):
            bad = True
        if bad:
            raise self._error(
                line_no,
                f"the outcome of {tier!r} needs a `text`, a `score` from 0 to 1, `input_tokens` and"
                f" `output_tokens` from 0 to {MOST_TOKENS:,}, and a `logprob` that is a number or null",
            )
        self._input.append(given)
        self._output.append(made)
        self._score.append(score)
        self._confidence.append(confidence)
        self._texts.append(text)

    def _error(self, line_no: int, reason: str) -> DataError:
        return DataError(reason, source=self._source, line_no=line_no)

    def finish(self, name: str, prices: Sequence[TierPrice]) -> RecordedSet:
        shape = (-1, len(self._tiers))
        given = np.array(self._input, np.int64).reshape(shape)
        made = np.array(self._output, np.int64).reshape(shape)
        value_key, fits = read_values(self._texts)
        return RecordedSet(
            name=name,
            tiers=self._tiers,
            score=np.array(self._score).reshape(shape),
            cost_nanousd=_price(prices, given, made),
            worst_nanousd=_price(prices, given, np.broadcast_to(made.max(axis=0), made.shape)),
            confidence=np.array(self._confidence, np.float32).reshape(shape),
            length=made.astype(np.float32),
            input_size=np.array(self.input_size, np.float32),
            value_key=value_key.reshape(shape),
            fits=fits.reshape(shape),
            stratum=np.array(self._stratum, np.int32),
            stratum_names=tuple(self._strata),
        )


def _is_count(tokens: Any) -> bool:
    return isinstance(tokens, int) and 0 <= tokens <= MOST_TOKENS


def _price(prices: Sequence[TierPrice], given: Amounts, made: Amounts) -> Amounts:
    """[N, T] cost of calls with so many input and output tokens, rounded up to a nano-dollar each."""
    picousd = given * [p.input_picousd for p in prices] + made * [p.output_picousd for p in prices]
    return np.asarray(-(-picousd // PICOUSD_PER_NANOUSD), np.int64)
