"""Makes the data of the rehearsal: headlines put together from parts, each with its right answer.

    python jobs/rehearsal/generate.py                  # 20,000 rows to jobs/rehearsal/data/rows.jsonl
    python jobs/rehearsal/generate.py --rows 1000000 --out big.jsonl

The scripted provider reads the right answer from the tag at the end of a headline, as it has to know what
to get right and what to get wrong. One row in fifty holds it as `gold`, too, which the job may see.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "data" / "rows.jsonl"
GOLD_EVERY = 50

_METALS = ("Gold", "Bullion", "Spot gold", "Gold futures", "The yellow metal")
_MOVES = {
    "up": ("climbs", "jumps", "rallies", "hits a high", "gains ground"),
    "down": ("slips", "tumbles", "retreats", "hits a low", "loses ground"),
    "none": ("holds steady", "drifts", "treads water", "ends flat", "is little changed"),
}
_CAUSES = (
    "as the dollar moves",
    "after the jobs report",
    "before the central bank meets",
    "as yields swing",
    "while funds rebalance",
    "in thin trading",
    "after fresh inflation figures",
    "on talk of new tariffs",
)


def rows(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`count` rows, the same for the same seed; all headlines differ."""
    draw = random.Random(seed)
    answers = list(_MOVES)
    for number in range(count):
        answer = draw.choice(answers)
        text = f"{draw.choice(_METALS)} {draw.choice(_MOVES[answer])} {draw.choice(_CAUSES)}"
        row = {"id": f"row-{number:07d}", "headline": f"{text} ({number}, #{answer})"}
        if number % GOLD_EVERY == 0:
            row["gold"] = answer
        yield row


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("w", encoding="utf-8") as file:
        for row in rows(given.rows, given.seed):
            file.write(json.dumps(row) + "\n")
    print(f"{given.rows:,} rows: {given.out}")


if __name__ == "__main__":
    main()
