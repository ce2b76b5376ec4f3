"""A newcomer at the command line: an empty folder, a stack that starts by itself, a scripted provider.

* `user` (session): runs commands in a folder with `data.jsonl` and tiers files; one stack for all tests.
* `server` (session): the provider that those tiers name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from benchmarks.rig import Rig, provider, rig, write_rows, write_tiers
from cascade_batch.providers.scripted import SpawnedProvider

ROWS = 40
PRICE = {"input": 0.15, "output": 0.60}
LARGE_PRICE = {"input": 2.50, "output": 10.00}
LABELS = ("up", "down", "none")
KEY = "ACCEPTANCE_KEY"
SCRIPT = {
    "models": {
        "small": {
            "price": PRICE,
            "simulate": {"choices": LABELS, "accuracy": 0.6, "gold": "#(up|down|none)"},
        },
        "large": {
            "price": LARGE_PRICE,
            "simulate": {"choices": LABELS, "accuracy": 1.0, "gold": "#(up|down|none)"},
        },
        "slow": {"price": PRICE, "latency_ms": 300, "echo": True},
        "locked": {"price": PRICE, "echo": True},
    },
    "faults": [
        {"kind": "bad_request", "match": "poison"},
        {"kind": "reset", "model": "small", "match": "unplugged", "first": 1},
        {"kind": "unauthorized", "model": "locked", "match": "last", "first": 1},
    ],
}
ASK = ("--prompt", "{{ headline }}", "--output", "{choices: [up, down, none]}")


@pytest.fixture(scope="session")
def scene() -> Iterator[tuple[Rig, SpawnedProvider]]:
    with rig(in_memory=True) as user, provider(user, SCRIPT) as server:
        labels = [LABELS[n % 3] for n in range(ROWS)]
        rows = [
            {"headline": f"gold {n} #{label}", "label": label} for n, label in enumerate(labels)
        ]
        write_rows(user, rows)
        _write_tiers(user, server.url)
        yield user, server


def _write_tiers(user: Rig, url: str) -> None:
    prices = {"small": PRICE, "large": LARGE_PRICE, "slow": PRICE, "locked": PRICE}
    tiers = {
        name: {
            "name": name,
            "model": name,
            "base_url": url,
            "price": price,
            "max_output_tokens": 8,
        }
        for name, price in prices.items()
    }
    one_by_one = {"limits": {"concurrency": 1}}
    write_tiers(user, [tiers["small"], tiers["large"]])
    write_tiers(user, [{**tiers["slow"], **one_by_one}], "slow.yaml")
    write_tiers(user, [{**tiers["locked"], **one_by_one, "api_key_env": KEY}], "locked.yaml")


@pytest.fixture(scope="session")
def user(scene: tuple[Rig, SpawnedProvider]) -> Rig:
    return scene[0]


@pytest.fixture(scope="session")
def server(scene: tuple[Rig, SpawnedProvider]) -> SpawnedProvider:
    return scene[1]


def write_lines(user: Rig, name: str, *lines: object) -> str:
    """Write a data set; a text stands for a line as it is."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (user.folder / name).write_text("".join(text + "\n" for text in texts))
    return name
