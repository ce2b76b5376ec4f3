"""What a job, its audit and a change of it say of themselves: the state, the money, and what to call."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest

import cascade_batch
from cascade_batch import AddedBudget, AtRisk, Audit, JobState, Progress, RetriedRows
from cascade_batch.client.telling import advice, job_text


def progress_with(**given: Any) -> Progress:
    known = {
        "job": "headlines",
        "status": JobState.FINISHED,
        "reason": None,
        "rows_total": 1000,
        "rows_answered": 1000,
        "rows_failed": 0,
        "rows_unfunded": 0,
        "budget_usd": 1.0,
        "spent_usd": 0.25,
        "reserved_usd": 0.0,
        "at_risk_usd": 0.0,
        "overrun_usd": 0.0,
        "quality": None,
        "labels": None,
        "tiers": (),
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "started_at": None,
        "finished_at": None,
    }
    return Progress(**(known | given))


@pytest.mark.parametrize(
    ("given", "calls"),
    [
        ({}, []),
        ({"status": JobState.RUNNING, "rows_failed": 3}, []),
        ({"rows_failed": 3}, ["job.retry()"]),
        ({"rows_failed": 3, "rows_unfunded": 3}, ["job.add_budget(usd)"]),
        ({"rows_failed": 3, "rows_unfunded": 1}, ["job.add_budget(usd)", "job.retry()"]),
        ({"rows_unfit": 2}, ["job.results()"]),
        ({"status": JobState.PAUSED}, ["job.resume()"]),
        ({"status": JobState.CANCELLED, "rows_failed": 3}, ["job.resume()"]),
        ({"status": JobState.FAILED}, ["job.resume()"]),
        ({"status": JobState.RUNNING, "reading": True}, []),
        ({"status": JobState.CANCELLED, "reading": True}, ["submit all of its data again"]),
        ({"status": JobState.FAILED, "reading": True}, ["submit all of its data again"]),
    ],
)
def test_what_is_not_well_comes_with_the_call_that_does_something_about_it(given, calls):
    said = advice(progress_with(**given))

    assert len(said) == len(calls)
    assert all(call in clause for call, clause in zip(calls, said, strict=True))


def test_a_job_says_at_a_glance_how_it_is_and_why_it_stands_still():
    waits = "300 chunks wait for a worker of tier small"

    text = job_text(
        progress_with(
            status=JobState.RUNNING, rows_answered=10, waits_for=(waits,), at_risk_usd=0.5
        )
    )

    assert text.splitlines() == [
        "Job    headlines: running",
        "Rows   10 of 1,000 answered",
        "Money  $0.2500 of $1.00 spent, $0.5000 at risk",
        f"Now    waits: {waits}",
    ]


def test_a_job_asks_nobody_for_its_repr_but_at_a_prompt(monkeypatch):
    job = cascade_batch.Job("far away")
    monkeypatch.setattr(cascade_batch.Job, "__str__", lambda _: "the story")

    monkeypatch.delattr(sys, "ps1", raising=False)
    assert repr(job) == "cascade_batch.job('far away')"
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert repr(job) == "the story"


def audit_with(**given: Any) -> Audit:
    known = {"rows": 4, "answers": 6, "verdicts": 0, "entries": 11, "budget_usd": 1.0}
    sums = {"spent_usd": 0.25, "reserved_usd": 0.0, "at_risk_usd": 0.0, "overrun_usd": 0.0}
    return Audit(**{"job": "<b>odd", "differences": [], **known, **sums, **given})


def test_an_audit_says_its_word_first_and_shows_it_in_a_notebook():
    fine = audit_with()
    lost = AtRisk("small", "the provider did not answer in time", 2, 0.125)
    wrong = audit_with(differences=["spent against the entries: $1 against $2"], at_risk=(lost,))

    assert fine.is_ok
    assert str(fine) == "OK: 11 entries, 6 answers to 4 rows; $0.2500 of $1.00 spent."
    assert not wrong.is_ok
    assert str(wrong).splitlines() == [
        "DIFFERS: spent against the entries: $1 against $2",
        "AT RISK: $0.1250 for 2 calls to small: the provider did not answer in time",
    ]
    for audit, word in ((fine, "OK"), (wrong, "DIFFERS")):
        page = ElementTree.fromstring(audit._repr_html_())
        assert [bold.text for bold in page.iter("b")] == ["<b>odd", word]
        assert "$0.2500" in "".join(page.itertext())
    assert "2 calls to small" in wrong._repr_html_()


def test_changes_say_what_they_came_to():
    job = cascade_batch.Job("headlines")
    nothing = RetriedRows(job, JobState.FINISHED, rows=0, added_usd=0.0, missing_usd=0.0)
    asked = RetriedRows(job, JobState.PAUSED, rows=2, added_usd=0.5, missing_usd=0.25)
    raised = AddedBudget(
        job, JobState.RUNNING, added_usd=1.0, budget_usd=2.0, free_usd=1.5, expectation="Better."
    )

    assert "nothing was changed" in str(nothing)
    assert str(asked) == (
        "2 rows of job 'headlines' that failed are asked once more. $0.5000 were added to the budget."
        " That may take up to $0.2500 more than is free: job.add_budget(usd) adds it."
        " The job is paused: job.resume() goes on with it."
    )
    assert str(raised) == "The budget of job 'headlines' is $2.00 now, $1.50 of it free. Better."
