"""A job file and options become one frozen specification."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_batch.engine.spec_files import JobOptions, name_of_data, read_job
from cascade_batch.engine.tier_files import EXAMPLE
from cascade_batch.errors import UsageError

JOB = """\
    name: headlines
    data: data.jsonl
    budget: 12.345678901
    system: You label headlines.
    prompt: "{{ headline }}"
    output: {choices: [yes, no]}
    gold: label
    gold_use: train
    strata: topic
    check: exact
    policy: confidence
    seed: 7
    chunk_rows: 50
    limit: 10
    skip_bad: true
    tiers: tiers.yaml
"""


def test_every_key_of_a_job_file_reaches_the_specification(folder, write):
    write("jobs/tiers.yaml")
    write("jobs/job.yaml", JOB)

    request = read_job(JobOptions(job_file=Path("jobs/job.yaml")))

    spec = request.spec
    assert (spec.name, request.name_is_explicit) == ("headlines", True)
    assert spec.budget_nanousd == 12_345_678_901
    assert (spec.system, spec.prompt) == ("You label headlines.", "{{ headline }}")
    assert spec.output.choices == ("yes", "no")
    assert (spec.gold, spec.check, spec.policy) == ("label", "exact", "confidence")
    assert (spec.gold_use, spec.strata) == ("train", "topic")
    assert (spec.seed, spec.chunk_rows) == (7, 50)
    assert (request.limit, request.skip_bad) == (10, True)
    assert [t.name for t in spec.tiers] == ["small", "large"]
    assert all(t.frozen_price is not None for t in spec.tiers)
    # Beside the job file, not in the working folder.
    assert Path(request.data) == Path("jobs/data.jsonl")
    assert spec.data == "data.jsonl"


def test_options_win_over_the_job_file(folder, write):
    write("tiers.yaml")
    write("job.yaml", JOB)

    request = read_job(
        JobOptions(
            job_file=Path("job.yaml"),
            data="other.csv",
            budget="$1,000",
            system="S",
            prompt="P",
            output="{pattern: 'a+'}",
            gold="g",
            gold_use="stop",
            strata="s",
            check="contains",
            name="n",
            policy="cheapest",
            seed=1,
            chunk_rows=2,
            limit=3,
            skip_bad=False,
        )
    )

    spec = request.spec
    assert request.data == "other.csv"
    assert spec.budget_nanousd == 1000 * 10**9
    assert (spec.system, spec.prompt, spec.output.pattern) == ("S", "P", "a+")
    assert (spec.gold, spec.check, spec.name) == ("g", "contains", "n")
    assert (spec.gold_use, spec.strata) == ("stop", "s")
    assert (spec.policy, spec.seed, spec.chunk_rows) == ("cheapest", 1, 2)
    assert (request.limit, request.skip_bad) == (3, False)


def test_a_folder_stands_for_its_job_file(folder, write):
    write("headlines/tiers.yaml")
    write("headlines/job.yaml", JOB)

    request = read_job(JobOptions(job_file=Path("headlines")))

    assert Path(request.data) == Path("headlines/data.jsonl")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("data/news.jsonl", "news"),
        ("news.jsonl.gz", "news"),
        ("my.news.CSV.zst", "my.news"),
        ("-", "job"),
        (".jsonl", "job"),
        ("é" * 60 + ".parquet", "é" * 25),
    ],
)
def test_without_a_name_the_data_names_the_job(folder, write, data, name):
    write("tiers.yaml")

    request = read_job(JobOptions(data=data, budget="1"))

    assert (request.spec.name, request.name_is_explicit) == (name, False)
    assert name_of_data(data) == name


def test_choices_are_taken_as_they_are_written(folder, write):
    write("tiers.yaml")
    write(
        "job.yaml", "data: d.csv\nbudget: 1\noutput:\n  choices: [1, 2.50, true, no, null, '3']\n"
    )

    spec = read_job(JobOptions(job_file=Path("job.yaml"))).spec

    assert spec.output.choices == ("1", "2.50", "true", "no", "null", "3")


def test_choices_of_an_option_are_taken_as_they_are_written(folder, write):
    write("tiers.yaml")

    spec = read_job(JobOptions(data="d.csv", budget="1", output="choices: [0, 1]")).spec

    assert spec.output.choices == ("0", "1")


def test_a_prompt_can_be_in_a_file(folder, write):
    write("jobs/tiers.yaml")
    write("jobs/ask.txt", "From the job's folder: {{ x }}\n")
    write("ask.txt", "From here: {{ x }}\n")
    write("jobs/job.yaml", "data: d.csv\nbudget: 1\nprompt: '@ask.txt'\ntiers: tiers.yaml\n")

    of_job = read_job(JobOptions(job_file=Path("jobs/job.yaml"))).spec
    of_option = read_job(JobOptions(job_file=Path("jobs/job.yaml"), prompt="@ask.txt")).spec

    assert of_job.prompt == "From the job's folder: {{ x }}\n"
    assert of_option.prompt == "From here: {{ x }}\n"


def test_a_missing_prompt_file_is_named(folder, write):
    write("tiers.yaml")

    with pytest.raises(UsageError, match=r"--prompt: .*nothing\.txt can't be read: No such file"):
        read_job(JobOptions(data="d.csv", budget="1", prompt="@nothing.txt"))


def test_python_checks_are_imported_from_the_job_files_folder(folder, write):
    write("job/tiers.yaml")
    write("job/my_checks.py", "def is_fine(value, gold):\n    return True\n")
    write(
        "job/job.yaml",
        "data: d.csv\nbudget: 1\ncheck: python:my_checks.is_fine\ntiers: tiers.yaml\n",
    )

    spec = read_job(JobOptions(job_file=Path("job/job.yaml"), allow_python_checks=True)).spec

    assert spec.check_path == str((folder / "job").resolve())


_TRAP = (
    "from pathlib import Path\nPath('trapped').touch()\ndef f(value, gold=None):\n    return True\n"
)


@pytest.mark.parametrize(
    "job",
    [
        "data: d.csv\nbudget: 1\ncheck: python:trap.f\ntiers: tiers.yaml\n",
        "data: d.csv\nbudget: 1\ntiers:\n- {name: a, api: python, function: trap.f, price: {call: 0}}\n",
        "data: d.csv\nbudget: 1\ntiers: code.yaml\n",
    ],
)
def test_a_job_file_runs_no_code_without_leave(folder, write, job):
    write("job/tiers.yaml")
    write(
        "job/code.yaml",
        "tiers:\n- {name: a, api: python, function: trap.f, price: {call: 0}}\n",
    )
    write("job/trap.py", _TRAP)
    write("job/job.yaml", job)

    with pytest.raises(UsageError, match=r"job\.yaml:.*trap\.f") as raised:
        read_job(JobOptions(job_file=Path("job/job.yaml")))

    assert "--allow-python-checks" in str(raised.value.hint)
    assert not (folder / "trapped").exists()


def test_what_is_typed_at_the_command_line_is_leave_enough(folder, write):
    write("job/tiers.yaml")
    write("job/my_checks.py", "def is_fine(value, gold):\n    return True\n")
    write("job/job.yaml", "data: d.csv\nbudget: 1\ntiers: tiers.yaml\n")

    options = JobOptions(job_file=Path("job/job.yaml"), check="python:my_checks.is_fine")

    assert read_job(options).spec.check == "python:my_checks.is_fine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "No data set is given"),
        ({"data": "d.csv"}, "No budget is given"),
        ({"data": "d.csv", "budget": "much"}, "--budget: 'much' is not an amount of dollars"),
        ({"data": "d.csv", "budget": "-1"}, "--budget: '-1' is not an amount of dollars of zero"),
        ({"data": "d.csv", "budget": "1", "check": "exakt"}, "--check: .*'exakt'"),
        ({"data": "d.csv", "budget": "1", "prompt": "{{ x"}, "--prompt: "),
        ({"data": "d.csv", "budget": "1", "system": "{% if %}"}, "--system: "),
        ({"data": "d.csv", "budget": "1", "name": "n" * 64}, "--name: .*1 to 63 bytes"),
        (
            {"data": "d.csv", "budget": "1", "output": "{choices: [a]}"},
            "--output:1:1.*two different",
        ),
        ({"data": "d.csv", "budget": "1", "output": "{schem: {}}"}, "mean 'schema'"),
    ],
)
def test_a_wrong_option_is_named(folder, write, options, message):
    write("tiers.yaml")

    with pytest.raises(UsageError, match=message):
        read_job(JobOptions(**options))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: d\nbuget: 1\n", r"job.yaml:2:1: unknown key 'buget'; did you mean 'budget'\?"),
        ("budget: 1\nqqq: 1\n", r"job.yaml:2:1: unknown key 'qqq'.* Allowed here: name, data"),
        ("data: d\nbudget: 1\n\nbudget: 2\n", r"job.yaml:4:1: the key 'budget' is given twice.*2"),
        ("data: d\nbudget: {a: 1}\n", r"job.yaml:2:9: budget: "),
        ("data: d\nbudget: 1\npolicy: best\n", r"job.yaml:3:9: policy: must be 'auto', 'cheapest'"),
        ("data: d\nbudget: 1\nseed: many\n", r"job.yaml:3:7: seed: must be an integer"),
        ("data: d\nbudget: 1\noutput: {patern: a}\n", r"job.yaml:3:10: .*did you mean 'pattern'"),
        ("data: d\nbudget: 1\noutput: {pattern: '('}\n", r"job.yaml:3:9: .*no regular expression"),
        ("data: d\nbudget: 1\ncheck: exakt\n", r"job.yaml:3:8: check: .*exakt"),
        ("data: [d\n", r"job.yaml:2:1: this is not valid YAML"),
        ("- data\n", r"job.yaml:1:1: the file must hold keys and values"),
        ("data: d\nbudget: 1\ntiers: 3\n", r"job.yaml:3:8: tiers: must be a list of tiers or a"),
        ("data: &a [*a]\n", r"job.yaml:1:7: .*holds itself"),
    ],
)
def test_an_error_in_a_job_file_names_line_and_column(folder, write, text, message):
    write("tiers.yaml")
    write("job.yaml", text)

    with pytest.raises(UsageError, match=message):
        read_job(JobOptions(job_file=Path("job.yaml")))


def test_all_errors_of_a_file_are_told_at_once(folder, write):
    write("job.yaml", "promt: a\ndata: d\nseed: x\nlimit: 0\n")

    with pytest.raises(UsageError) as caught:
        read_job(JobOptions(job_file=Path("job.yaml")))

    assert [line.split(":")[1] for line in caught.value.message.splitlines()] == ["1", "3", "4"]


def test_a_key_in_a_job_file_is_refused_and_not_repeated(folder, write):
    write("job.yaml", "data: d\nbudget: 1\napi_key: sk-verysecret0123456789abc\n")

    with pytest.raises(UsageError, match=r"job.yaml:3:1: api_key holds a secret") as caught:
        read_job(JobOptions(job_file=Path("job.yaml")))

    assert "verysecret" not in f"{caught.value.message}{caught.value.hint}"
    assert "api_key_env" in str(caught.value.hint)


def test_a_file_that_is_not_there_is_answered_with_the_one_that_may_be_meant(folder, write):
    write("tiers.yaml")
    write("job.yaml", 'data: d.csv\nbudget: 1\nprompt: "{{ x }}"\ntiers: tier.yaml\n')

    with pytest.raises(UsageError, match=r"tier\.yaml: the file can't be read") as caught:
        read_job(JobOptions(job_file=Path("job.yaml")))

    assert "tiers.yaml" in str(caught.value.hint)


def test_a_missing_job_file_is_named(folder):
    with pytest.raises(UsageError, match=r"^none.yaml: the file can't be read: No such file"):
        read_job(JobOptions(job_file=Path("none.yaml")))


def test_an_estimate_needs_no_budget(folder, write):
    write("tiers.yaml")

    request = read_job(JobOptions(data="d.csv"), needs_budget=False)

    assert (request.has_budget, request.spec.budget_nanousd) == (False, 0)


def test_without_any_tiers_a_whole_example_is_shown(folder):
    with pytest.raises(UsageError, match="No tiers are given") as caught:
        read_job(JobOptions(data="d.csv", budget="1"))

    assert EXAMPLE in str(caught.value.hint)


def test_the_example_can_be_copied(folder, write):
    write("tiers.yaml", EXAMPLE)

    spec = read_job(JobOptions(data="d.csv", budget="1")).spec

    assert [t.name for t in spec.tiers] == ["small", "large"]


def test_tiers_are_looked_for_in_order(folder, write, tmp_path):
    def tiers(name: str) -> str:
        return f"tiers:\n  - {{name: {name}, model: m, price: {{input: 1, output: 1}}}}\n"

    config = tmp_path / "config" / "cascade-batch"
    config.mkdir(parents=True)
    (config / "tiers.yaml").write_text(tiers("of-user"))
    write("job.yaml", "data: d\nbudget: 1\n")
    options = JobOptions(job_file=Path("job.yaml"))

    def first_tier(options: JobOptions) -> str:
        return read_job(options).spec.tiers[0].name

    assert first_tier(options) == "of-user"
    write("tiers.yaml", tiers("of-folder"))
    assert first_tier(options) == "of-folder"
    write("job.yaml", "data: d\nbudget: 1\n" + tiers("of-job"))
    assert first_tier(options) == "of-job"
    write("given.yaml", tiers("of-option"))
    with_option = JobOptions(job_file=Path("job.yaml"), tiers_file=Path("given.yaml"))
    assert first_tier(with_option) == "of-option"


def test_a_judge_must_be_a_tier_of_the_job(folder, write):
    write("tiers.yaml")
    write("job.yaml", "data: d.csv\nbudget: 1\ncheck: judge:huge\n")

    with pytest.raises(UsageError, match=r"job.yaml:3:8: check: .*'judge:huge'.*small, large"):
        read_job(JobOptions(job_file=Path("job.yaml")))
    with pytest.raises(UsageError, match=r"--check: .*no tier"):
        read_job(JobOptions(data="d.csv", budget="1", check="judge:nobody"))

    spec = read_job(JobOptions(data="d.csv", budget="1", check="judge:large")).spec
    assert spec.judge_tier_no == 1


def test_words_given_as_the_output_are_told_how_choices_are_written(folder, write):
    write("tiers.yaml")

    with pytest.raises(UsageError) as raised:
        read_job(JobOptions(data="d.csv", budget="1", output="[up, down]"))

    assert raised.value.hint is not None
    assert raised.value.hint.endswith("--output '{choices: [up, down]}'")
