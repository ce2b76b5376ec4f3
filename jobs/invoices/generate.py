"""Writes the rows (letters with an invoice each) and the script of a provider that reads most of them right.

All names and sums are invented. The same number and seed give the same files.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GOLD_EVERY = 3
"""Every third row holds what was to be found: enough to learn from."""

_VENDORS = (
    "Alder & Sons Joinery",
    "Brightwater Cleaning",
    "Copper Kettle Catering",
    "Dunmore Print Works",
    "Eastgate Taxi",
    "Fern Hill Nurseries",
    "Halloran Legal Services",
    "Ivory Tower Books",
)
_WORKS = ("repairs in March", "the summer party", "400 flyers", "two months of service", "advice")
_LETTERS = (
    "Dear customer,\n\nfor {work} we charge {total}. Quote {number} and pay until {due}, please.\n\n{vendor}",
    "{vendor} | Invoice {number}\nSubject: {work}\nAmount due: {total}\nPayable by {due}",
    "Thank you for your order ({work}). {total} is due on {due}. Our reference: {number}. {vendor}",
    "REMINDER. {number} of {vendor} is still open: {total} for {work}. It was to be paid by {due}.",
)
_HEAD = """\
# Written by generate.py. `small` stumbles over dates and over sums with a comma, as small models do.
seed: 1
"""


def rows(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`count` rows with what is to be found in each (`expected`), which only some of them are given."""
    draw = random.Random(seed)
    for number in range(count):
        expected = {
            "invoice_no": f"INV-{number + 1001}",
            "vendor": draw.choice(_VENDORS),
            "total": draw.randrange(2_000, 900_000) / 100,
            "currency": draw.choice(("EUR", "GBP", "USD")),
            "due": str(date(2026, 1, 5) + timedelta(days=draw.randrange(300))),
        }
        text = draw.choice(_LETTERS).format(
            work=draw.choice(_WORKS),
            total=_shown_total(draw, expected["total"], expected["currency"]),
            number=expected["invoice_no"],
            due=_shown_date(draw, date.fromisoformat(expected["due"])),
            vendor=expected["vendor"],
        )
        yield {"id": f"letter-{number + 1:04d}", "text": text, "expected": expected}


def rules(letters: list[dict[str, Any]], seed: int) -> dict[str, list[str]]:
    """What each model answers to which letter, a line of the script each."""
    draw = random.Random(seed)
    said: dict[str, list[str]] = {"small": [], "large": []}
    for letter in letters:
        expected = letter["expected"]
        for model, right in (("small", 0.65), ("large", 0.95)):
            found = expected if draw.random() < right else _misread(draw, expected)
            rule = {"match": rf"{expected['invoice_no']}\b", "text": json.dumps(found)}
            said[model].append(f"      - {json.dumps(rule)}\n")
    return said


def _shown_total(draw: random.Random, total: float, currency: str) -> str:
    shown = f"{total:,.2f}"
    if currency == "EUR":
        shown = shown.replace(",", " ").replace(".", ",").replace(" ", ".")
    sign = {"EUR": "€", "GBP": "£", "USD": "$"}[currency]
    return draw.choice((f"{currency} {shown}", f"{sign}{shown}"))


def _shown_date(draw: random.Random, day: date) -> str:
    return draw.choice((str(day), f"{day:%d %B %Y}", f"{day:%B} {day.day}, {day.year}"))


def _misread(draw: random.Random, expected: dict[str, Any]) -> dict[str, Any]:
    if draw.random() < 0.5:
        return expected | {"total": round(expected["total"] / 1000, 5)}
    return expected | {"due": expected["due"].replace("2026", "2025")}


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    made = list(rows(given.rows, given.seed))
    said = rules(made, given.seed)
    with (HERE / "data" / "letters.jsonl").open("w", encoding="utf-8") as file:
        for number, row in enumerate(made):
            kept = row if number % GOLD_EVERY == 0 else {"id": row["id"], "text": row["text"]}
            file.write(json.dumps(kept, ensure_ascii=False) + "\n")
    with (HERE / "script.yaml").open("w", encoding="utf-8") as file:
        file.write(_HEAD + "models:\n")
        for model, price in (
            ("small", "{input: 0.15, output: 0.60}"),
            ("large", "{input: 2.50, output: 10.00}"),
        ):
            file.write(f"  {model}:\n    price: {price}\n    answers:\n{''.join(said[model])}")
    print(
        f"{given.rows:,} rows: data/letters.jsonl, and what the provider says to them: script.yaml"
    )


if __name__ == "__main__":
    main()
