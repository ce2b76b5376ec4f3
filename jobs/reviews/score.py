"""How many answers of a job are right, counted by labels that it never saw? Beside each tier alone.

    python jobs/reviews/score.py JOB

Counted are the held-back rows, as in README.md. What a tier alone gives was measured once, by asking it about
every row (`measure.py`), and is kept in alone.json: it is not asked again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cascade_batch
from cascade_batch.domain.money import format_usd, usd_to_nanousd
from cascade_batch.results.report.curves import interval_90

FOLDER = Path(__file__).parent


def main() -> None:
    """Count, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("job")
    name = parser.parse_args().job
    lines = (FOLDER / "data" / "reviews.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    held_back = {no: row["label"] for no, row in enumerate(rows) if "gold" not in row}
    job = cascade_batch.job(name)
    results = job.results().set_index("row_no")
    values = results["value"].reindex(list(held_back)).astype(object)
    right = sum(value == label for value, label in zip(values, held_back.values(), strict=True))
    alone = json.loads((FOLDER / "alone.json").read_text(encoding="utf-8"))
    print(f"Right on the {len(held_back)} held-back rows, whose labels no tier and no planner saw:")
    print(f"  {'':14}{'right':<8}{'90 % interval':<17}cost of all {len(rows)} rows")
    spent = job.progress().spent_usd
    print(_line("this job", right / len(held_back), len(held_back), spent, "counted now"))
    for tier in alone["tiers"]:
        share, usd = tier["right"], tier["usd"]
        print(_line(f"{tier['name']} alone", share, alone["rows"], usd, alone["how"]))


def _line(what: str, share: float, rows: int, usd: float, how: str) -> str:
    low, high = interval_90(round(share * rows), rows)
    cost = format_usd(usd_to_nanousd(f"{usd:.9f}"))
    return f"  {what:14}{share:<8.2f}{f'{low:.2f} to {high:.2f}':<17}{cost:<12}{how}"


if __name__ == "__main__":
    main()
