"""`cascade-batch replay` as people call it: on a made set, and on real recordings where there are any."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RECORDED = Path(os.environ.get("CASCADE_REPLAY_DIR", ROOT.parent / "shared" / "replay"))
TIERS = {"small": 0.5, "middle": 0.75, "large": 0.9}
NOWHERE = {
    "CASCADE_DATABASE_URL": "postgresql://me@127.0.0.1:1/none",
    "CASCADE_REDIS_URL": "redis://127.0.0.1:1/0",
}


@pytest.fixture(scope="session")
def server() -> None:
    """Nothing: a replay needs neither a stack nor a provider."""


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cascade_batch", "replay", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **NOWHERE},
        capture_output=True,
        text=True,
        check=False,
    )


def replayed(*arguments: object) -> dict[str, Any]:
    done = call(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def write(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    prices = [
        {"name": name, "input_usd_per_mtok": price, "output_usd_per_mtok": 4 * price}
        for name, price in zip(TIERS, (0.1, 0.5, 2.5), strict=True)
    ]
    path.with_name(path.name.removesuffix("l.gz")).write_text(
        json.dumps({"name": path.name.partition(".")[0], "tiers": prices})
    )
    return path


def rows(n_rows: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    made = []
    for no in range(n_rows):
        right = {tier: bool(rng.random() < accuracy) for tier, accuracy in TIERS.items()}
        outcomes = {
            tier: {
                "text": "yes" if is_right else "no",
                "score": float(is_right),
                "input_tokens": int(rng.integers(50, 100)),
                "output_tokens": int(rng.integers(1, 40)),
                "logprob": -float(rng.exponential(0.1 if is_right else 1.0)),
            }
            for tier, is_right in right.items()
        }
        made.append(
            {"id": f"q{no}", "task": "made", "system": None, "prompt": "Yes?", "outcomes": outcomes}
        )
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("replay") / "made.jsonl.gz", rows(150))


def kept_its_promises(found: dict[str, Any]) -> None:
    """What holds for every replay, however good the planner is."""
    assert found["violations"] == 0
    assert found["unanswered"] == 0
    assert 0 <= found["unspent_share"] <= 1
    for point in found["budgets"]:
        assert 0 <= point["spent_usd"] <= point["budget_usd"]
        assert point["hull"] <= point["oracle"] + 1e-9
        assert 0 <= point["quality"] <= point["oracle"] + 1e-9
    margins = [point["quality"] - point["hull"] for point in found["budgets"]]
    assert found["min_margin_over_hull"] == pytest.approx(min(margins))
    assert found["nauc"]["lo"] <= found["nauc"]["mean"] <= found["nauc"]["hi"]


def test_a_replay_for_programs(made: Path) -> None:
    found = replayed(made, "--budgets", 5, "--seeds", 3, "--labels", "check")

    assert list(found) == [
        *("set", "rows", "tiers", "labels", "policy", "seeds", "nauc", "min_margin_over_hull"),
        *("budgets", "violations", "unanswered", "unspent_share"),
    ]
    assert (found["set"], found["rows"], found["tiers"]) == ("made", 150, list(TIERS))
    assert (found["labels"], found["policy"], found["seeds"]) == ("check", "auto", 3)
    budgets = found["budgets"]
    assert len(budgets) == 5
    assert {"cheapest", "dearest", "random", "confidence:small>large"} <= budgets[0].keys()
    assert budgets[0]["quality"] == pytest.approx(budgets[0]["cheapest"])
    assert budgets[-1]["hull"] >= budgets[-1]["dearest"] - 1e-9
    kept_its_promises(found)


def test_a_replay_for_people(made: Path) -> None:
    done = call(made, "--budgets", 3, "--seeds", 2, "--policy", "random")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    words = ["Budget", "random", "hull", "oracle", "nAUC", "small > large", "Unspent", "2 seeds"]
    assert [word for word in words if word not in done.stdout] == []


def test_the_same_replay_gives_the_same_figures(made: Path) -> None:
    arguments = (made, "--budgets", 2, "--seeds", 2, "--rows", 80, "--labels", "check:0.9")

    assert replayed(*arguments, "--processes", 1) == replayed(*arguments, "--processes", 2)


@pytest.mark.parametrize("labels", ["check:0.9", "learn", "gold:10%", "agreement"])
def test_every_label_regime_keeps_the_promises(made: Path, labels: str) -> None:
    found = replayed(made, "--budgets", 4, "--seeds", 2, "--rows", 60, "--labels", labels)

    assert found["rows"] == 60
    kept_its_promises(found)


@pytest.mark.parametrize("policy", ["cheapest", "dearest", "random", "confidence"])
def test_every_policy_keeps_the_promises(made: Path, policy: str) -> None:
    kept_its_promises(replayed(made, "--budgets", 3, "--seeds", 1, "--policy", policy))


def test_sets_are_mixed_and_tiers_chosen(made: Path) -> None:
    other = write(made.with_name("other.jsonl.gz"), rows(50, seed=1))

    found = replayed(
        made,
        *("--mix", other, "--tiers", "small,large", "--budgets", 2, "--seeds", 1),
        *("--no-logprobs", "--reserve", "worst"),
    )

    assert (found["set"], found["rows"], found["tiers"]) == ("made+other", 200, ["small", "large"])
    kept_its_promises(found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.jsonl.gz"], ["no file", "none.jsonl.gz"]),
        (["made.jsonl.gz", "--tiers", "small,huge"], ["'huge'", "small, middle, large"]),
        (["made.jsonl.gz", "--tiers", "large,small"], ["cheap to dear"]),
        (["made.jsonl.gz", "--labels", "magic"], ["'magic'", "gold:10%"]),
        (["broken.jsonl.gz"], ["broken.jsonl.gz:2", "broken JSON"]),
        (["short.jsonl.gz"], ["short.jsonl.gz:3", "no outcome", "'large'"]),
        (["bare.jsonl.gz"], ["no prices", "bare.json", "input_usd_per_mtok"]),
        (["made.jsonl.gz", "--budgets", "0"], ["--budgets"]),
        ([], ["SET"]),
    ],
)
def test_bad_input_is_told_with_its_place(
    made: Path, arguments: list[str], said: list[str]
) -> None:
    folder = made.parent
    good = rows(3)
    write(folder / "broken.jsonl.gz", [good[0], "{oops"])
    del good[2]["outcomes"]["large"]
    write(folder / "short.jsonl.gz", good)
    write(folder / "bare.jsonl.gz", good)
    (folder / "bare.json").unlink()

    done = call(*(folder / a if a.endswith(".gz") else a for a in arguments))

    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert [part for part in said if part not in done.stderr] == [], done.stderr


@pytest.mark.parametrize("name", ["triviaqa", "mmlu", "crux", "mmlu-pro"])
def test_recorded_answers_of_real_models(name: str) -> None:
    path = RECORDED / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"there is no {path}: set CASCADE_REPLAY_DIR to the folder of recorded sets")

    found = replayed(path, "--budgets", 3, "--seeds", 1, "--rows", 500)

    kept_its_promises(found)
    assert found["nauc"]["mean"] > 0
