"""Recorded answers of real models: read where they lie, never copied.

Looked for in CASCADE_REPLAY_DIR, else beside the checkout.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class RecordingsMissingError(Exception):
    """The recordings are not on this machine."""


@dataclass(frozen=True)
class Recording:
    """A set of recorded answers.

    Attributes:
        path: The gzipped JSON Lines file, for the scripted provider.
        questions: Its lines.
        tiers: Name, prices, accuracy and cost of each tier, cheap to dear.
    """

    path: Path
    questions: list[dict[str, Any]]
    tiers: list[dict[str, Any]]

    def score(self, custom_id: str, tier: str) -> float:
        """Whether the tier's answer to the question is right."""
        return float(self._outcomes[custom_id][tier]["score"])

    @property
    def _outcomes(self) -> dict[str, Any]:
        return {q["id"]: q["outcomes"] for q in self.questions}

    def accuracy(self, results: list[dict[str, Any]]) -> float:
        """Share of right answers among a job's results; a failed row is a wrong one."""
        outcomes = self._outcomes
        right = [
            outcomes[r["custom_id"]][r["tier"]]["score"] if r["tier"] else 0.0 for r in results
        ]
        return sum(right) / len(right)

    def rows(self) -> list[dict[str, Any]]:
        """The questions as chat messages, without what gives the answer away."""
        rows = []
        for q in self.questions:
            system = [{"role": "system", "content": q["system"]}] if q["system"] else []
            messages = [*system, {"role": "user", "content": q["prompt"]}]
            rows.append({"custom_id": q["id"], "messages": messages})
        return rows

    def script_models(self, latency_ms: float) -> dict[str, Any]:
        """Models of the scripted provider that answer from this recording."""
        return {
            t["name"]: {
                "price": {"input": t["input_usd_per_mtok"], "output": t["output_usd_per_mtok"]},
                "recording": str(self.path),
                "tier": t["name"],
                "latency_ms": latency_ms,
            }
            for t in self.tiers
        }

    def job_tiers(self, url: str, max_output_tokens: int) -> list[dict[str, Any]]:
        """The tiers of a job at their recorded prices."""
        return [
            {
                "name": t["name"],
                "model": t["name"],
                "base_url": url,
                "price": {"input": t["input_usd_per_mtok"], "output": t["output_usd_per_mtok"]},
                "max_output_tokens": max_output_tokens,
                "logprobs": True,
            }
            for t in self.tiers
        ]


def load(name: str, *, limit: int | None = None) -> Recording:
    """Read a recorded set.

    Raises:
        RecordingsMissingError: It is not there.
    """
    beside = Path(__file__).parents[2] / "shared" / "replay"
    folder = Path(os.environ.get("CASCADE_REPLAY_DIR", beside))
    path = folder / f"{name}.jsonl.gz"
    if not path.is_file():
        raise RecordingsMissingError(
            f"{path} is missing: set CASCADE_REPLAY_DIR to the folder of the recorded outcomes"
        )
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        questions = [json.loads(line) for line in lines]
    tiers = json.loads((folder / f"{name}.json").read_text("utf-8"))["tiers"]
    return Recording(path, questions[:limit], tiers)
