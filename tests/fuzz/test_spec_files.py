"""Job files, tiers files and scripts: a job, or an error that names the file and mostly the line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.domain.money import MAX_BUDGET_NANOUSD, usd_to_nanousd
from cascade_batch.domain.row import Prompt
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.spec_files import JobOptions, JobRequest, read_job, read_tiers
from cascade_batch.engine.yaml_source import MAX_CHARS, MAX_DEPTH, MAX_VALUES
from cascade_batch.errors import CascadeError, UsageError
from cascade_batch.providers import Providers, worst_case_nanousd
from cascade_batch.providers.scripted.script import load_script
from tests.fuzz.hostile import FUZZ, SCALARS, VALUES, spoilt_bytes, spoilt_tree

TIERS: list[dict[str, Any]] = [
    {
        "name": "small",
        "model": "gpt-4o-mini",
        "api_key_env": "OPENAI_API_KEY",
        "max_output_tokens": 16,
        "params": {"temperature": 0, "service_tier": "default"},
        "limits": {"rpm": 100, "tpm": 10_000, "concurrency": 4},
        "timeout_s": 5,
        "logprobs": True,
    },
    {
        "name": "own",
        "model": "m",
        "base_url": "http://localhost:8000/v1",
        "price": {"input": 0.1, "output": 0.2, "cached_input": 0.05, "call": 0, "second": 0.001},
        "prompt": "{{ headline }}?",
        "max_tokens_param": "max_tokens",
        "overhead_tokens": 5,
        "max_input_tokens": 1000,
    },
    {"name": "claude", "api": "anthropic", "model": "claude-3-5-haiku-latest"},
]
JOB: dict[str, Any] = {
    "name": "headlines",
    "data": "data.jsonl",
    "budget": 50,
    "system": "You label headlines.",
    "prompt": "Good?\n{{ headline }}",
    "output": {"choices": ["up", "down"]},
    "gold": "label",
    "gold_use": "train",
    "strata": "kind",
    "check": "exact",
    "tiers": TIERS,
    "policy": "auto",
    "seed": 3,
    "chunk_rows": 10,
    "limit": 100,
    "skip_bad": True,
}
SCHEMA_JOB = {
    **JOB,
    "check": "json:label",
    "tiers": TIERS[:1],
    "output": {
        "confidence": "sure",
        "schema": {
            "type": "object",
            "properties": {
                "label": {"enum": ["a", "b"]},
                "sure": {"type": "number", "minimum": 0, "maximum": 100},
                "more": {"$ref": "#/$defs/more"},
            },
            "patternProperties": {"^x": {"type": "string", "pattern": "a+"}},
            "additionalProperties": False,
            "$defs": {"more": {"type": "array", "items": {"$ref": "#/$defs/more"}}},
        },
    },
}
PATTERN_JOB = {**JOB, "tiers": TIERS[:1], "check": "regex:^a", "output": {"pattern": "(a|b)+"}}
_MISSING = re.compile("No (data set|budget) is given|No tiers are given|.*can't be read")
JOBS = [JOB, SCHEMA_JOB, PATTERN_JOB]
SCRIPT: dict[str, Any] = {
    "seed": 1,
    "models": {
        "small": {
            "price": {"input": 1, "output": 2, "call": 0.1},
            "latency_ms": {"p50": 1, "p95": 2},
            "limits": {"rpm": 10},
            "answers": [{"match": "a+", "text": "x", "logprob": -1, "top_logprobs": {"y": -2}}],
        },
        "large": {"simulate": {"choices": ["a", "b"], "accuracy": 0.5, "gold": "(a)"}},
    },
    "faults": [
        {"kind": "rate_limit", "model": ["small"], "match": "b", "nth": [1], "retry_after_s": 1}
    ],
}


@pytest.fixture(scope="module", autouse=True)
def _here(folder: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        yield


def job(content: bytes) -> JobRequest | None:
    """Read a job file; the property itself."""
    Path("job.yaml").write_bytes(content)
    return kept(lambda: read_job(JobOptions(job_file=Path("job.yaml"))))


def kept(read: Callable[[], Any], *, names: str = "job.yaml") -> Any:
    try:
        return read()
    except CascadeError as error:
        assert names in error.message or "--" in error.message or _MISSING.match(error.message)
        assert "MemoryError" not in error.message
        assert len(error.message) < 20_000
        return None


def check_request(request: JobRequest | None) -> None:
    """What was taken can be stored, billed and sent."""
    if request is None:
        return
    stored = request.spec.model_dump_json()
    assert type(request.spec).model_validate_json(stored).name == request.spec.name
    assert "\\u0000" not in stored.replace("\\\\", "")
    assert 0 <= request.spec.budget_nanousd <= MAX_BUDGET_NANOUSD
    for tier in request.spec.tiers:
        worst = worst_case_nanousd(tier, 2**24, text_only=True)
        assert type(worst) is int
        assert 0 <= worst < 10**30
        kept(partial(_request_body, request, tier), names="")


def _request_body(request: JobRequest, tier: Tier) -> bytes:
    prompt = Prompt([{"role": "user", "content": "x"}])
    return Providers().request_body(tier, prompt, request.spec.output)


@FUZZ
@given(st.sampled_from(JOBS).flatmap(spoilt_tree))
def test_values_of_other_kinds(tree: Any) -> None:
    check_request(job(json.dumps(tree).encode()))


@FUZZ
@given(st.sampled_from(JOBS).flatmap(lambda j: spoilt_bytes(yaml.safe_dump(j).encode())))
def test_spoilt_job_files(content: bytes) -> None:
    check_request(job(content))


@FUZZ
@given(spoilt_tree({"tiers": TIERS}), st.booleans())
def test_spoilt_tiers_files(tree: Any, as_json: bool) -> None:
    text = json.dumps(tree) if as_json else None
    if text is None:
        try:
            text = yaml.dump(tree, allow_unicode=True)
            Path("t.yaml").write_text(text, "utf-8")
        except (RecursionError, UnicodeEncodeError, ValueError):
            text = json.dumps(tree)
    Path("t.yaml").write_text(text, "utf-8")
    kept(lambda: read_tiers(tiers_file=Path("t.yaml")), names="t.yaml")


@FUZZ
@given(SCALARS | VALUES, st.sampled_from(["schema", "pattern", "choices", "confidence"]), st.data())
def test_outputs_on_the_command_line(value: Any, key: str, data: st.DataObject) -> None:
    text = data.draw(
        st.sampled_from([json.dumps({key: value}), str(value), f"@{value}", f"{key}: {value}"])
    )
    kept(
        lambda: read_job(
            JobOptions(
                data="d.jsonl", prompt="x", budget="1", output=text, job_file=Path("ok.yaml")
            )
        ),
        names="",
    )


@FUZZ
@given(
    st.one_of(SCALARS.map(str), st.from_regex(r"\$?[0-9_,]{0,6}\.?[0-9]{0,3}(e[+-]?[0-9]{1,9})?"))
)
def test_budgets(text: str) -> None:
    try:
        assert 0 <= usd_to_nanousd(text) <= MAX_BUDGET_NANOUSD
    except ValueError as error:
        assert str(error)


@FUZZ
@given(spoilt_tree(SCRIPT), st.booleans(), st.data())
def test_scripts(tree: Any, spoil_text: bool, data: st.DataObject) -> None:
    content = json.dumps(tree).encode()
    if spoil_text:
        content = data.draw(spoilt_bytes(yaml.safe_dump(SCRIPT).encode()))
    Path("script.yaml").write_bytes(content)
    kept(lambda: load_script("script.yaml"), names="script.yaml")


BASE = "data: d.jsonl\nbudget: 1\nprompt: x\n"
TIER = "tiers: [{name: a, model: m, price: {input: 1, output: 1}}]\n"


def bomb(levels: int, merge: str = "") -> str:
    """Aliases that unfold to 9 ** levels values."""
    lines = [f"x0: &x0 {'{a: 1}' if merge else '[a]'}\n"]
    for level in range(1, levels):
        nine = ",".join([f"*x{level - 1}"] * 9)
        lines.append(f"x{level}: &x{level} " + (f"{{<<: [{nine}]}}\n" if merge else f"[{nine}]\n"))
    return "".join(lines)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("a: " + "[" * 50_000 + "]" * 50_000, "nested more than", id="deep-50000"),
        pytest.param("a: " + "[" * 500 + "]" * 500, f"more than {MAX_DEPTH} levels", id="deep-500"),
        pytest.param(bomb(12), f"more than {MAX_VALUES:,} values", id="bomb"),
        pytest.param(bomb(12, "<<"), f"more than {MAX_VALUES:,} values", id="merge-bomb"),
        pytest.param("#" * (MAX_CHARS + 1), "longer than", id="huge"),
        ("seed: !!bool abc", "job.yaml:5:7: this is no bool"),
        ("seed: !!float ''", "job.yaml:5:7: this is no float"),
        ("seed: !!int ''", "job.yaml:5:7: this is no int"),
        ("name: !!timestamp abc", "job.yaml:5:7: there is no such kind of value here as !!timestamp"),
        ("name: !!binary YWJj", "as !!binary"),
        ("output: !!set {a, b}", "as !!set"),
        ("name: !!python/object:os.system x", "as !!python/object:os.system"),
        ("!!binary YWJj: x", "as !!binary"),
        pytest.param("seed: 0x" + "f" * 5000, "more than 64 bits", id="hexadecimal"),
        pytest.param("seed: " + "9" * 5000, "more than 64 bits", id="digits"),
        ('name: "a\\0b"', "NUL"),
        ("data: ~nobody-of-this-name/x", "there is no home folder"),
        ("output: {pattern: 'a{99999999999999999999}'}", "repetition number is too large"),
        ("output: {pattern: '((a{1000}){1000}){1000}'}", "repeats its parts more than"),
        pytest.param(
            "output: {pattern: '" + "(" * 5000 + ")" * 5000 + "'}", "nested too deep", id="groups"
        ),
        pytest.param("check: 'regex:" + "(" * 5000 + ")" * 5000 + "'", "nested too deep", id="regex"),
        ("output: {schema: {$id: 'http://[', $ref: a}}", "refers to 'a', which it does not hold"),
        ("output: {schema: {$ref: '#'}}", "refers to itself without end"),
        ("output: {schema: {pattern: '((a{1000}){1000}){1000}'}}", "repeats its parts more than"),
        ("output: {schema: {$defs: {a: {$ref: '#/$defs/a'}}, $ref: '#/$defs/a'}}", "without end"),
    ],
)  # fmt: skip
def test_job_files_that_broke_something(line: str, said: str) -> None:
    base = "".join(
        part for part in BASE.splitlines(True) if part.partition(":")[0] != line.partition(":")[0]
    )
    Path("job.yaml").write_text(base + TIER + line + "\n")
    with pytest.raises(UsageError) as raised:
        read_job(JobOptions(job_file=Path("job.yaml")))
    assert said in raised.value.message
    assert "job.yaml" in raised.value.message


def test_a_confidence_whose_maximum_no_float_holds() -> None:
    text = "{schema: {properties: {c: {type: number, maximum: 1" + "0" * 18 + "}}}, confidence: c}"
    assert job((BASE + TIER + f"output: {text}\n").encode()) is not None


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("price: {input: '1e999990', output: 1}", "price.input"),
        ("price: {call: '1e999999999'}", "price.call"),
        ("price: {second: 1e300}", "price.second"),
        ("base_url: 'http://['", "no address of a server"),
        ("base_url: 'http://a:99999999/'", "no address of a server"),
        ('base_url: "http://a\\nb"', "no address of a server"),
        ("base_url: 'http://a b'", "no address of a server"),
        ("base_url: 'http://:80'", "no address of a server"),
        ("gguf: ~nobody-of-this-name/x", "there is no home folder"),
        ("prompt: '@~nobody-of-this-name/x'", "there is no home folder"),
        ("prompt: '@.'", "can't be read"),
        ("params: {service_tier: [a]}", "no price with service_tier"),
        ("overhead_tokens: 1000000000000", "overhead_tokens"),
        ("limits: {rpm: 1000000000000000000}", "limits.rpm"),
    ],
)
def test_tiers_that_broke_something(lines: str, said: str) -> None:
    key = lines.partition(":")[0]
    price = "" if key in ("price", "params") else "  price: {input: 1, output: 1}\n"
    Path("t.yaml").write_text(f"tiers:\n- name: a\n  model: gpt-4o\n{price}  {lines}\n")
    with pytest.raises(UsageError) as raised:
        read_tiers(tiers_file=Path("t.yaml"))
    assert said in raised.value.message
    assert raised.value.message.startswith("t.yaml:")


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "a" * 200 + "/" + "b" * 300, "."])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        read_tiers(tiers_file=Path(name))
    if name != ".":
        with pytest.raises(UsageError, match="can't be read"):
            read_job(JobOptions(job_file=Path(name)))


@pytest.mark.parametrize(
    "text", ["1e999999999", "1e999999", "9" * 10_000, "-1e999999", "1e-999999999"]
)
def test_budgets_of_any_exponent(text: str) -> None:
    try:
        assert usd_to_nanousd(text) == 0
    except ValueError as error:
        assert "dollars" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "models: " + "[" * 5000 + "]" * 5000,
        "models: !!bool abc",
        "models: !!timestamp abc",
        "models: 2024-13-45",
        "models: " + "9" * 5000,
        "? [a]\n: b",
        "models: {m: {echo: true, price: {call: '1e999999999'}}}",
        "models: {m: {answers: [{match: 'a{99999999999999999999}', text: x}]}}",
        "models: {m: {answers: [{match: '" + "(" * 5000 + ")" * 5000 + "', text: x}]}}",
    ],
    ids=lambda text: text[:30],
)
def test_scripts_that_broke_something(text: str) -> None:
    Path("script.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"script\.yaml"):
        load_script("script.yaml")
