"""Writes the rows (questions with four answers each) and the script of a provider that knows most of them.

The facts below are common knowledge. The same seed gives the same files.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 1
GOLD_EVERY = 4
LETTERS = "ABCD"

_CAPITALS = """
Australia Canberra, Brazil Brasília, Canada Ottawa, Chile Santiago, Cuba Havana, Egypt Cairo,
Finland Helsinki, Ghana Accra, Iceland Reykjavík, Japan Tokyo, Kenya Nairobi, Latvia Riga, Mongolia
Ulaanbaatar, Nepal Kathmandu, Norway Oslo, Pakistan Islamabad, Peru Lima, Portugal Lisbon, Romania
Bucharest, Senegal Dakar, Slovenia Ljubljana, Switzerland Bern, Thailand Bangkok, Turkey Ankara,
Uganda Kampala, Uruguay Montevideo
"""
_SYMBOLS = """
silver Ag, gold Au, iron Fe, lead Pb, tin Sn, sodium Na, potassium K, mercury Hg, copper Cu,
tungsten W, antimony Sb, helium He, neon Ne, zinc Zn, calcium Ca, chlorine Cl, magnesium Mg,
manganese Mn
"""
_TOPICS = {
    "geography": ("What is the capital of {}?", _CAPITALS),
    "chemistry": ("What is the chemical symbol of {}?", _SYMBOLS),
}
_SUMS = 20
_KNOWN = {
    "small": {"geography": 0.85, "chemistry": 0.65, "arithmetic": 0.45},
    "large": {"geography": 0.98, "chemistry": 0.97, "arithmetic": 0.9},
}
_HEAD = """\
# Written by generate.py. How sure a model says that it is tells something of whether it is right.
seed: 1
"""


def rows(seed: int) -> Iterator[dict[str, Any]]:
    """All questions with their right letter (`gold`), which only some of them are given."""
    draw = random.Random(seed)
    asked: list[tuple[str, str, str, list[str]]] = []
    for topic, (question, listed) in _TOPICS.items():
        facts = [fact.rsplit(" ", 1) for fact in " ".join(listed.split()).split(", ")]
        for thing, right in facts:
            others = [other for _, other in facts if other != right]
            asked.append((topic, question.format(thing), right, draw.sample(others, 3)))
    for _ in range(_SUMS):
        one, other = draw.randrange(12, 99), draw.randrange(12, 99)
        right = one * other
        wrong = [str(right + by) for by in draw.sample((-100, -20, -10, 10, 20, 100), 3)]
        asked.append(("arithmetic", f"What is {one} times {other}?", str(right), wrong))
    draw.shuffle(asked)
    for number, (topic, question, right, wrong) in enumerate(asked):
        options = draw.sample([right, *wrong], 4)
        yield {
            "id": f"q{number + 1:03d}",
            "topic": topic,
            "question": question,
            **dict(zip(LETTERS.lower(), options, strict=True)),
            "gold": LETTERS[options.index(right)],
        }


def rules(questions: list[dict[str, Any]], seed: int) -> dict[str, list[str]]:
    """What each model answers to which question, and how sure it is, a line of the script each."""
    said: dict[str, list[str]] = {}
    for model, known in _KNOWN.items():
        draw = random.Random(f"{seed} {model}")
        said[model] = []
        for row in questions:
            knows = draw.random() < known[row["topic"]]
            letter = row["gold"] if knows else draw.choice(LETTERS.replace(row["gold"], ""))
            share = draw.betavariate(8, 2) if knows else draw.betavariate(4, 4)
            probability = 0.26 + 0.73 * share
            rest = round(math.log((1 - probability) / 3), 3)
            rule = {
                "match": re.escape(row["question"]),
                "text": letter,
                "logprob": round(math.log(probability), 3),
                "top_logprobs": dict.fromkeys(LETTERS.replace(letter, ""), rest),
            }
            said[model].append(f"      - {json.dumps(rule, ensure_ascii=False)}\n")
    return said


def main() -> None:
    """Write the two files."""
    made = list(rows(SEED))
    said = rules(made, SEED)
    with (HERE / "data" / "questions.jsonl").open("w", encoding="utf-8") as file:
        for number, row in enumerate(made):
            if number % GOLD_EVERY:
                row = {key: value for key, value in row.items() if key != "gold"}  # noqa: PLW2901
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    with (HERE / "script.yaml").open("w", encoding="utf-8") as file:
        file.write(_HEAD + "models:\n")
        for model, price in (
            ("small", "{input: 0.15, output: 0.60}"),
            ("large", "{input: 2.50, output: 10.00}"),
        ):
            file.write(f"  {model}:\n    price: {price}\n    answers:\n{''.join(said[model])}")
    print(
        f"{len(made)} rows: data/questions.jsonl, and what the provider says to them: script.yaml"
    )


if __name__ == "__main__":
    main()
