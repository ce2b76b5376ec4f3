"""Writes the rows (headlines, half of them with their label) and the script of a provider that knows most.

All headlines are invented: put together from the parts below. The same seed gives the same files.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 1
ROWS_PER_LABEL = 120
"""Half of them are given their label."""

LABELS = ("up", "down", "none")
_METALS = ("Gold", "Bullion", "Spot gold", "Gold price")
_PLACES = ("Zurich", "Mumbai", "Istanbul", "Toronto", "Perth", "Singapore")
_TIMES = ("third", "fourth", "fifth", "sixth", "seventh")
_AMOUNTS = ("half a percent", "one percent", "two percent")

_PARTS: dict[str, dict[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]]] = {
    # Say what the price does: easy.
    "plain": {
        "up": (
            (
                "{} climbs {}",
                "{} jumps {}",
                "{} edges higher {}",
                "{} hits a two-month high {}",
                "{} extends its rally {}",
            ),
            (
                _METALS,
                (
                    "as the dollar weakens",
                    "after soft jobs figures",
                    "on hopes of lower rates",
                    "as investors look for shelter",
                    "as bond yields fall",
                ),
            ),
        ),
        "down": (
            (
                "{} slips {}",
                "{} tumbles {}",
                "{} loses ground {}",
                "{} falls to a six-week low {}",
                "{} retreats {}",
            ),
            (
                _METALS,
                (
                    "as the dollar firms",
                    "after strong jobs figures",
                    "as hopes of lower rates fade",
                    "as investors return to shares",
                    "as bond yields rise",
                ),
            ),
        ),
        "none": (
            ("{} ends flat {}", "{} is little changed {}", "{} treads water {}", "{} steady {}"),
            (
                _METALS,
                (
                    "in thin holiday trade",
                    "before the central bank meets",
                    "ahead of inflation figures",
                    "after a quiet session",
                    "as traders wait for news",
                ),
            ),
        ),
    },
    # Say what moves the price, and leave the rest to the reader.
    "driver": {
        "up": (
            (
                "Gold-backed funds take in money for a {1} week",
                "Savers in {0} queue for gold coins for a {1} day",
                "Jewellers in {0} report strongest gold sales in years",
                "Central bank adds to its gold for a {1} month running",
                "Strike at gold mines near {0} enters its {1} week",
                "Dollar falls for a {1} week as rate cut nears",
            ),
            (_PLACES, _TIMES),
        ),
        "down": (
            (
                "Gold-backed funds lose money for a {1} week",
                "Gold shops in {0} stand empty as import duty rises",
                "Jewellers in {0} see gold sales drop for a {1} month",
                "Central bank sells some of its gold for a {1} month running",
                "Peace talks in {0} drain safe havens of money",
                "Dollar rises for a {1} week as rate cut is put off",
            ),
            (_PLACES, _TIMES),
        ),
        "none": (
            (
                "Refinery in {0} opens its doors to visitors",
                "Gold exchange in {0} changes its trading hours",
                "Museum in {0} shows hoard of Bronze Age gold",
                "Mint in {0} unveils gold coin for polar explorer",
                "Runner from {0} wins her {1} gold medal",
                "{0} hosts conference of gold miners for a {1} time",
            ),
            (_PLACES, _TIMES),
        ),
    },
    # Have words in them that point another way.
    "tricky": {
        "up": (
            (
                "Gold recovers {0} after {1}",
                "Gold {0} up, {1} forgotten",
                "Buyers step in after {1}, gold adds {0}",
            ),
            (
                _AMOUNTS,
                (
                    "the worst day since spring",
                    "last week's slump",
                    "heavy selling",
                    "a fall at the open",
                ),
            ),
        ),
        "down": (
            (
                "Gold gives back {0} after {1}",
                "Gold {0} down, {1} forgotten",
                "Sellers step in after {1}, gold sheds {0}",
            ),
            (
                _AMOUNTS,
                (
                    "the best day since spring",
                    "last week's rally",
                    "heavy buying",
                    "a jump at the open",
                ),
            ),
        ),
        "none": (
            (
                "Gold watch fetches record price in {0}",
                "Shares of gold miner jump in {0} on takeover bid",
                "Band's gold record falls to bidder from {0}",
                "{0} rises to the top of the table with {1} gold medal",
            ),
            (_PLACES, _TIMES),
        ),
    },
}
_SHARE = {"plain": 0.5, "driver": 0.3, "tricky": 0.2}
_KNOWN = {
    "small": {"plain": 0.92, "driver": 0.7, "tricky": 0.4},
    "large": {"plain": 0.99, "driver": 0.96, "tricky": 0.9},
}
_HEAD = """\
# Written by generate.py. `small` knows plain headlines, and is often wrong where words point another way.
# How sure a model says that it is tells something of whether it is right.
seed: 1
"""


def rows(seed: int) -> Iterator[dict[str, Any]]:
    """All headlines with their right label, which only some of them are given, and their kind."""
    draw = random.Random(seed)
    made = []
    for kind, by_label in _PARTS.items():
        for label, (forms, parts) in by_label.items():
            of_form = [
                sorted({form.format(*chosen) for chosen in product(*parts)}) for form in forms
            ]
            turns = zip_longest(*(draw.sample(texts, len(texts)) for texts in of_form))
            texts = [text for turn in turns for text in turn if text]
            count = round(ROWS_PER_LABEL * _SHARE[kind])
            made += [(text, label, kind) for text in texts[:count]]
    draw.shuffle(made)
    given = dict.fromkeys(LABELS, 0)
    for number, (headline, label, kind) in enumerate(made):
        given[label] += 1
        yield {
            "id": f"h{number + 1:03d}",
            "headline": headline,
            "label": label,
            "kind": kind,
            "is_given": given[label] % 2 == 0,
        }


def rules(headlines: list[dict[str, Any]], seed: int) -> dict[str, list[str]]:
    """What each model answers to which headline, and how sure it is, a line of the script each."""
    said: dict[str, list[str]] = {}
    for model, known in _KNOWN.items():
        draw = random.Random(f"{seed} {model}")
        said[model] = []
        for row in headlines:
            knows = draw.random() < known[row["kind"]]
            others = [label for label in LABELS if label != row["label"]]
            label = row["label"] if knows else draw.choice(others)
            share = draw.betavariate(8, 2) if knows else draw.betavariate(4, 4)
            probability = 0.34 + 0.65 * share
            rest = round(math.log((1 - probability) / 2), 3)
            rule = {
                "match": f"(?m)^{row['headline']}$",  # without any sign of patterns in it
                "text": label,
                "logprob": round(math.log(probability), 3),
                "top_logprobs": {other: rest for other in LABELS if other != label},
            }
            said[model].append(f"      - {json.dumps(rule)}\n")
    return said


def main() -> None:
    """Write the two files."""
    made = list(rows(SEED))
    said = rules(made, SEED)
    with (HERE / "data" / "headlines.jsonl").open("w", encoding="utf-8") as file:
        for row in made:
            kept = ("id", "headline", "label") if row["is_given"] else ("id", "headline")
            file.write(json.dumps({key: row[key] for key in kept}) + "\n")
    with (HERE / "script.yaml").open("w", encoding="utf-8") as file:
        file.write(_HEAD + "models:\n")
        for model, price in (
            ("small", "{input: 0.15, output: 0.60}"),
            ("large", "{input: 2.50, output: 10.00}"),
        ):
            file.write(f"  {model}:\n    price: {price}\n    answers:\n{''.join(said[model])}")
    print(
        f"{len(made)} rows: data/headlines.jsonl, and what the provider says to them: script.yaml"
    )


if __name__ == "__main__":
    main()
