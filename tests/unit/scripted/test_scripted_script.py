"""Script files: what is accepted, and what an error tells."""

import ast
import inspect
import textwrap
from pathlib import Path

import pytest

from cascade_batch.errors import DataError, UsageError
from cascade_batch.providers import scripted
from cascade_batch.providers.scripted import load_script, script_from
from cascade_batch.providers.scripted.provider import Provider


def test_the_documented_example_is_a_script(tmp_path):
    documentation = inspect.getdoc(scripted)
    example = documentation[documentation.index("    seed: 1") :].split("\n\n")[0]
    file = tmp_path / "script.yaml"
    file.write_text(textwrap.dedent(example))
    script = load_script(file)
    assert list(script.models) == ["small", "large", "parrot"]
    assert len(script.faults) == 6
    assert Provider(script).statement()["calls_total"] == 0


def test_json_is_read_too(tmp_path):
    file = tmp_path / "script.json"
    file.write_text('{"models": {"m": {"echo": true}}}')
    assert list(load_script(file).models) == ["m"]


ECHO = {"echo": True}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "models: Field required"),
        ({"models": {}}, "models names no model"),
        ({"models": {"m": {}}}, "models.m: give exactly one of recording, answers"),
        ({"models": {"m": {"echo": True, "answers": []}}}, "models.m: give exactly one of"),
        ({"models": {"m": {"echo": True, "tier": "x"}}}, "there is no recording"),
        ({"models": {"m": {"echo": True, "pirce": {}}}}, "models.m.pirce"),
        ({"models": {"m": {"echo": True, "price": {"input": -1}}}}, "models.m.price.input"),
        ({"models": {"m": {"answers": [{"text": "x", "match": "("}]}}}, "no regular expression"),
        (
            {"models": {"m": {"simulate": {"choices": ["a", "a"], "accuracy": 1}}}},
            "at least two different",
        ),
        (
            {"models": {"m": {"simulate": {"choices": ["a", "b"], "accuracy": 1, "gold": "a"}}}},
            "needs a group",
        ),
        (
            {"models": {"m": {"echo": True, "latency_ms": {"p50": 2, "p95": 1}}}},
            "p95 must not be below p50",
        ),
        ({"models": {"m": ECHO}, "faults": [{"kind": "hiccup"}]}, "faults.0.kind"),
        ({"models": {"m": ECHO}, "faults": [{"kind": "hang", "factor": 2}]}, "factor belongs to"),
        ({"models": {"m": ECHO}, "faults": [{"kind": "wrong_usage"}]}, "needs a factor"),
        (
            {"models": {"m": ECHO}, "faults": [{"kind": "server_error", "status": 404}]},
            "from 500 to 599",
        ),
        (
            {"models": {"m": ECHO}, "faults": [{"kind": "hang", "model": "k"}]},
            "no model is called 'k'; there are m",
        ),
        (
            {"models": {"m": ECHO}, "faults": [{"kind": "hang", "after_s": 2, "until_s": 1}]},
            "until_s must be later",
        ),
        ({"models": {"m": ECHO}, "folder": "/"}, "folder is not a key"),
    ],
)
def test_an_error_names_the_key(content, told):
    with pytest.raises(UsageError) as caught:
        script_from(content, source="s.yaml")
    assert told in caught.value.message
    assert "s.yaml" in caught.value.message
    assert caught.value.hint


def test_broken_yaml_is_told_with_its_line(tmp_path):
    file = tmp_path / "script.yaml"
    file.write_text("models:\n  m: {echo: true\n")
    with pytest.raises(UsageError, match=r"script\.yaml:\d+: not YAML"):
        load_script(file)


def test_a_file_that_is_not_there_or_no_mapping(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        load_script(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(UsageError, match="mapping"):
        load_script(tmp_path / "list.yaml")


def test_a_broken_recording_is_told_with_its_line(tmp_path):
    outcome = '{"text": "a", "input_tokens": 1, "output_tokens": 1}'
    good = f'{{"id": "1", "prompt": "p", "outcomes": {{"t": {outcome}}}}}'
    (tmp_path / "r.jsonl").write_text(good + '\n\n{"prompt": "q"}\n')
    script = script_from({"models": {"t": {"recording": "r.jsonl"}}}, folder=tmp_path)
    with pytest.raises(DataError, match=r"r\.jsonl:3: not a recorded question"):
        Provider(script)
    (tmp_path / "r.jsonl").write_text(good)
    with pytest.raises(DataError, match="no outcome of a tier 'u'") as caught:
        Provider(script_from({"models": {"u": {"recording": "r.jsonl"}}}, folder=tmp_path))
    assert "t" in caught.value.hint
    with pytest.raises(DataError, match="can't be read"):
        Provider(script_from({"models": {"u": {"recording": "no.jsonl"}}}, folder=tmp_path))


def test_a_log_that_cannot_be_written_is_refused(tmp_path):
    script = script_from({"models": {"m": ECHO}, "log": "no/where.jsonl"}, folder=tmp_path)
    with pytest.raises(UsageError, match="can't be written"):
        Provider(script)


def test_the_witness_shares_nothing_with_what_it_witnesses():
    own = "cascade_batch.providers.scripted"
    for file in Path(scripted.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith("cascade_batch"):
                    assert name.startswith(own) or name == "cascade_batch.errors", (file, name)
