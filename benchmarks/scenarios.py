"""What the throughput is measured under: latency, worker processes, tiers, payload, calls in flight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from benchmarks.questions import GOOD, MAX_OUTPUT_TOKENS, MODELS, UNSURE, UNSURE_ROWS

CONCURRENCY = {0: 64, 20: 128, 500: 2000}
"""Latency in ms -> calls in flight of a tier."""
_PRICES = (
    {"input": 0.15, "output": 0.6},
    {"input": 1.0, "output": 4.0},
    {"input": 2.5, "output": 10.0},
)
_BUDGET_USD = 10_000
"""More than any of these jobs can reserve: money is not what limits here."""


@dataclass(frozen=True)
class Scenario:
    """One line of the table.

    Attributes:
        latency_ms: What the provider takes for an answer.
        workers: Worker processes of each tier, and processes of the bare client.
        tiers: 1, or 3 of which the second is asked about three rows in ten and the third about one.
        size_bytes: Of a row's prompt.
        concurrency: Calls in flight of each tier, at most.
        policy: Who plans. `confidence` asks the next tier about exactly the rows that failed their check, so
            that what it buys can be told beforehand; `auto` learns from more than it has to buy.
        starts_early: Rows are drafted while others are still being read.
    """

    latency_ms: int = 20
    workers: int = 1
    tiers: int = 1
    size_bytes: int = 512
    concurrency: int = CONCURRENCY[20]
    policy: str = "confidence"
    starts_early: bool = False

    @property
    def key(self) -> str:
        """What the scenario is, in words."""
        words = [
            f"{self.latency_ms} ms",
            f"{self.workers} worker process{'es' if self.workers > 1 else ''}",
            f"{self.tiers} tier{'s' if self.tiers > 1 else ''}",
            f"{self.size_bytes / 1024:g} KB",
            f"{self.concurrency} at once",
        ]
        words += [] if self.policy == "confidence" else [self.policy]
        return ", ".join(words + (["started early"] if self.starts_early else []))

    @property
    def goal(self) -> float | None:
        """The share of the bare client's rows per second that was asked for; None: none was."""
        if self.latency_ms not in (20, 500):
            return None
        return 0.7 if self.tiers == 1 else 0.6

    def fields(self) -> dict[str, Any]:
        """All of it, for the record."""
        return asdict(self)


BASE = Scenario()
"""The one that the peers are measured beside."""


def scenarios(*, every: bool) -> Iterator[Scenario]:
    """The scenarios, the base first.

    Args:
        every: All combinations; else each thing alone, and together those that may meet.
    """
    found = {
        BASE: None,
        Scenario(tiers=3): None,
        Scenario(500, concurrency=CONCURRENCY[500]): None,
        Scenario(500, tiers=3, concurrency=CONCURRENCY[500]): None,
        Scenario(0, concurrency=CONCURRENCY[0]): None,
        Scenario(workers=2): None,
        Scenario(size_bytes=8192): None,
        Scenario(concurrency=256): None,
        Scenario(tiers=3, policy="auto"): None,
        Scenario(starts_early=True): None,
        Scenario(size_bytes=8192, starts_early=True): None,
    }
    if every:
        for latency_ms, workers, tiers, size_bytes in product(
            CONCURRENCY, (1, 2), (1, 3), (512, 8192)
        ):
            found[Scenario(latency_ms, workers, tiers, size_bytes, CONCURRENCY[latency_ms])] = None
    yield from found


def script(scenario: Scenario) -> dict[str, Any]:
    """What the scripted provider does."""
    good = {"text": GOOD, "output_tokens": 1}
    unsure = [{"match": pattern, "text": UNSURE, "output_tokens": 1} for pattern in UNSURE_ROWS]
    answers = [[one, good] for one in unsure] + [[good]]
    if scenario.tiers == 1:
        answers = [[good]]
    models = {
        model: {"price": price, "latency_ms": scenario.latency_ms, "answers": said}
        for model, price, said in zip(MODELS, _PRICES, answers, strict=False)
    }
    return {"models": models}


def tiers(scenario: Scenario, url: str) -> list[dict[str, Any]]:
    """The tiers file."""
    return [
        {
            "name": model,
            "model": model,
            "base_url": url,
            "price": price,
            "max_output_tokens": MAX_OUTPUT_TOKENS,
            "limits": {"concurrency": scenario.concurrency},
        }
        for model, price in list(zip(MODELS, _PRICES, strict=True))[: scenario.tiers]
    ]


def submit_options(scenario: Scenario) -> list[str]:
    """Options of `submit`, but for the job's name."""
    options = ["--budget", str(_BUDGET_USD), "--policy", scenario.policy]
    options += ["--start-early", "--cache"] if scenario.starts_early else []
    return options + (["--check", f"regex:^{GOOD}$"] if scenario.tiers > 1 else [])
