"""Recorded sets as files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

PRICES = {"small": (0.1, 0.4), "middle": (0.5, 1.5), "large": (2.5, 10.0)}
ACCURACY = {"small": 0.5, "middle": 0.7, "large": 0.9}


def outcome(text: str = "A", **given: Any) -> dict[str, Any]:
    plain = {"text": text, "score": 1.0, "input_tokens": 10, "output_tokens": 1, "logprob": -0.5}
    return {**plain, **given}


def row(no: int = 0, **given: Any) -> dict[str, Any]:
    plain = {
        "id": f"q-{no}",
        "task": "made",
        "system": None,
        "prompt": f"Question {no}?",
        "gold": "A",
        "outcomes": {tier: outcome() for tier in PRICES},
    }
    return {**plain, **given}


def prices(names: dict[str, tuple[float, float]] = PRICES, name: str = "made") -> dict[str, Any]:
    tiers = [
        {"name": tier, "input_usd_per_mtok": given, "output_usd_per_mtok": made}
        for tier, (given, made) in names.items()
    ]
    return {"name": name, "tiers": tiers}


def write_set(folder: Path, lines: list[Any], *, name: str = "made", beside: Any = None) -> Path:
    """Write lines (text as it is) and prices; the path of the set."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path = folder / f"{name}.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(texts).encode()))
    beside = prices(name=name) if beside is None else beside
    (folder / f"{name}.json").write_text(json.dumps(beside))
    return path


def made_rows(n_rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows whose dearer tiers are right more often, and surer where they are right."""
    rng = np.random.default_rng(seed)
    rows = []
    for no in range(n_rows):
        outcomes = {}
        for tier, accuracy in ACCURACY.items():
            right = bool(rng.random() < accuracy)
            outcomes[tier] = outcome(
                "A" if right else "B",
                score=float(right),
                input_tokens=int(rng.integers(50, 150)),
                output_tokens=int(rng.integers(1, 30)),
                logprob=-float(rng.exponential(0.1 if right else 1.0)),
            )
        rows.append(row(no, task=("maths", "law")[no % 2], outcomes=outcomes))
    return rows
