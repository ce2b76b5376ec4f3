"""The schemas that editors are given say what the readers of the files do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

import cascade_batch
from cascade_batch.cli.main import cli
from cascade_batch.engine.json_schemas import SchemaName, file_schema
from cascade_batch.engine.spec_files import JobOptions, read_job
from cascade_batch.engine.tier_files import EXAMPLE
from cascade_batch.errors import UsageError

JOBS = Path(__file__).parents[3] / "jobs"
SHIPPED = Path(cascade_batch.__file__).parent / "schemas"
TIER = {"name": "small", "model": "gpt-4o-mini"}


def faults_of(kind: SchemaName, value: Any) -> list[str]:
    validator = jsonschema.Draft7Validator(file_schema(kind))
    return [error.message for error in validator.iter_errors(value)]


def fields_of(part: Any, name: str = "") -> list[tuple[str, dict[str, Any]]]:
    """All properties of objects anywhere in a schema, with the names of what they stand in."""
    if not isinstance(part, dict):
        return []
    found = [(f"{name}.{key}", field) for key, field in part.get("properties", {}).items()]
    for key, definition in part.get("$defs", {}).items():
        found += fields_of(definition, key)
    return found


@pytest.mark.parametrize("kind", ["job", "tiers"])
def test_what_is_shipped_is_what_the_models_give(kind: SchemaName) -> None:
    shipped = json.loads((SHIPPED / f"{kind}.json").read_text("utf-8"))
    assert shipped == file_schema(kind), (
        f"cascade_batch/schemas/{kind}.json is not current. Make it anew, and commit it:\n"
        f"    make schemas   (or: cascade-batch schema {kind} > cascade_batch/schemas/{kind}.json)"
    )


@pytest.mark.parametrize("kind", ["job", "tiers"])
def test_the_command_prints_a_schema(kind: SchemaName) -> None:
    done = CliRunner().invoke(cli, ["schema", kind])
    assert (done.exit_code, json.loads(done.stdout)) == (0, file_schema(kind))
    jsonschema.Draft7Validator.check_schema(json.loads(done.stdout))


@pytest.mark.parametrize("kind", ["job", "tiers"])
def test_every_key_has_a_text_that_editors_show(kind: SchemaName) -> None:
    mute = [name for name, field in fields_of(file_schema(kind)) if not field.get("description")]
    assert not mute, f"write a text under these fields of the models, then `make schemas`: {mute}"


@pytest.mark.parametrize(
    "path",
    sorted({*JOBS.glob("*/job*.yaml"), *JOBS.glob("*/tiers*.yaml")}),
    ids=lambda p: "/".join(p.parts[-2:]),
)
def test_the_jobs_that_are_shipped_fit_and_name_their_schema(path: Path) -> None:
    kind: SchemaName = "job" if path.name.startswith("job") else "tiers"
    text = path.read_text("utf-8")
    first = text.partition("\n")[0]
    assert first == f"# yaml-language-server: $schema=../../cascade_batch/schemas/{kind}.json"
    assert faults_of(kind, yaml.safe_load(text)) == []


def test_the_example_of_a_tiers_file_fits() -> None:
    assert faults_of("tiers", yaml.safe_load(EXAMPLE)) == []


@pytest.mark.parametrize(
    "job",
    [
        {"budgett": 5},
        {"budget": []},
        {"output": {"choices": ["one"]}},
        {"output": {"choices": ["a", "b"], "pattern": "a|b"}},
        {"gold_use": "sometimes"},
        {"tiers": [{**TIER, "name": "not a name"}]},
        {"tiers": [{"name": "small"}]},
        {"tiers": [{**TIER, "params": {"max_tokens": 5}}]},
        {"tiers": [{**TIER, "frozen_price": {}}]},
        {"tiers": [{**TIER, "limits": {"rpm": 0}}]},
        {"tiers": []},
        {"notify": [{"events": ["finished"]}]},
        {"budget": "five"},
        {"budget": "$"},
        {"check": "exat"},
        {"check": "judge"},
        {"check": "python:rules"},
        {"notify": "hooks.example.com"},
        {"notify": [{"url": "https://example.com/hook", "events": ["done"]}]},
        {"notify": [{"url": "https://example.com/hook", "events": []}]},
        {"notify": [{"url": "https://example.com/hook", "secret_env": "not a name"}]},
        {"tiers": [{**TIER, "api_key_env": "not-a-name"}]},
        {"tiers": [{**TIER, "base_url": "localhost:8000/v1"}]},
        {"tiers": [{**TIER, "api": "openia"}]},
        {"tiers": [{**TIER, "api_key": "abc"}]},
        {"tiers": [{**TIER, "price": {"in": 1}}]},
    ],
)
def test_what_is_refused_by_the_reader_is_marked_by_the_editor(
    job: dict[str, Any], folder: Path
) -> None:
    whole = {"data": "data.jsonl", "budget": 1, "prompt": "{{ text }}", "tiers": [TIER], **job}
    (folder / "job.yaml").write_text(json.dumps(whole), "utf-8")
    with pytest.raises(UsageError):
        read_job(JobOptions(job_file=folder / "job.yaml"))
    assert faults_of("job", whole)


@pytest.mark.parametrize(
    "job",
    [
        {"budget": "12.50"},
        {"budget": "$1,200"},
        {"budget": ".5"},
        {"budget": 0},
        {"check": "numeric:rel=0.01,abs=0.5"},
        {"check": "json:label,score"},
        {"check": "regex:^a\nb$"},
        {"check": "judge:small"},
        {"output": {"choices": [1, 2, True]}},
        {"output": {"schema": {"type": "object"}}},
        {"tiers": [{**TIER, "price": {"input": "0.15", "call": 0}, "params": {"temperature": 0}}]},
        {"tiers": [{"name": "here", "api": "python", "function": "a.b", "price": {"call": 0}}]},
        {"notify": "https://example.com/hook"},
        {"notify": [{"url": "env:HOOK", "events": ["80%"]}]},
    ],
)
def test_what_the_reader_takes_is_not_marked(job: dict[str, Any], folder: Path) -> None:
    whole = {"data": "data.jsonl", "budget": 1, "prompt": "{{ text }}", "tiers": [TIER], **job}
    (folder / "job.yaml").write_text(json.dumps(whole), "utf-8")
    read_job(JobOptions(job_file=folder / "job.yaml", allow_python_checks=True))
    assert faults_of("job", whole) == []
