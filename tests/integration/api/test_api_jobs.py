"""A job's life from Python: pandas in, pandas out, on a stack that starts by itself."""

from __future__ import annotations

import asyncio
import doctest
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import pytest

import cascade_batch
from cascade_batch.errors import DataError, JobExistsError, JobNotFoundError, UsageError
from cascade_batch.settings import settings

README = Path(__file__).parents[3] / "README.md"
PYTHON_PAGE = README.parent / "docs" / "python.md"
PROMPT = "Up, down or none? {{ headline }}"
CHOICES = {"choices": ["up", "down", "none"]}


def run_examples(thing: object, name: str) -> int:
    """Run the examples of a docstring; how many there were."""
    found = doctest.DocTestFinder(recurse=False).find(
        thing, name, globs={"cascade_batch": cascade_batch, "pd": pd}
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told: list[str] = []
    for test in found:
        runner.run(test, out=told.append)
    assert runner.failures == 0, "".join(told)
    return runner.tries


@pytest.fixture
def example(folder: Path) -> cascade_batch.Job:
    """The job that the examples of the docstrings are about."""
    if "example" not in cascade_batch.jobs().index:
        assert run_examples(cascade_batch.submit, "submit") > 0
    return cascade_batch.job("example")


WITH_EXAMPLES = [
    "job",
    "jobs",
    *(f"Job.{name}" for name in ("progress", "wait", "results", "arrow", "frontier", "audit")),
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_docstrings_say_what_happens(example, name):
    thing = cascade_batch
    for part in name.split("."):
        thing = getattr(thing, part)

    assert run_examples(thing, name) > 0


def test_a_frame_with_columns_called_like_those_of_results_is_joined_as_documented(folder):
    names = ("custom_id", "status", "answer", "error")
    df = pd.DataFrame(
        {"headline": ["Gold jumps", "Gold falls"], **{name: ["one", "two"] for name in names}}
    )
    job = cascade_batch.submit(df, prompt="{{ headline }}", tiers="tiers.yaml", budget=0.05)
    (line,) = (one for one in README.read_text("utf-8").splitlines() if "df.join(" in one)
    (whole,) = re.findall(r"`(df\.join\(.*?add_suffix.*?)`", PYTHON_PAGE.read_text("utf-8"))

    found: dict[str, pd.DataFrame] = {}
    exec(line, {"df": df, "job": job}, found)
    everything = eval(whole, {"df": df, "job": job})

    pd.testing.assert_frame_equal(found["answers"][df.columns], df)
    assert found["answers"]["value"].tolist() == ["up", "down"]
    pd.testing.assert_frame_equal(everything[df.columns], df)
    assert everything["answer_result"].tolist() == ["up", "down"]
    assert everything["custom_id_result"].tolist() == ["one", "two"]


def test_results_have_the_index_of_the_frame_and_the_types_of_the_schema(folder):
    class Label(pydantic.BaseModel):
        label: str
        score: int
        share: float
        sure: bool
        words: list[str]

    df = pd.DataFrame({"headline": ["Gold jumps", "Gold falls"]}, index=["later", "sooner"])
    tiers = [cascade_batch.Tier.model_validate(one) for one in _tiers_of(folder)]

    job = cascade_batch.submit(
        df, prompt="{{ headline }} as JSON", output=Label, tiers=tiers, budget="0.05"
    )
    results = job.wait(progress=False).results()

    assert job.name.startswith("DataFrame")
    assert results.index.tolist() == ["later", "sooner"]
    assert results.dtypes[["score", "share", "sure"]].astype(str).tolist() == [
        "Int64",
        "float64",
        "boolean",
    ]
    first = results.loc["later"]
    assert (first["label"], first["score"], first["share"], first["sure"]) == ("up", 3, 0.5, True)
    assert first["words"] == ["gold"]
    assert first["value"] == {
        "label": "up",
        "score": 3,
        "share": 0.5,
        "sure": True,
        "words": ["gold"],
    }
    assert results["cost_usd"].sum() == pytest.approx(job.progress().spent_usd)
    table = job.arrow()
    assert table.schema.field("score").type == pa.int64()
    assert table.column("words").to_pylist() == [["gold"]] * 2


def test_rows_that_fail_or_are_left_out_are_told_by_their_index(folder):
    df = pd.DataFrame(
        {"headline": ["Gold jumps", b"bytes", "poison"]}, index=pd.Index([10, 20, 30])
    )
    given = {"prompt": PROMPT, "output": CHOICES, "budget": 0.05, "name": "some fail"}

    with pytest.raises(DataError, match="DataFrame, index 20: column 'headline'") as refused:
        cascade_batch.submit(df, **given)
    with pytest.warns(UserWarning, match="1 record is left out: DataFrame, index 20"):
        job = cascade_batch.submit(df, **given, skip_bad=True)
    with pytest.warns(cascade_batch.JobWarning, match=r"1 row failed: job\.errors\(\)") as warned:
        job.wait(progress=False)

    assert warned[0].filename == __file__
    assert "skip_bad=True" in refused.value.__notes__[0]
    assert job.results()["status"].to_dict() == {10: "answered", 30: "failed"}
    assert job.errors().index.tolist() == [30]
    assert job.errors().loc[30, "line_no"] == 3
    assert "bad_request; large: " in job.errors().loc[30, "error"]
    with pytest.warns(cascade_batch.JobWarning, match="an index of its own") as warned:
        assert cascade_batch.job("some fail").errors().index.tolist() == [1]
    assert warned[0].filename == __file__
    again = cascade_batch.job("some fail", df.assign(later=1))
    assert again.results()["status"].to_dict() == {10: "answered", 30: "failed"}
    assert again.errors().index.tolist() == [30]
    with pytest.raises(UsageError, match="index 10, column 'headline' holds something else"):
        cascade_batch.job("some fail", df.iloc[::-1].set_axis(df.index))
    with pytest.raises(UsageError, match="at its end, it has fewer rows"):
        cascade_batch.job("some fail", df.iloc[:2])


def test_a_job_found_again_has_the_index_of_a_frame_that_numbers_its_rows(folder):
    df = pd.DataFrame({"headline": [b"bytes", "Gold falls", "Gold jumps"]})
    with pytest.warns(cascade_batch.JobWarning, match="left out"):
        cascade_batch.submit(
            df, prompt=PROMPT, output=CHOICES, budget=0.05, name="plain", skip_bad=True
        )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job = cascade_batch.job("plain").wait(progress=False)
        joined = df.join(job.results()[["value"]])

    assert joined["value"].isna().tolist() == [True, False, False]
    assert joined["value"].tolist()[1:] == ["down", "up"]


def test_the_end_of_a_wait_says_once_what_is_not_well(folder, capsys):
    rows = [{"headline": "poison"}, {"headline": "Everything"}]
    job = cascade_batch.submit(rows, prompt=PROMPT, output=CHOICES, budget=0.05, name="not well")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job.wait()
    shown = capsys.readouterr().err
    with pytest.warns(cascade_batch.JobWarning) as warned:
        job.wait(progress=False)

    (told,) = [str(one.message) for one in warned]
    for text in (shown, told):
        assert text.count("job.retry()") == 1
        assert "1 answer does not fit" in text
    retried = job.retry()
    assert (retried.rows, retried.job) == (1, job)
    assert str(retried).startswith(f"1 row of job {job.name!r} that failed is asked once more.")
    with pytest.warns(cascade_batch.JobWarning, match="1 row failed") as warned:
        retried.wait(progress=False)
    assert warned[0].filename == __file__
    nothing = job.retry(reason="money", add_budget=1)
    assert (nothing.rows, nothing.added_usd) == (0, 0.0)
    assert job.progress().budget_usd == pytest.approx(0.05)


def test_results_hold_their_input_if_asked(folder):
    df = pd.DataFrame(
        {
            "headline": ["Gold jumps", "Gold falls"],
            "n": [1, 2],
            "share": [0.5, None],
            "is_new": [True, False],
            "status": ["old", "new"],
            "tags": [["a"], None],
        },
        index=["later", "sooner"],
    )
    job = cascade_batch.submit(
        df, prompt=PROMPT, output=CHOICES, tiers="tiers.yaml", budget=0.05, name="with input"
    ).wait(progress=False)

    results = job.results(with_input=True)
    assert job.export("out.parquet", with_input=True) == 2
    job.export("out.csv", with_input=True)
    job.export("out.jsonl", with_input=True)

    names = ["row_no", "custom_id", "headline", "n", "share", "is_new", "input_status", "tags"]
    names += ["answer", "value", "tier", "quality", "cost_usd", "status", "error"]
    assert results.columns.tolist() == names
    assert results.index.equals(df.index)
    assert results["n"].dtype == "Int64"
    assert results["tags"].tolist() == [["a"], None]
    assert results["input_status"].tolist() == ["old", "new"]
    schema = pq.read_schema("out.parquet")
    assert schema.names == names
    types = ["string", "int64", "double", "bool", "string", "string"]
    assert [str(schema.field(name).type) for name in names[2:8]] == types
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [names, names]
    assert lines[1]["share"] is None
    assert (lines[0]["n"], lines[0]["tags"], lines[0]["value"]) == (1, ["a"], "up")
    assert pd.read_csv("out.csv")["input_status"].tolist() == ["old", "new"]
    assert "headline" not in job.results()


def test_dicts_from_a_generator_are_read_once_and_answers_that_do_not_fit_have_no_value(folder):
    texts = ["Gold jumps", "Everything"]

    job = cascade_batch.submit(
        ({"custom_id": f"n{place}", "headline": text} for place, text in enumerate(texts)),
        prompt=PROMPT,
        output=CHOICES,
        budget=0.05,
    )
    with pytest.warns(cascade_batch.JobWarning, match="1 answer does not fit"):
        results = job.wait(progress=False).results()

    assert (job.name, results["custom_id"].tolist()) == ("rows", ["n0", "n1"])
    assert results["value"].isna().tolist() == [False, True]
    assert results["answer"].tolist() == ["up", "perhaps"]


def test_an_interrupted_or_timed_out_wait_leaves_the_job_to_go_on(folder, slow_tiers, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    rows = [{"headline": "Gold falls"}] * 200
    job = cascade_batch.submit(
        rows, prompt=PROMPT, output=CHOICES, tiers=slow_tiers, budget=0.05, name="slow"
    )

    with pytest.raises(TimeoutError, match="slow: "):
        job.wait(timeout_s=0.01)
    assert capsys.readouterr().err.startswith("slow: ")
    with pytest.raises(KeyboardInterrupt) as interrupted:
        job.wait(progress=interrupt)
    assert "cascade_batch.job('slow')" in interrupted.value.__notes__[0]
    assert job.status in ("queued", "running")

    assert job.pause().status == "paused"
    assert job.resume().status == "running"
    assert job.cancel().status == "cancelled"
    with pytest.warns(cascade_batch.JobWarning, match=r"cancelled: job\.resume\(\)"):
        assert job.wait(progress=False).progress().rows_answered < 200
    with pytest.raises(UsageError, match="cancelled already"):
        job.cancel()


def test_more_budget_takes_a_finished_job_up_again(example):
    before_usd = example.progress().budget_usd

    added = example.add_budget("0.01")
    added.wait(progress=False)

    assert added.budget_usd == pytest.approx(before_usd + 0.01)
    assert str(added).startswith("The budget of job 'example' is $")

    assert example.progress().budget_usd == pytest.approx(before_usd + 0.01)
    with pytest.raises(UsageError, match="'lots' is not an amount"):
        example.add_budget("lots")


def test_a_job_is_waited_for_without_holding_up_an_event_loop(example):
    seen: list[cascade_batch.Progress] = []

    assert asyncio.run(example.wait_async(progress=seen.append)) is example
    assert seen[-1].status is cascade_batch.JobState.FINISHED


def test_another_process_finds_the_job_and_its_results(example, tmp_path):
    ask = "import cascade_batch as c; print(c.job('example').results()['value'].tolist(), len(c.jobs()) > 0)"
    env = {**os.environ, "CASCADE_HOME": str(settings().home)}
    env["PYTHONPATH"] = str(Path(cascade_batch.__file__).parents[1])

    told = subprocess.run(
        [sys.executable, "-c", ask], env=env, capture_output=True, text=True, check=False
    )

    assert told.stdout == "['up', 'down', 'none', 'up'] True\n", told.stderr
    with pytest.raises(JobNotFoundError) as missing:
        cascade_batch.job("exmaple")
    assert "example" in missing.value.__notes__[0]
    with pytest.raises(JobExistsError, match="'example'") as taken:
        cascade_batch.submit([{"prompt": "Gold falls"}], budget=1, name="example")
    assert "cascade_batch.job('example').resume()" in (taken.value.hint or "")
    assert "name=" in (taken.value.hint or "")


def test_right_answers_that_are_no_choices_are_warned_of(folder):
    rows = [
        {"prompt": f"Gold falls {n}", "label": label}
        for n, label in enumerate(["Down", "neg", "neg", ""])
    ]

    with pytest.warns(cascade_batch.JobWarning, match="2 of 3 right answers that are none .*'neg'"):
        cascade_batch.submit(rows, output={"choices": ["up", "down"]}, gold="label", budget=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", cascade_batch.JobWarning)
        cascade_batch.submit(rows, gold="label", budget=1)


def test_results_and_report_are_written_to_files(example):
    assert example.export("out.csv") == 4
    assert pd.read_csv("out.csv")["value"].tolist() == ["up", "down", "none", "up"]
    assert example.report().read_text().startswith("<!")
    assert example.report("page.html").name == "page.html"


def _tiers_of(folder: Path) -> list[dict[str, object]]:
    import yaml

    return yaml.safe_load((folder / "tiers.yaml").read_text())["tiers"]
