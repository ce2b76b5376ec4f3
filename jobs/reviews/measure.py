"""How good and how fast is each tier alone? Asks every tier about every row, outside of any job.

    python jobs/reviews/measure.py gold        # the rows that prompts may be chosen on
    python jobs/reviews/measure.py held-back   # the rows that no choice was made on
    python jobs/reviews/measure.py all --record reviews.jsonl.gz   # kept, for `cascade-batch replay`

Needs the models, but neither a database nor a broker. `--tiers F` measures other tiers.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_batch.domain.answer import Answered
from cascade_batch.domain.job import Output
from cascade_batch.domain.money import Usage
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
    parser.add_argument("part", choices=["gold", "held-back", "all"])
    parser.add_argument("--tiers", type=Path, default=FOLDER / "tiers.yaml")
    parser.add_argument(
        "--record", type=Path, metavar="NAME.jsonl.gz", help="keep the answers here"
    )
    given = parser.parse_args()
    lines = (FOLDER / "data" / "reviews.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    if given.part != "all":
        rows = [row for row in rows if ("gold" in row) == (given.part == "gold")]
    providers = Providers()
    asked = {}
    tiers = read_tiers_file(given.tiers, python_path=FOLDER)
    try:
        for tier in tiers:
            asked[tier.name], row_s = await _ask(providers, tier, rows)
            print(_line(tier, rows, asked[tier.name], row_s))
    finally:
        await providers.close()
    if given.record:
        _record(given.record, tiers, rows, asked)


@dataclass(frozen=True)
class Asked:
    """A tier's answer to a row."""

    text: str
    is_right: bool
    label_logprob: float | None
    usage: Usage
    cost_nanousd: int


async def _ask(
    providers: Providers, tier: Tier, rows: list[dict[str, Any]]
) -> tuple[list[Asked], float]:
    """Answers in the order of the rows, and seconds per row."""
    maker = compile_prompt(system=None, template=tier.prompt or "{{ review }}")
    judge = make_judge(LABELS, "exact")
    at_once = asyncio.Semaphore(tier.limits.concurrency or 8)

    async def ask(row: dict[str, Any]) -> Asked:
        body = providers.request_body(tier, maker.prompt_for(row), LABELS)
        async with at_once:
            outcome = await providers.call(tier, body)
        if not isinstance(outcome, Answered):
            raise SystemExit(f"{tier.name}: {outcome}")
        usage = outcome.reply.usage or Usage(input_tokens=0, output_tokens=0)
        return Asked(
            text=outcome.reply.text.strip(),
            is_right=judge.judge(outcome.reply.text, row["label"]).passed is True,
            label_logprob=signals_of(outcome.reply, LABELS).label_logprob,
            usage=usage,
            cost_nanousd=tier.bound_price.cost_nanousd(usage),
        )

    await ask(rows[0])  # starts the server
    started_s = time.perf_counter()
    asked = await asyncio.gather(*(ask(row) for row in rows))
    return asked, (time.perf_counter() - started_s) / len(rows)


def _line(tier: Tier, rows: list[dict[str, Any]], asked: list[Asked], row_s: float) -> str:
    right, of_language = Counter[str](), Counter(row["language"] for row in rows)
    for row, one in zip(rows, asked, strict=True):
        right[row["language"]] += one.is_right
    surest_first = sorted(asked, key=lambda one: -(one.label_logprob or 0.0))
    half = len(rows) // 2
    parts = "  ".join(
        f"{language} {right[language] / n:.2f}" for language, n in sorted(of_language.items())
    )
    return (
        f"{tier.name:8} {sum(right.values()) / len(rows):.3f}   {parts}"
        f"   surer half {sum(one.is_right for one in surest_first[:half]) / half:.2f}"
        f"   {row_s:.3f} s/row   {sum(one.cost_nanousd for one in asked) / len(rows) / 1e9:.2e} USD/row"
    )


def _record(
    path: Path, tiers: Sequence[Tier], rows: list[dict[str, Any]], asked: dict[str, list[Asked]]
) -> None:
    """A set that `cascade-batch replay` reads, and its prices beside it."""
    prices = []
    for tier in tiers:
        step, a_call = tier.bound_price.steps[0], tier.bound_price.call_nanousd
        if a_call:  # Sets are priced by tokens: a call is as many of them as it costs nano-dollars.
            per_mtok = {"input_usd_per_mtok": 0.001, "output_usd_per_mtok": 0.0}
        else:
            per_mtok = {
                "input_usd_per_mtok": step.input_picousd / 1e6,
                "output_usd_per_mtok": step.output_picousd / 1e6,
            }
        prices.append({"name": tier.name, **per_mtok})
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for place, row in enumerate(rows):
            outcomes = {}
            for tier in tiers:
                one, a_call = asked[tier.name][place], tier.bound_price.call_nanousd
                outcomes[tier.name] = {
                    "text": one.text,
                    "score": float(one.is_right),
                    "input_tokens": a_call or one.usage.input_tokens,
                    "output_tokens": 0 if a_call else one.usage.output_tokens,
                    "logprob": one.label_logprob,
                }
            line = {
                "id": str(place),
                "task": "reviews",
                "system": None,
                "prompt": row["review"],
                "gold": row["label"],
                "outcomes": outcomes,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    beside = path.with_name(path.name.partition(".")[0] + ".json")
    beside.write_text(json.dumps({"name": beside.stem, "tiers": prices}, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
