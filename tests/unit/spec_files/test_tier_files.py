"""Tiers as a user writes them."""

from __future__ import annotations

import pytest

from cascade_batch.engine.spec_files import read_tiers
from cascade_batch.errors import UsageError

PRICED = "price: {input: 1, output: 1}"


def read(folder, text: str):
    (folder / "tiers.yaml").write_text(text)
    return read_tiers()


def refusal(folder, text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(folder, text)
    return caught.value


def test_a_known_model_is_priced_from_the_table(folder):
    tiers, warnings = read(folder, "tiers: [{name: a, model: gpt-4o-mini}]\n")

    assert tiers[0].bound_price.source.startswith("genai-prices")
    assert tiers[0].bound_price.steps[0].input_picousd > 0
    assert warnings == []


def test_a_model_without_a_price_is_refused_where_it_stands(folder):
    error = refusal(folder, "tiers:\n  - {name: a, model: nobody-knows-this}\n")

    assert error.message.startswith("tiers.yaml:2:5: ")
    assert "price" in f"{error.message}{error.hint}"


def test_an_unusual_order_is_a_warning(folder):
    tiers, warnings = read(
        folder,
        "tiers:\n"
        "  - {name: dear, model: m, price: {input: 5, output: 5}}\n"
        "  - {name: cheap, model: m, price: {input: 1, output: 1}}\n",
    )

    assert [t.name for t in tiers] == ["dear", "cheap"]
    assert len(warnings) == 1
    assert "'dear' costs more than 'cheap'" in warnings[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("modle: m", "tiers.yaml:3:5: unknown key 'modle'; did you mean 'model'?"),
        ("temperature: 0", "tiers.yaml:3:5: unknown key 'temperature'; it belongs under params"),
        (
            "max_tokens: 5",
            "tiers.yaml:3:5: unknown key 'max_tokens'; what it sets is called max_out",
        ),
        ("rpm: 5", "it belongs under limits"),
        ("timeout: 5", "it is called timeout_s"),
        ("frozen_price: {}", "unknown key 'frozen_price'"),
        ("python_path: /", "unknown key 'python_path'"),
        ("params: {max_tokens: 5}", "tiers.yaml:3:13: tiers[0].params: params may not hold"),
        ("max_output_tokens: many", "tiers.yaml:3:24: tiers[0].max_output_tokens: must be an int"),
        ("base_url: ftp://x", "tiers.yaml:3:15: tiers[0].base_url: base_url 'ftp://x' must start"),
        ("limits: {rpm: 0}", "tiers.yaml:3:19: tiers[0].limits.rpm: must be greater than 0"),
        ("price: {inpt: 3}", "tiers.yaml:3:13: unknown key 'inpt'; did you mean 'input'?"),
        ("logprobs: maybe", "tiers.yaml:3:15: tiers[0].logprobs: must be a boolean"),
        ("prompt: '{{ x'", "tiers.yaml:3:13: "),
        ("prompt: '@none.txt'", "can't be read: No such file"),
    ],
)
def test_an_error_names_its_place_and_what_is_allowed(folder, line, message):
    text = f"tiers:\n  - name: a\n    {line}\n    model: m\n"
    if not line.startswith("price"):
        text += f"    {PRICED}\n"

    assert message in refusal(folder, text).message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tiers: []\n", "the list of tiers is empty"),
        ("tiers: {name: a}\n", "holds a list under the key 'tiers'"),
        ("- {name: a, model: m}\n", "holds a list under the key 'tiers'"),
        ("", "holds a list under the key 'tiers'"),
        ("tiers: [a]\n", "tiers.yaml:1:9: tiers[0] must hold keys and values"),
        ("limits: 1\ntiers: []\n", "tiers.yaml:1:1: unknown key 'limits'"),
        ("tiers:\n  - model: m\n", "tiers.yaml:2:5: the key 'tiers[0].name' is missing"),
        (
            f"tiers:\n  - {{name: a, model: m, {PRICED}}}\n  - {{name: a, model: m, {PRICED}}}\n",
            "tiers.yaml:3:12: two tiers are called 'a'",
        ),
        ("tiers:\n\t- name: a\n", "tiers.yaml:2:1: this is not valid YAML"),
    ],
)
def test_a_file_of_another_shape_is_refused(folder, text, message):
    assert message in refusal(folder, text).message


@pytest.mark.parametrize(
    "line",
    [
        "api_key: sk-SECRETSECRET0123456789",
        "openai_api_key: SECRET",
        "key: SECRET",
        "token: SECRET",
        "params: {api_key: SECRET}",
        "params: {headers: {Authorization: Bearer SECRETSECRET0123456789}}",
        "api_key_env: sk-SECRETSECRET0123456789",
        "model: sk-proj-SECRETSECRET0123456789",
        "base_url: https://user:SECRET@example.com/v1",
    ],
)
def test_a_key_is_refused_and_never_repeated(folder, line):
    error = refusal(folder, f"tiers:\n  - name: a\n    {line}\n")

    assert "SECRET" not in f"{error.message}{error.hint}"
    assert "tiers.yaml:3:" in error.message


@pytest.mark.parametrize("value", ["key_performance_indicators_of_2024", "sk-learn", "hf-model"])
def test_words_that_look_a_little_like_keys_are_fine(folder, value):
    tiers, _ = read(folder, f"tiers:\n  - {{name: a, model: {value}, {PRICED}}}\n")

    assert tiers[0].model == value


def test_a_tiers_prompt_and_model_file_are_beside_the_tiers_file(folder, write):
    write("shots/few.txt", "Q: 1+1 A: 2 Q: {{ q }} A:")
    write(
        "shots/tiers.yaml",
        f"""\
        tiers:
          - {{name: a, model: m, {PRICED}, prompt: '@few.txt'}}
          - {{name: b, api: local, gguf: models/b.gguf, {PRICED}}}
        """,
    )

    tiers, _ = read_tiers(tiers_file=folder / "shots" / "tiers.yaml")

    assert tiers[0].prompt == "Q: 1+1 A: 2 Q: {{ q }} A:"
    assert tiers[1].gguf == str(folder / "shots" / "models" / "b.gguf")


def test_python_tiers_are_imported_from_the_job_files_folder(folder, write):
    write("rules.py", "def answer(row):\n    return 'up'\n")
    write("job/rules.py", "def answer(row):\n    return 'up'\n")
    text = f"tiers:\n  - {{name: a, api: python, function: rules.answer, {PRICED}}}\n"
    write("tiers.yaml", text)
    write("job/job.yaml", "tiers: ../tiers.yaml\n")

    without_job, _ = read_tiers()
    of_job, _ = read_tiers(job_file=folder / "job" / "job.yaml")

    assert without_job[0].python_path == str(folder.resolve())
    assert of_job[0].python_path == str((folder / "job").resolve())


def test_yaml_anchors_and_merges_are_understood(folder):
    tiers, _ = read(
        folder,
        f"tiers:\n  - &a {{name: a, model: m, {PRICED}}}\n  - {{<<: *a, name: b}}\n",
    )

    assert [(t.name, t.model) for t in tiers] == [("a", "m"), ("b", "m")]


def test_an_error_in_merged_tiers_points_at_the_writing(folder):
    error = refusal(
        folder, f"tiers:\n  - &a {{name: a, model: m, {PRICED}}}\n  - {{<<: *a, name: b, x: 1}}\n"
    )

    assert error.message.startswith("tiers.yaml:3:23: unknown key 'x'")
