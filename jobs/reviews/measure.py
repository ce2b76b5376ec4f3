"""How good and how fast is each tier alone? Asks every tier about every row, outside of any job.

    python jobs/reviews/measure.py gold        # the rows that prompts may be chosen on
    python jobs/reviews/measure.py held-back   # the rows that no choice was made on

Needs the models, but neither a database nor a broker. `--tiers F` measures other tiers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cascade_batch.domain.answer import Answered
from cascade_batch.domain.job import Output
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.tier_files import read_tiers_file
from cascade_batch.prompts import compile_prompt
from cascade_batch.providers import Providers
from cascade_batch.quality import make_judge
from cascade_batch.quality.signals import signals_of

FOLDER = Path(__file__).parent
LABELS = Output(choices=("positive", "negative"))


async def main() -> None:
    """Ask, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=["gold", "held-back"])
    parser.add_argument("--tiers", type=Path, default=FOLDER / "tiers.yaml")
    given = parser.parse_args()
    lines = (FOLDER / "data" / "reviews.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if ("gold" in row) == (given.part == "gold")]
    providers = Providers()
    try:
        for tier in read_tiers_file(given.tiers, python_path=FOLDER):
            print(await _measure(providers, tier, rows))
    finally:
        await providers.close()


async def _measure(providers: Providers, tier: Tier, rows: list[dict[str, Any]]) -> str:
    maker = compile_prompt(system=None, template=tier.prompt or "{{ review }}")
    judge = make_judge(LABELS, "exact")
    at_once = asyncio.Semaphore(tier.limits.concurrency or 8)

    async def ask(row: dict[str, Any]) -> tuple[bool, float, int]:
        body = providers.request_body(tier, maker.prompt_for(row), LABELS)
        async with at_once:
            outcome = await providers.call(tier, body)
        if not isinstance(outcome, Answered):
            raise SystemExit(f"{tier.name}: {outcome}")
        usage = outcome.reply.usage
        cost_nanousd = tier.bound_price.cost_nanousd(usage) if usage else 0
        label_logprob = signals_of(outcome.reply, LABELS).label_logprob or 0.0
        right = judge.judge(outcome.reply.text, row["label"]).passed is True
        return right, label_logprob, cost_nanousd

    await ask(rows[0])  # starts the server
    started_s = time.perf_counter()
    asked = await asyncio.gather(*(ask(row) for row in rows))
    row_s = (time.perf_counter() - started_s) / len(rows)
    right, of_language = Counter[str](), Counter(row["language"] for row in rows)
    for row, (is_right, _, _) in zip(rows, asked, strict=True):
        right[row["language"]] += is_right
    surest_first = [is_right for is_right, _, _ in sorted(asked, key=lambda one: -one[1])]
    half = len(rows) // 2
    parts = "  ".join(
        f"{language} {right[language] / n:.2f}" for language, n in sorted(of_language.items())
    )
    return (
        f"{tier.name:8} {sum(right.values()) / len(rows):.3f}   {parts}"
        f"   surer half {sum(surest_first[:half]) / half:.2f}"
        f"   {row_s:.3f} s/row   {sum(cost for _, _, cost in asked) / len(rows) / 1e9:.2e} USD/row"
    )


if __name__ == "__main__":
    asyncio.run(main())
